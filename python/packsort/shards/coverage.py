"""Find sequences and tokens of the source that are missing from the packs or in them twice."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from packsort.shards.row_set import RowSet
from packsort.shards.rules import PackingRules
from packsort.shards.shard_check import ShardCheck


class WholeSequences:
    """Coverage of a source whose sequences are packed in one piece.

    Attributes:
        seen: Rows of the source that are in a pack.
    """

    def __init__(self, rules: PackingRules) -> None:
        self.seen = RowSet(rules.rows, rules.file_bytes)

    def add(self, check: ShardCheck) -> Iterator[str]:
        """Record the sequences of a shard, and yield those that were seen before."""
        ids, firsts, copies = np.unique(check.ids[check.inside], return_index=True, return_counts=True)
        segments = np.flatnonzero(check.inside)
        seen = self.seen.add(ids)
        for first in firsts[(copies > 1) | seen]:
            yield f"{check.where(int(segments[first]))}: it is in more than one place"

    def problems(self, lengths: NDArray[Any] | None) -> Iterator[str]:
        """Yield nothing: a sequence that was seen is whole."""
        return iter(())


class CutSequences:
    """Coverage of a source whose sequences may be cut into pieces.

    Attributes:
        seen: Rows of the source that are in a pack.
    """

    def __init__(self, rules: PackingRules) -> None:
        self.seen = RowSet(rules.rows, rules.file_bytes)
        self._rules = rules
        self._pieces: list[tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]] = []

    def add(self, check: ShardCheck) -> Iterator[str]:
        """Record the pieces of a shard."""
        ids, starts, lengths = (
            column[check.inside].astype(np.int64) for column in (check.ids, check.starts, check.lengths)
        )
        self._pieces.append((ids, starts, lengths))
        self.seen.add(np.unique(ids))
        return iter(())

    def problems(self, lengths: NDArray[Any] | None) -> Iterator[str]:
        """Yield where the pieces of a sequence overlap, leave a gap or end early.

        Args:
            lengths: Tokens of each row of the source, (rows,); None if they are not known.
        """
        if not self._pieces:
            return
        ids, starts, tokens = (np.concatenate(column) for column in zip(*self._pieces, strict=True))
        order = np.lexsort((starts, ids))
        ids, starts, ends = ids[order], starts[order], (starts + tokens)[order]
        first = np.concatenate([[True], ids[1:] != ids[:-1]]) if len(ids) else np.zeros(0, np.bool_)
        begin, end = np.zeros_like(starts), None
        if lengths is not None:
            begin, end = (kept[ids] for kept in self._rules.kept(lengths.astype(np.int64)))
            if self._rules.hybrid:  # a sequence that is split is not truncated
                several = (np.bincount(ids, minlength=len(lengths)) > 1)[ids]
                begin, end = np.where(several, 0, begin), np.where(several, lengths[ids], end)
        elif self._rules.keep_end:  # only the source tells where the end of a sequence begins
            begin = starts
        before = np.where(first, begin, np.concatenate([[0], ends[:-1]]))
        for at in np.flatnonzero(starts != before):
            yield f"row {ids[at]}: a piece begins at token {starts[at]}, the one before it ends at {before[at]}"
        if end is None:
            return
        last = np.concatenate([first[1:], [True]])
        for at in np.flatnonzero(last & (ends != end)):
            yield f"row {ids[at]}: its pieces end at token {ends[at]}, it has {end[at]}"
