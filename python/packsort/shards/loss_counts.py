"""Count the sequences and packs of a plan in which no token carries loss."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from packsort._arrow import to_numpy
from packsort.planning.plan import Plan
from packsort.schema import NO_LOSS

_TOKENS_A_BLOCK = 8_000_000

ReadLabels = Callable[[NDArray[np.int64], NDArray[np.int32], NDArray[np.int32]], NDArray[np.int32]]
"""From the rows of pieces, their lengths and their first tokens to their labels, one piece after another."""


def count_without_loss(plan: Plan, labels: pa.ChunkedArray) -> tuple[int, int]:
    """Count the sequences and packs in which no token carries loss, also because they were cut.

    Args:
        plan: The plan.
        labels: Labels of the sequences, lists of int32: (rows,).

    Returns:
        Number of sequences, and number of packs.
    """
    cut = plan.num_truncated or plan.num_split or plan.has_starts
    if not plan.num_packs or not (cut or _any_row_without_loss(labels)):
        return 0, 0
    offsets, ids = plan.list_packs(0, plan.num_packs)
    starts, lengths = plan.list_starts(0, plan.num_packs), plan.list_lengths(0, plan.num_packs)
    of_rows = np.zeros(plan.num_rows, dtype=np.int64)
    order = np.argsort(ids, kind="stable")
    rows = ids[order].astype(np.int64)
    of_pieces = np.zeros(len(ids), dtype=np.int64)
    for first, row_offsets, trained in _blocks(labels):
        last = first + len(row_offsets) - 1
        pieces = order[np.searchsorted(rows, first) : np.searchsorted(rows, last)]
        begins = row_offsets[ids[pieces].astype(np.int64) - first] + starts[pieces]
        of_pieces[pieces] = trained[begins + lengths[pieces]] - trained[begins]
    np.add.at(of_rows, ids.astype(np.int64), of_pieces)
    packed = np.zeros(plan.num_rows, dtype=np.bool_)
    packed[ids.astype(np.int64)] = True
    packs = np.add.reduceat(of_pieces, offsets[:-1])
    return int((packed & (of_rows == 0)).sum()), int((packs == 0).sum())


def count_untrained(
    plan: Plan, row_lengths: NDArray[np.int64], trained: NDArray[np.bool_], labels: ReadLabels
) -> tuple[int, int]:
    """Count as `count_without_loss`, where only the labels of sequences that were cut are read.

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


def _any_row_without_loss(labels: pa.ChunkedArray) -> bool:
    return any((np.diff(trained[offsets]) == 0).any() for _, offsets, trained in _blocks(labels))


def _blocks(labels: pa.ChunkedArray) -> Iterator[tuple[int, NDArray[np.int64], NDArray[np.int32]]]:
    """Yield blocks of rows: the first row, offsets of the rows, and the tokens with loss before each token."""
    first = 0
    for chunk in labels.chunks:
        offsets = to_numpy(chunk.offsets).astype(np.int64)
        values = to_numpy(chunk.values)
        start = 0
        while start < len(chunk):
            stop = int(np.searchsorted(offsets, offsets[start] + _TOKENS_A_BLOCK, side="right")) - 1
            stop = min(max(stop, start + 1), len(chunk))
            trained = values[offsets[start] : offsets[stop]] != NO_LOSS
            before = np.concatenate([np.zeros(1, dtype=np.int32), np.cumsum(trained, dtype=np.int32)])
            yield first + start, offsets[start : stop + 1] - offsets[start], before
            start = stop
        first += len(chunk)
