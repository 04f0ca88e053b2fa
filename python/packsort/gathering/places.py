"""Packs that the pieces of rows go to, found by row: the inverse of a plan's lists."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from packsort.planning.plan import Plan

_PIECES_AT_A_TIME = 1 << 22


@dataclass(frozen=True)
class Pieces:
    """Pieces of a range of rows, in the order of rows and of tokens within them.

    Attributes:
        rows: Row of each piece: int64 (pieces,).
        packs: Pack of each piece: int64 (pieces,).
        starts: First token of each piece in its row: int32 (pieces,).
        lengths: Tokens of each piece: int32 (pieces,).
    """

    rows: NDArray[np.int64]
    packs: NDArray[np.int64]
    starts: NDArray[np.int32]
    lengths: NDArray[np.int32]


class Places:
    """Pack of every piece of a plan, found by row.

    Rows that are whole in one pack take 4 bytes each; pieces of rows that are cut take 24 bytes each.

    Args:
        plan: The plan.
        lengths: Tokens of each row: integers (rows,).

    Example:
        >>> import packsort
        >>> lengths = np.array([3, 9, 2])
        >>> places = Places(packsort.plan(lengths, 5, overlong="split"), lengths)
        >>> pieces = places.of_rows(1, 3)
        >>> pieces.rows.tolist(), pieces.starts.tolist(), pieces.lengths.tolist()
        ([1, 1, 2], [0, 5, 0], [5, 4, 2])
    """

    def __init__(self, plan: Plan, lengths: NDArray[Any]) -> None:
        self._lengths = lengths
        self._packs: NDArray[Any] = np.full(len(lengths), -1, np.int32 if plan.num_packs < 2**31 else np.int64)
        is_cut = bool(plan.num_truncated or plan.num_split or plan.has_starts)
        cut: list[tuple[NDArray[Any], ...]] = []
        step = max(1, _PIECES_AT_A_TIME * max(1, plan.num_packs) // max(1, plan.num_sequences))
        for start in range(0, plan.num_packs, step):
            stop = min(start + step, plan.num_packs)
            offsets, ids = plan.list_packs(start, stop)
            rows, packs = ids.astype(np.int64, copy=False), np.repeat(np.arange(start, stop), np.diff(offsets))
            if not is_cut:
                self._packs[rows] = packs
                continue
            taken = plan.list_lengths(start, stop)
            whole = taken == lengths[rows]
            self._packs[rows[whole]] = packs[whole]
            parts = (rows, packs, plan.list_starts(start, stop), taken)
            cut.append(tuple(part[~whole] for part in parts))
        self._cut = _sorted(Pieces(*(np.concatenate(parts) for parts in zip(*cut, strict=True)))) if cut else None

    def of_rows(self, first: int, stop: int) -> Pieces:
        """Return the pieces of rows `first` to `stop`, `stop` excluded."""
        packs = self._packs[first:stop]
        whole = np.flatnonzero(packs >= 0)
        lengths = self._lengths[first:stop][whole].astype(np.int32, copy=False)
        found = Pieces(whole + first, packs[whole].astype(np.int64), np.zeros(len(whole), np.int32), lengths)
        if self._cut is None:
            return found
        begin, end = np.searchsorted(self._cut.rows, (first, stop))
        parts = ("rows", "packs", "starts", "lengths")
        both = (np.concatenate([getattr(found, name), getattr(self._cut, name)[begin:end]]) for name in parts)
        return _sorted(Pieces(*both))

    def are_packed(self) -> NDArray[np.bool_]:
        """Return whether each row has a piece in a pack: (rows,)."""
        packed: NDArray[np.bool_] = self._packs >= 0
        if self._cut is not None:
            packed[self._cut.rows] = True
        return packed


def _sorted(pieces: Pieces) -> Pieces:
    order = np.lexsort((pieces.starts, pieces.rows))
    return Pieces(pieces.rows[order], pieces.packs[order], pieces.starts[order], pieces.lengths[order])
