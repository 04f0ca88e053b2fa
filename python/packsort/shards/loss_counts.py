"""Count the sequences and packs of a plan in which no token carries loss, batch by batch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from packsort._arrow import list_offsets, to_numpy
from packsort.gathering.places import Pieces, Places
from packsort.planning.plan import Plan
from packsort.schema import LABELS, NO_LOSS
from packsort.shards.manifest import Counts

_TOKENS_A_BLOCK = 8_000_000

ReadLabels = Callable[[NDArray[np.int64], NDArray[np.int32], NDArray[np.int32]], NDArray[np.int32]]
"""From the rows of pieces, their lengths and their first tokens to their labels, one piece after another."""


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


def count_untrained(
    plan: Plan, row_lengths: NDArray[np.int64], trained: NDArray[np.bool_], labels: ReadLabels
) -> tuple[int, int]:
    """Count sequences and packs without loss, where only the labels of sequences that were cut are read.

    Args:
        plan: The plan.
        row_lengths: Tokens of each row: int64 (rows,).
        trained: Whether a token of each row carries loss: bool (rows,).
        labels: Reads labels.

    Returns:
        Number of sequences, and number of packs.
    """
    if not plan.num_packs or (trained.all() and not (plan.num_truncated or plan.num_split or plan.has_starts)):
        return 0, 0
    offsets, ids = plan.list_packs(0, plan.num_packs)
    starts, lengths = plan.list_starts(0, plan.num_packs), plan.list_lengths(0, plan.num_packs)
    rows = ids.astype(np.int64)
    found = trained[rows]
    cut = np.flatnonzero(found & (lengths != row_lengths[rows]))
    block = np.cumsum(lengths[cut], dtype=np.int64) // _TOKENS_A_BLOCK
    for pieces in np.split(cut, np.flatnonzero(np.diff(block)) + 1) if len(cut) else ():
        values = labels(rows[pieces], lengths[pieces], starts[pieces])
        begins = np.cumsum(lengths[pieces], dtype=np.int64) - lengths[pieces]
        found[pieces] = np.logical_or.reduceat(values != NO_LOSS, begins)
    untrained, with_loss = np.zeros((2, plan.num_rows), np.bool_)
    untrained[rows] = True
    with_loss[rows[found]] = True
    untrained &= ~with_loss
    return int(untrained.sum()), int((~np.logical_or.reduceat(found, offsets[:-1])).sum())
