"""Set of rows of a source, in memory that the packs decide and not a number in the manifest."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_SMALL = 1 << 24


class RowSet:
    """Set of rows.

    A byte for each row is fastest. If these bytes took more memory than the shards take on the disk, the rows are kept
    as sorted numbers: a manifest may claim any number of rows that no pack holds.

    Args:
        rows: Rows of the source.
        file_bytes: Bytes of the shards.

    Example:
        >>> seen = RowSet(5, 0)
        >>> seen.add(np.array([1, 2])), seen.add(np.array([2, 4])), len(seen), seen.missing(2)
        (array([False, False]), array([ True, False]), 3, array([0, 3]))
    """

    def __init__(self, rows: int, file_bytes: int) -> None:
        self.rows = rows
        self._count = 0
        self._flags = np.zeros(rows, np.bool_) if rows <= file_bytes + _SMALL else None
        self._sorted = np.zeros(0, np.int64)

    def __len__(self) -> int:
        return self._count

    def add(self, rows: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Add rows, each once, in ascending order.

        Returns:
            Whether each was in the set before, bool (rows,).
        """
        if self._flags is not None:
            before = self._flags[rows]
            self._flags[rows] = True
        else:
            before = np.isin(rows, self._sorted, assume_unique=True)
            self._sorted = np.union1d(self._sorted, rows)
        self._count += int((~before).sum())
        return before

    def missing(self, most: int | None = None) -> NDArray[np.int64]:
        """Return rows that are not in the set, ascending.

        Args:
            most: Number of rows to return at most, or None for all.
        """
        if self._flags is not None:
            return np.flatnonzero(~self._flags)[:most]
        # Of the first `n + most` rows, a set of `n` misses `most` at least.
        count = self.rows if most is None else min(self.rows, self._count + most)
        return np.setdiff1d(np.arange(count), self._sorted, assume_unique=True)[:most]
