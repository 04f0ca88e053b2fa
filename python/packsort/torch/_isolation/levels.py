"""Differences of the logits of each segment between two runs."""

from __future__ import annotations

import torch

from packsort.torch._isolation.segments import PADDING_SEGMENT

_FIRST = 8  # tokens of a segment that count; what comes from the segment before shows there


class Levels:
    """Segments of a batch.

    Args:
        segments: Segment of each token, int64 (rows, tokens): 0, 1, ..., and -1 for padding.

    Attributes:
        count: Number of segments.
        rows: Row of each segment, int64 (segments,).
    """

    def __init__(self, segments: torch.Tensor) -> None:
        flat = segments.flatten()
        real = flat != PADDING_SEGMENT
        self._flat = flat
        self.count = int(flat.max()) + 1
        places = torch.arange(len(flat), device=flat.device)
        ends = torch.zeros(self.count, dtype=torch.int64, device=flat.device)
        self.lengths = torch.bincount(flat[real], minlength=self.count)
        ends.scatter_reduce_(0, flat[real], places[real] + 1, "amax")
        self._starts = ends - self.lengths
        self.rows = self._starts // segments.shape[1]

    def tokens(self, segment: int) -> torch.Tensor:
        """Return the places of a segment's tokens, in the rows one after another, int64."""
        start = int(self._starts[segment])
        return torch.arange(start, start + int(self.lengths[segment]), device=self._flat.device)

    def of(self, differences: torch.Tensor) -> torch.Tensor:
        """Return the largest difference at the start of each segment, (segments,).

        Args:
            differences: Largest difference at each token, (rows, tokens).
        """
        steps = torch.arange(_FIRST, device=self._flat.device)
        places = self._starts[:, None] + torch.minimum(steps, self.lengths[:, None] - 1)
        return differences.flatten()[places].amax(1)

    def most(self, differences: torch.Tensor) -> torch.Tensor:
        """Return the largest difference of each segment, (segments,)."""
        real = self._flat != PADDING_SEGMENT
        found = torch.zeros(self.count, dtype=differences.dtype, device=differences.device)
        return found.scatter_reduce_(0, self._flat[real], differences.flatten()[real], "amax")
