"""Pieces of rows in columns that are in memory or mapped: gathered, or left there for a batch to be written from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from packsort import _core
from packsort.errors import PacksortError
from packsort.schema import INPUT_IDS, INT32_COLUMNS, LABELS
from packsort.sources.tokens.loss_masks import masked_labels

Segments = tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.int32] | None]
"""Rows of segments or `PADDING` or `SEPARATOR`, their tokens, and the first token of each in its row; None is 0."""


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

    def split(self, counts: Sequence[int]) -> list[BlockRows]:
        """Return the pieces of packs of so many pieces each."""
        packs, end = [], 0
        for count in counts:
            own = slice(end, end := end + count)
            starts = None if self.starts is None else self.starts[own]
            packs.append(BlockRows(self.columns, self.ids[own], self.rows[own], self.lengths[own], starts))
        return packs

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


def cut_rows(packs: Sequence[BlockRows]) -> dict[str, list[_core.Pieces]]:
    """Return the pieces of packs in each of their `direct` columns.

    Args:
        packs: Pieces of each pack, all in the same columns.

    Raises:
        IndexError: A row has no such piece.
    """
    names, lists = packs[0].columns.direct, packs[0].columns.lists
    segments = (
        [pack.rows for pack in packs],
        [pack.lengths for pack in packs],
        None if packs[0].starts is None else [cast(NDArray[np.int32], pack.starts) for pack in packs],
    )
    try:
        return dict(zip(names, _core.cut_pieces([lists[name][0] for name in names], *segments), strict=True))
    except PacksortError:
        for name in names:
            try:
                _core.cut_pieces([lists[name][0]], *segments)
            except PacksortError as error:
                raise IndexError(f"column `{name}`: {error}") from error
        raise


def joined_rows(packs: Sequence[BlockRows]) -> BlockRows:
    """Return the pieces of packs as one."""
    first = packs[0]
    if len(packs) == 1:
        return first
    starts = None if first.starts is None else np.concatenate([cast(NDArray[np.int32], pack.starts) for pack in packs])
    ids, rows, lengths = (np.concatenate(arrays) for arrays in zip(*(pack[1:4] for pack in packs), strict=True))
    return BlockRows(first.columns, ids, rows, lengths, starts)


def joined_segments(packs: Sequence[Segments]) -> Segments:
    """Return the segments of packs as those of one."""
    if len(packs) == 1:
        return packs[0]
    ids, lengths = np.concatenate([pack[0] for pack in packs]), np.concatenate([pack[1] for pack in packs])
    starts = [pack[2] for pack in packs if pack[2] is not None]
    return ids, lengths, np.concatenate(starts) if starts else None
