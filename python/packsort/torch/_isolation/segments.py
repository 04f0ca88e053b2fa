"""Segment of each token of a batch, whatever its layout."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import torch

from packsort.errors import OptionError

TOKENS: Final = ("input_ids", "tokens")
"""Names that layouts give to the tensor of tokens."""

PADDING_SEGMENT: Final = -1

_STARTS = ("cu_seqlens_q_padded", "cu_seq_lens_q", "cu_seqlens_q", "cu_seqlens")
_POSITIONS = ("position_ids", "input_pos")


def number_segments(batch: Mapping[str, Any]) -> torch.Tensor:
    """Number the segments of a batch: 0, 1, ... over all rows, and -1 for padding of a row.

    They follow from `segment_ids`, from starts such as `cu_seq_lens_q`, from `seq_idx`, or from positions that restart,
    whichever the batch has. Padding whose positions continue, as torchtune's do, belongs to the segment before it.

    Args:
        batch: A batch of any layout, or of another collator that gives `position_ids`.

    Returns:
        int64 (rows, tokens), on the device of the tokens.

    Raises:
        OptionError: The batch has no tokens, or nothing that tells segments.

    Example:
        >>> import torch
        >>> tokens, starts = torch.tensor([[5, 6, 7]]), torch.tensor([0, 2, 3], dtype=torch.int32)
        >>> number_segments({"input_ids": tokens, "cu_seq_lens_q": starts})
        tensor([[0, 0, 1]])
    """
    tokens: Any = next((batch[name] for name in TOKENS if name in batch), None)
    if not isinstance(tokens, torch.Tensor) or tokens.ndim != 2:
        raise OptionError(f"batch must have `input_ids`, a tensor of shape (rows, tokens), got {', '.join(batch)}")
    rows, width = tokens.shape
    if isinstance(ids := batch.get("segment_ids"), torch.Tensor):
        real, begins = ids > 0, torch.ones_like(ids, dtype=torch.bool)
        begins[:, 1:] = ids[:, 1:] != ids[:, :-1]
        numbers = (begins & real).flatten().cumsum(0).view(rows, width) - 1
        return torch.where(real, numbers, PADDING_SEGMENT)
    starts = next((batch[name] for name in _STARTS if isinstance(batch.get(name), torch.Tensor)), None)
    if starts is not None:
        places = torch.arange(rows * width, device=tokens.device)
        ends = torch.unique(starts.to(tokens.device, torch.int64))
        return torch.searchsorted(ends[ends > 0], places, right=True).view(rows, width)
    if isinstance(ids := batch.get("seq_idx"), torch.Tensor):
        begins = torch.ones_like(ids, dtype=torch.bool)
        begins[:, 1:] = ids[:, 1:] != ids[:, :-1]
    elif isinstance(positions := next((batch[name] for name in _POSITIONS if name in batch), None), torch.Tensor):
        begins = positions == 0
        begins[:, 0] = True
    else:
        raise OptionError(
            "batch must have `position_ids`, `cu_seq_lens_q` or `segment_ids`, which tell its sequences apart, got "
            f"{', '.join(batch)}"
        )
    return begins.flatten().cumsum(0).view(rows, width) - 1
