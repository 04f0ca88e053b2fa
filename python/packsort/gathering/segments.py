"""Segments of packs: pieces of sequences, separators and padding, one after another."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from packsort.gathering.fillers import has_fillers
from packsort.planning.plan import Ids, Plan
from packsort.schema import PADDING, SEPARATOR


@dataclass(frozen=True)
class Segments:
    """Segments of a range of packs, in order.

    Attributes:
        offsets: First segment of each pack: int64 (packs + 1,).
        ids: Source row of each segment, or `SEPARATOR`, or `PADDING`: uint32 or int64 (segments,).
        lengths: Tokens of each segment: int32 (segments,).
        starts: First token of each segment in its row: int32 (segments,); None where all are 0.
    """

    offsets: NDArray[np.int64]
    ids: Ids
    lengths: NDArray[np.int32]
    starts: NDArray[np.int32] | None

    def of_packs(self, packs: NDArray[np.int64]) -> Segments:
        """Return the segments of some packs, one after another.

        Args:
            packs: Numbers of packs, from 0 at the first one that is listed: int64 (packs,).
        """
        counts = np.diff(self.offsets)[packs]
        offsets = np.concatenate([[0], np.cumsum(counts)])
        places = np.repeat(self.offsets[packs] - offsets[:-1], counts) + np.arange(offsets[-1])
        starts = None if self.starts is None else self.starts[places]
        return Segments(offsets, self.ids[places], self.lengths[places], starts)


def list_segments(planned: Plan, start: int, stop: int) -> Segments:
    """List the segments of packs `start` to `stop`, `stop` excluded."""
    offsets, ids = planned.list_packs(start, stop)
    lengths = planned.list_lengths(start, stop)
    starts = planned.list_starts(start, stop) if planned.has_starts else None
    if not has_fillers(planned):
        return Segments(offsets, ids, lengths, starts)
    # Three slots for each piece: the piece, its separator, its padding. Slots without tokens are removed at the end.
    slots = np.empty((len(ids), 3), np.int64)
    slots[:, 0], slots[:, 1], slots[:, 2] = ids, SEPARATOR, PADDING
    tokens = np.zeros((len(ids), 3), np.int32)
    tokens[:, 0], tokens[:, 1] = lengths, planned.separator
    last = offsets[1:][np.diff(offsets) > 0] - 1  # last piece of each pack that has any
    tokens[last, 1] = 0
    tokens[:, 2] = -(tokens[:, 0] + tokens[:, 1]) % planned.pad_to_multiple_of
    kept = (tokens > 0).ravel()
    before = np.concatenate([[0], np.cumsum(kept)])  # kept slots before each slot
    if starts is not None:
        slot_starts = np.zeros((len(ids), 3), np.int32)
        slot_starts[:, 0] = starts
        starts = slot_starts.ravel()[kept]
    return Segments(before[3 * offsets], slots.ravel()[kept], tokens.ravel()[kept], starts)
