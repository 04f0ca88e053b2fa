"""Pieces of rows in columns that are in memory or mapped: gathered, or left there for a batch to be written from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from packsort import _core
from packsort.errors import PacksortError
from packsort.schema import INPUT_IDS, INT32_COLUMNS, LABELS
from packsort.sources.tokens.loss_masks import masked_labels

Segments = tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.int32] | None]
"""Rows of segments or `PADDING` or `SEPARATOR`, their tokens, and the first token of each in its row; None is 0."""

PackSegments = tuple[list[NDArray[np.int64]], list[NDArray[np.int32]], list[NDArray[np.int32]] | None]
"""The same of several packs: an array for each pack."""


@dataclass(frozen=True, eq=False)
class BlockColumns:
    """Columns of one number of rows.

    Attributes:
        names: Columns of packs, `input_ids` first.
        lists: Columns to gather from, and the dtypes of their values.
        masks: Those of them that become labels.
        where: Names a row by its number in the source.
    """

    names: tuple[str, ...]
    lists: dict[str, tuple[_core.ListColumn, np.dtype[Any]]]
    masks: tuple[str, ...]
    where: Callable[[int], str]

    @cached_property
    def direct(self) -> tuple[str, ...]:
        """Columns of packs that a batch is written from where they are: tokens and labels, as int32 or int64."""
        if self.masks:
            return ()
        plain = (np.dtype(np.int32), np.dtype(np.int64))
        return tuple(name for name in (INPUT_IDS, LABELS) if name in self.lists and self.lists[name][1] in plain)

    @cached_property
    def others(self) -> tuple[str, ...]:
        """Columns of packs that are gathered before a batch is written."""
        return tuple(name for name in self.names if name not in self.direct)


class BlockRows(NamedTuple):
    """Pieces of rows.

    Attributes:
        columns: The columns.
        ids: Row of each piece in the source, or `PADDING` or `SEPARATOR`: int64 (pieces,).
        rows: The same in the columns: int64 (pieces,).
        lengths: Tokens of each piece: int32 (pieces,).
        starts: First token of each piece in its row: int32 (pieces,); None is 0.
    """

    columns: BlockColumns
    ids: NDArray[np.int64]
    rows: NDArray[np.int64]
    lengths: NDArray[np.int32]
    starts: NDArray[np.int32] | None

    def gather(self, names: Sequence[str] | None = None) -> dict[str, NDArray[Any]]:
        """Gather the values of the pieces, one piece after another.

        Args:
            names: Columns of packs, or None for all.

        Returns:
            Values of each column, (tokens,): int32 for `input_ids` and `labels`, the column's own type for others.

        Raises:
            IndexError: A row has no such piece.
        """
        wanted = self.columns.names if names is None else names
        found = {name: self._values(name) for name in wanted if name in self.columns.lists}
        if self.columns.masks and LABELS in wanted:
            found[LABELS] = self._masked(found)
        return {name: found[name] for name in wanted}

    def _values(self, name: str) -> NDArray[Any]:
        column, dtype = self.columns.lists[name]
        try:
            values = column.gather(self.rows, self.starts, self.lengths).view(dtype)
        except PacksortError as error:
            raise IndexError(f"column `{name}`: {error}") from error
        return values.astype(np.int32, copy=False) if name in INT32_COLUMNS else values

    def _masked(self, found: dict[str, NDArray[Any]]) -> NDArray[np.int32]:
        """Return the labels that masks leave of labels or tokens."""

        def locate(index: int) -> tuple[int, str]:
            ends = np.cumsum(self.lengths, dtype=np.int64)
            piece = int(np.searchsorted(ends, index, side="right"))
            position = index - int(ends[piece] - self.lengths[piece])
            position += 0 if self.starts is None else int(self.starts[piece])
            return position, self.columns.where(int(self.ids[piece]))

        masks = {name: self._values(name) for name in self.columns.masks}
        tokens = found[INPUT_IDS] if INPUT_IDS in found else self._values(INPUT_IDS)
        return masked_labels(tokens, found.get(LABELS), masks, locate)


class PackRows(NamedTuple):
    """Pieces of rows that packs are made of: an array for each pack.

    Attributes:
        columns: The columns.
        ids: Row of each piece in the source, or `PADDING` or `SEPARATOR`: int64 (pieces,) each.
        rows: The same in the columns: int64 (pieces,) each.
        lengths: Tokens of each piece: int32 (pieces,) each.
        starts: First token of each piece in its row: int32 (pieces,) each; None is 0.
    """

    columns: BlockColumns
    ids: list[NDArray[np.int64]]
    rows: list[NDArray[np.int64]]
    lengths: list[NDArray[np.int32]]
    starts: list[NDArray[np.int32]] | None

    def joined(self) -> BlockRows:
        """Return the pieces of all packs as one."""
        ids, lengths, starts = joined_segments((self.ids, self.lengths, self.starts))
        rows = ids if self.rows is self.ids else np.concatenate(self.rows)
        return BlockRows(self.columns, ids, rows, lengths, starts)

    def pieces(self) -> dict[str, list[_core.Pieces]]:
        """Return the pieces of each pack in each of the `direct` columns.

        Raises:
            IndexError: A row has no such piece.
        """
        names, lists = self.columns.direct, self.columns.lists
        segments = self.rows, self.lengths, self.starts
        try:
            return dict(zip(names, _core.cut_pieces([lists[name][0] for name in names], *segments), strict=True))
        except PacksortError:
            for name in names:
                try:
                    _core.cut_pieces([lists[name][0]], *segments)
                except PacksortError as error:
                    raise IndexError(f"column `{name}`: {error}") from error
            raise


def joined_segments(packs: PackSegments) -> Segments:
    """Return the segments of packs as those of one."""
    ids, lengths, starts = packs
    if len(ids) == 1:
        return ids[0], lengths[0], None if starts is None else starts[0]
    return np.concatenate(ids), np.concatenate(lengths), None if starts is None else np.concatenate(starts)
