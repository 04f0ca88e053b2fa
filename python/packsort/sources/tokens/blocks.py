"""Gather token columns from files in which they stay: mapped Arrow, and Parquet that is read by row group.

Row groups that were read are kept until they exceed a number of bytes; the one that was used longest ago goes first.
All that a call needs is read before it gathers, in one gather for each column. A call that needs more bytes than may be
kept gathers in parts.

What was read is one immutable view, and threads exchange whole views: two threads may read the same row group, and
both are right. There is no lock that a fork could find held.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from itertools import accumulate, pairwise
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from packsort.errors import DamagedError
from packsort.schema import INPUT_IDS, LABELS, LOSS_MASKS, SEPARATOR
from packsort.sources.formats.block_memory import BlockMemory
from packsort.sources.formats.reader import Blocks
from packsort.sources.tokens.block_reads import BlockReads, Read
from packsort.sources.tokens.block_rows import BlockColumns, BlockRows, PackRows, PackSegments, joined_segments
from packsort.sources.tokens.block_table import block_bytes, checked_block
from packsort.sources.tokens.block_view import BlockFile, BlockKey, BlockView
from packsort.sources.tokens.lazy import FillerValues, list_column


class TokenBlocks:
    """Token columns of files, gathered block by block.

    Args:
        files: The files.
        stored: Columns to read, as `TokenSurvey.stored`.
        lengths: Tokens of each row without padding: int32 or int64 (rows,).
        first: First token of each row that is no padding: int32 (rows,); None where there is no padding.
        most_bytes: Most bytes of decoded blocks that are kept between calls.
        fillers: Values of padding and separators in a column of a dtype, or None where there are neither.

    Attributes:
        names: Names of the columns that `gather` returns, `input_ids` first.
        most_bytes: As given.
    """

    def __init__(
        self,
        files: Sequence[BlockFile],
        stored: pa.Schema,
        lengths: NDArray[Any],
        first: NDArray[np.int32] | None,
        most_bytes: int,
        fillers: FillerValues | None = None,
    ) -> None:
        self.most_bytes = most_bytes
        self._files = tuple(files)
        self._stored = stored
        self._lengths, self._first = lengths, first
        self._fillers = fillers
        self._masks = tuple(name for name in LOSS_MASKS if name in stored.names)
        self._made_of = {name: name for name in stored.names}
        packed = [name for name in stored.names if name not in self._masks]
        if self._masks and LABELS not in packed:
            packed.insert(1, LABELS)
        elif fillers is not None and LABELS not in packed:  # fillers carry no loss, so labels are needed
            packed.append(LABELS)
            self._made_of[LABELS] = INPUT_IDS
        self.names = tuple(packed)
        self._ends = list(accumulate(file.rows for file in files))
        self._opened: dict[int, Blocks] = {}
        self._time = 0
        self._reads = BlockReads[BlockKey]()
        self._memory = BlockMemory()
        self._view = self._known()

    def gather(
        self, ids: NDArray[np.int64], lengths: NDArray[np.int32], starts: NDArray[np.int32] | None = None
    ) -> dict[str, NDArray[Any]]:
        """Gather pieces of rows, one piece after another.

        Args:
            ids: Row of each piece, or `PADDING` or `SEPARATOR` where there are fillers: int64, (pieces,).
            lengths: Number of tokens of each piece: int32, (pieces,).
            starts: First token of each piece in its row: int32, (pieces,). None is 0.

        Returns:
            Values of each column, (tokens,): int32 for `input_ids` and `labels`, the column's own type for others.

        Raises:
            DamagedError: A file was changed or is gone.
            IndexError: There is no such row, or it has no such piece.
        """
        found = self.find(ids, lengths, starts)
        return self._gather_in_parts(ids, lengths, starts) if found is None else found.gather()

    def find(
        self,
        ids: NDArray[np.int64],
        lengths: NDArray[np.int32],
        starts: NDArray[np.int32] | None = None,
        *,
        limited: bool = True,
    ) -> BlockRows | None:
        """Read what is missing of some rows, and return the pieces where they are.

        Args:
            ids: Row of each piece, as for `gather`.
            lengths: Number of tokens of each piece.
            starts: First token of each piece in its row.
            limited: Whether blocks that take more memory than may be kept are not read.

        Returns:
            The pieces, or None if their blocks take more memory than may be kept.

        Raises:
            DamagedError, IndexError: As for `gather`.
        """
        if self._first is not None:
            self._check_rows(ids)
            own = np.where(ids < 0, 0, self._first[ids])
            starts = (own + (0 if starts is None else starts)).astype(np.int32)
        if (view := self._view).whole:
            return BlockRows(view.columns, ids, ids, lengths, starts)
        self._check_rows(ids)
        real = ids if self._fillers is None else ids[ids >= 0]
        at = np.searchsorted(view.starts, real, side="right") - 1
        if view.base[at].min(initial=0) < 0:
            view, at = self._open(real)
            needed = np.unique(at)
            if limited and int(view.bytes[needed].sum()) > self.most_bytes:
                return None
            view = self._read(view, needed)
        else:
            self._time += 1
            view.used[at] = self._time
        rows = real - view.starts[at] + view.base[at]
        if len(real) < len(ids):
            spread = ids.copy()
            spread[ids >= 0] = rows
            rows = spread
        return BlockRows(view.columns, ids, rows, lengths, starts)

    def find_packs(self, packs: PackSegments) -> PackRows | None:
        """Read what is missing of the rows of packs, and return the pieces of each pack where they are.

        Args:
            packs: Rows, lengths and starts of the pieces of each pack, as for `find`; one pack at least.

        Returns:
            The pieces, or None if their blocks take more memory than may be kept.

        Raises:
            DamagedError, IndexError: As for `gather`.
        """
        ids, lengths, starts = packs
        if (view := self._view).whole and self._first is None:
            return PackRows(view.columns, ids, ids, lengths, starts)
        found = self.find(*joined_segments(packs))
        if found is None:
            return None
        ends = list(accumulate(map(len, ids), initial=0))
        rows = [found.rows[first:end] for first, end in pairwise(ends)]
        starts = None if found.starts is None else [found.starts[first:end] for first, end in pairwise(ends)]
        return PackRows(found.columns, ids, rows, lengths, starts)

    def read_ahead(self, *stretches: range) -> None:
        """Start to read blocks on threads, as far as they may be kept together.

        Args:
            stretches: Rows, in the order in which they will be needed.

        Raises:
            DamagedError: A file was changed or is gone.
        """
        known = self._view.starts
        for rows in stretches:
            inside = known[(known > rows.start) & (known < rows.stop)]
            self._open(np.array([rows.start, rows.stop - 1, *inside], np.int64))
        view, blocks = self._view, np.zeros(0, np.int64)
        for rows in stretches:
            first, last = np.searchsorted(view.starts, [rows.start, rows.stop - 1], side="right") - 1
            more = np.concatenate([blocks, np.setdiff1d(np.arange(first, last + 1), blocks)])
            if int(view.bytes[more].sum()) > self.most_bytes:
                break
            blocks = more
        reads = self._reads_of(view, blocks[(view.base[blocks] < 0) & (view.bytes[blocks] > 0)])
        self._reads.forget(but=reads)
        if reads:
            self._view = self._with_room(view, blocks)
            self._reads.start(reads)

    def check_unchanged(self) -> None:
        """Raise a `DamagedError` if a file that was opened is gone or was changed."""
        for index in tuple(self._opened):
            self._files[index].check()

    def _check_rows(self, ids: NDArray[np.int64]) -> None:
        least = 0 if self._fillers is None else SEPARATOR
        if len(ids) and not (ids.min() >= least and ids.max() < self._ends[-1]):
            raise IndexError(f"no file has row {ids.max() if ids.min() >= least else ids.min()}")

    def _gather_in_parts(
        self, ids: NDArray[np.int64], lengths: NDArray[np.int32], starts: NDArray[np.int32] | None
    ) -> dict[str, NDArray[Any]]:
        """Gather from a few blocks at a time, in the order of the blocks."""
        view, blocks = self._open(np.maximum(ids, 0))
        needed = np.unique(blocks)
        part, room = [0], self.most_bytes - int(view.bytes[needed[0]])
        for size in view.bytes[needed[1:]].tolist():
            part.append(part[-1] + (size > room))
            room = (self.most_bytes if size > room else room) - size
        number = np.array(part)[np.searchsorted(needed, blocks)]
        order = np.argsort(number, kind="stable")
        gathered: dict[str, list[NDArray[Any]]] = {name: [] for name in self.names}
        for pieces in np.split(order, np.flatnonzero(np.diff(number[order])) + 1):
            begins = None if starts is None else starts[pieces]
            found = self.find(ids[pieces], lengths[pieces], begins, limited=False)
            assert found is not None
            for name, values in found.gather().items():
                gathered[name].append(values)
        ends = np.cumsum(lengths, dtype=np.int64)
        places = np.repeat((ends - lengths)[order] - _before(lengths[order]), lengths[order]) + np.arange(ends[-1])
        spread = {}
        for name, parts in gathered.items():
            values = np.concatenate(parts)
            spread[name] = np.empty_like(values)
            spread[name][places] = values
        return spread

    def _open(self, ids: NDArray[np.int64]) -> tuple[BlockView, NDArray[np.int64]]:
        """Open the files of some rows, and return a view that knows them, and the block of each row in it."""
        while True:
            view = self._view
            blocks: NDArray[np.int64] = np.searchsorted(view.starts, ids, side="right") - 1
            files = {view.keys[at].file for at in np.unique(blocks).tolist() if view.keys[at].block < 0}
            if not files:
                return view, blocks
            for index in sorted(files):
                file, opened = self._files[index], self._files[index].open()
                if sum(opened.rows) != file.rows:
                    raise DamagedError(
                        f"`{file.path}` has {sum(opened.rows):,} rows, and {file.rows:,} were packed: restore it, or "
                        "pack again"
                    )
                self._opened[index] = opened
            self._view = self._with_columns(self._known(), view.tables)

    def _read(self, view: BlockView, needed: NDArray[np.int64]) -> BlockView:
        """Read blocks that are missing, and return a view that has all that are needed."""
        self._time += 1
        missing = needed[view.base[needed] < 0]
        if len(missing):
            self._view = view = self._with_room(view, needed)  # what goes is gone before more comes
            found = self._reads.results(self._reads_of(view, missing))
            self._view = view = self._with_columns(view, view.tables | found)
        view.used[needed] = self._time
        return view

    def _with_room(self, view: BlockView, needed: NDArray[np.int64]) -> BlockView:
        """Return a view with room for some blocks, and for those that are read ahead: what was used last stays."""
        waiting = self._reads.waiting
        ahead = np.array([at for at, key in enumerate(view.keys) if key in waiting], np.int64)
        together = np.union1d(needed, ahead)
        if int(view.bytes[together].sum()) > self.most_bytes:
            self._reads.forget()
            together = needed
        room = self.most_bytes - int(view.bytes[together].sum())
        kept = np.setdiff1d(np.flatnonzero((view.base >= 0) & (view.bytes > 0)), together)
        tables = dict(view.tables)
        for at in kept[np.argsort(-view.used[kept], kind="stable")].tolist():  # last used first
            room -= int(view.bytes[at])
            if room < 0:
                del tables[view.keys[at]]
        return view if len(tables) == len(view.tables) else self._with_columns(view, tables)

    def _reads_of(self, view: BlockView, blocks: NDArray[np.int64]) -> dict[BlockKey, Read]:
        return {view.keys[at]: partial(self._table, view.keys[at], int(view.starts[at])) for at in blocks.tolist()}

    def _known(self) -> BlockView:
        """Return a view of the blocks of files that are open, without any of them in memory."""
        keys: list[BlockKey] = []
        rows: list[int] = []
        size: list[int] = []
        for index, file in enumerate(self._files):
            blocks = self._opened.get(index)
            first = self._ends[index] - file.rows
            for number, count in enumerate((file.rows,) if blocks is None else blocks.rows):
                keys.append(BlockKey(index, -1 if blocks is None else number))
                rows.append(count)
                decoded = blocks is not None and blocks.decoded
                size.append(block_bytes(self._stored, self._lengths[first : first + count]) if decoded else 0)
                first += count
        starts = np.cumsum([0, *rows], dtype=np.int64)[:-1]
        none = np.zeros(len(keys), np.int64)
        columns = BlockColumns(self.names, {}, self._masks, self._where)
        return BlockView(tuple(keys), starts, none - 1, np.array(size, np.int64), none, {}, columns, False)

    def _with_columns(self, view: BlockView, tables: dict[BlockKey, pa.Table]) -> BlockView:
        """Return the view with other blocks in memory."""
        here = [at for at, key in enumerate(view.keys) if key in tables]
        base = np.full(len(view.keys), -1, np.int64)
        base[here] = np.cumsum([0, *(tables[view.keys[at]].num_rows for at in here)], dtype=np.int64)[:-1]
        lists = {}
        for name, source in self._made_of.items() if here else ():
            chunks = [chunk for at in here for chunk in tables[view.keys[at]][source].chunks]
            lists[name] = list_column(pa.chunked_array(chunks, self._stored.field(source).type), name, self._fillers)
        whole = len(here) == len(view.keys)
        columns = BlockColumns(self.names, lists, self._masks, self._where)
        return replace(view, base=base, tables=dict(tables), columns=columns, whole=whole)

    def _table(self, key: BlockKey, first_row: int) -> pa.Table:
        """Read a block, and check that it has the rows that were packed."""
        file = self._files[key.file]
        file.check()
        table = self._opened[key.file].read(key.block, self._stored.names, self._memory)
        file.check()  # what was opened by its name may be another file than was just looked at
        expected = self._lengths[first_row : first_row + table.num_rows]
        return checked_block(
            table, file.path, self._stored, expected, self._first is not None, lambda row: self._where(first_row + row)
        )

    def _where(self, row: int) -> str:
        index = next(at for at, end in enumerate(self._ends) if row < end)
        return f"`{self._files[index].path}` row {row - self._ends[index] + self._files[index].rows}"


def _before(lengths: NDArray[np.int32]) -> NDArray[np.int64]:
    """Return the number of tokens before each piece: int64 (pieces,)."""
    return np.cumsum(lengths, dtype=np.int64) - lengths
