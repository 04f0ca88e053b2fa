"""Count the sequences and packs of a plan in which no token carries loss, batch by batch."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from packsort._arrow import list_offsets, to_numpy
from packsort.gathering.places import Pieces, Places
from packsort.planning.plan import Plan
from packsort.schema import LABELS, NO_LOSS
from packsort.shards.manifest import Counts


class LossCounter:
    """Counter of the sequences and packs in which no token carries loss, also because they were cut.

    Args:
        plan: The plan.
        places: Packs of its rows.
    """

    def __init__(self, plan: Plan, places: Places) -> None:
        self._places = places
        self._rows = np.zeros(plan.num_rows, np.bool_)  # with loss
        self._packs = np.zeros(plan.num_packs, np.bool_)

    def add(self, first_row: int, table: pa.Table, pieces: Pieces) -> None:
        """Count consecutive rows.

        Args:
            first_row: Row of the source that is the first.
            table: Their token columns. Without labels, every token carries loss.
            pieces: Their pieces.
        """
        row = first_row
        if LABELS not in table.column_names:
            self._rows[pieces.rows] = True
            self._packs[pieces.packs] = True
            return
        for chunk in table[LABELS].chunks:
            begin, end = np.searchsorted(pieces.rows, (row, row + len(chunk)))
            part = slice(int(begin), int(end))
            has_loss = _any_loss(chunk, pieces.rows[part] - row, pieces.starts[part], pieces.lengths[part])
            self._rows[pieces.rows[part][has_loss]] = True
            self._packs[pieces.packs[part][has_loss]] = True
            row += len(chunk)

    def added_to(self, counts: Counts) -> Counts:
        """Return counts of sequences with those in which no token that is packed carries loss."""
        without_loss = int((self._places.are_packed() & ~self._rows).sum())
        return replace(counts, without_loss=without_loss, packs_without_loss=int((~self._packs).sum()))


def _any_loss(
    labels: pa.Array, rows: NDArray[np.int64], starts: NDArray[np.int32], lengths: NDArray[np.int32]
) -> NDArray[np.bool_]:
    """Return whether any token of each piece carries loss: (pieces,)."""
    if not len(rows):
        return np.zeros(0, np.bool_)
    trained = np.append(to_numpy(labels.flatten()) != NO_LOSS, False)  # so that the last piece has an end
    begins = list_offsets(labels)[rows] + starts
    bounds = np.stack([begins, begins + lengths], axis=1).ravel()
    found: NDArray[np.bool_] = np.logical_or.reduceat(trained, bounds)[::2]
    return found
