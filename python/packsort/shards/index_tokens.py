"""Tokens of an index-only directory, gathered from the files that it refers to."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from packsort._arrow import from_numpy, to_numpy
from packsort._checksum import checksum
from packsort._lazy import lazy_property
from packsort.errors import DamagedError, OptionError
from packsort.gathering.fillers import Fillers
from packsort.schema import INPUT_IDS, LABELS, LENGTH, PIECE_STARTS, SEPARATOR, SEQ_LENGTHS, SEQUENCE_IDS
from packsort.shards.index_record import SEQUENCES, IndexRecord
from packsort.shards.manifest import Manifest
from packsort.shards.references import ReferencedFile
from packsort.sources.tokens.block_rows import PackRows, joined_segments
from packsort.sources.tokens.blocks import TokenBlocks

DEFAULT_CACHE = 1_000_000_000
"""Bytes of row groups that are kept unless the caller says otherwise, or one shard needs more."""

_FIRST, _PADDING, _TRAINED = "first", "padding", "trained"


class SequenceFacts(NamedTuple):
    """Facts about the rows of an index, as `sequences.arrow` holds them.

    Attributes:
        lengths: Tokens of each row without padding: int32 or int64 (rows,).
        first: First token of each row that is no padding: int32 (rows,), or None.
        padding: Tokens of padding of each row: int64 (rows,), or None.
        trained: Whether a token of each row carries loss: bool (rows,), or None.
    """

    lengths: NDArray[Any]
    first: NDArray[np.int32] | None
    padding: NDArray[np.int64] | None
    trained: NDArray[np.bool_] | None

    def table(self) -> pa.Table:
        """Return the facts as the columns of `sequences.arrow`."""
        small = not len(self.lengths) or int(self.lengths.max()) < 2**31
        columns = {LENGTH: from_numpy(self.lengths.astype(np.int32 if small else np.int64))}
        if self.first is not None and self.padding is not None:
            columns |= {_FIRST: from_numpy(self.first), _PADDING: from_numpy(self.padding)}
        if self.trained is not None:
            columns[_TRAINED] = from_numpy(self.trained)
        return pa.table(columns)


class IndexTokens:
    """Tokens of the packs of an index-only directory.

    Args:
        folder: The directory.
        manifest: Its record.
        memory_map: Whether to map Arrow files into memory. With False, a file is read when it is first used, and stays.
        cache_size: Most bytes of decoded row groups that are kept, or None for 1 GB, or what one shard needs.
        sampled: Whether to compare checksums of what is read.

    Attributes:
        files: The files.

    Raises:
        DamagedError: A file is gone or was changed.
        OptionError: `cache_size` is less than what one shard needs.
    """

    def __init__(
        self, folder: Path, manifest: Manifest, *, memory_map: bool, cache_size: int | None, sampled: bool = True
    ) -> None:
        assert manifest.index is not None
        self._record: IndexRecord = manifest.index
        if cache_size is not None and cache_size < self._record.block_bytes:
            raise OptionError(
                f"cache_size must be at least {self._record.block_bytes:,}, the bytes of the row groups that packs of "
                f"one shard of `{folder}` are gathered from, got {cache_size:,}; a smaller shard_size when packing "
                "makes it smaller"
            )
        self._folder, self._rows, self._max_length = folder, manifest.counts.rows, manifest.max_length
        self._memory_map, self._sampled = memory_map, sampled
        self._cache = max(DEFAULT_CACHE, self._record.block_bytes) if cache_size is None else cache_size
        options = manifest.options
        has_fillers = options.separator is not None or options.pad_to_multiple_of > 1
        self._fillers = Fillers(options.pad_token_id or 0, options.separator).values if has_fillers else None
        renamed = None if options.columns is None else dict(options.columns)
        self.files = [
            ReferencedFile(file, folder, renamed, memory_map=memory_map, sampled=sampled) for file in self._record.files
        ]
        self.check_unchanged()

    @property
    def decodes(self) -> bool:
        """Whether files are decoded, and not all are mapped."""
        return self._record.block_bytes > 0

    def check_unchanged(self) -> None:
        """Raise a `DamagedError` if a file is gone or was changed."""
        for file in self.files:
            file.check()

    def gather(
        self,
        where: Callable[[], str],
        ids: NDArray[np.int64],
        lengths: NDArray[np.int32],
        starts: NDArray[np.int32] | None,
    ) -> dict[str, NDArray[Any]]:
        """Gather the values of segments, one segment after another.

        Args:
            where: Names the packs, for messages.
            ids: Row of each segment, or `PADDING` or `SEPARATOR`: int64 (segments,).
            lengths: Tokens of each segment: int32 (segments,).
            starts: First token of each segment in its row: int32 (segments,); None is 0.

        Returns:
            One array for each token column, (tokens,).

        Raises:
            DamagedError: A file is gone or was changed, or the segments are none of these files.
        """
        try:
            return self._blocks.gather(ids, lengths, starts)
        except IndexError as error:
            raise _damaged(where(), str(error)) from error

    def add_to(
        self, packs: Sequence[dict[str, Any]], where: Callable[[], str], *, pieces: bool
    ) -> list[dict[str, Any]]:
        """Return packs with their token columns, first.

        Args:
            packs: Their columns with one value for each segment; one pack at least.
            where: Names the packs, for messages.
            pieces: Whether columns may be `packsort._core.Pieces`, of which a batch is written. Others are read-only
                arrays.

        Raises:
            DamagedError: As for `gather`.
        """
        starts = [pack[PIECE_STARTS] for pack in packs] if PIECE_STARTS in packs[0] else None
        segments = [pack[SEQUENCE_IDS] for pack in packs], [pack[SEQ_LENGTHS] for pack in packs], starts
        try:
            if pieces and (found := self._blocks.find_packs(segments)) is not None:
                return _in_pieces(packs, found)
            columns = self._blocks.gather(*joined_segments(segments))
        except IndexError as error:
            raise _damaged(where(), str(error)) from error
        return _cut(packs, columns)

    def read_ahead(self, stretches: Sequence[NDArray[np.int64]]) -> None:
        """Start to decode the row groups of some segments, as far as they may be kept together.

        Args:
            stretches: Rows of segments, in the order in which they will be needed: int64 (segments,) each.

        Raises:
            DamagedError: As for `gather`.
        """
        rows = [ids[ids >= 0] for ids in stretches]
        self._blocks.read_ahead(*(range(int(ids.min()), int(ids.max()) + 1) for ids in rows if len(ids)))

    def check_packs(self, packs: pa.Table, where: str) -> None:
        """Check the segments of packs, by which memory is taken.

        Args:
            packs: Their columns with one value for each segment.
            where: Names the packs.

        Raises:
            DamagedError: Columns have other numbers of segments, a pack has more tokens than `max_length`, or a segment
                is of no row.
        """
        lists = {name: one_chunk(packs[name]) for name in packs.column_names}
        offsets = to_numpy(lists[SEQ_LENGTHS].offsets)
        for name, column in lists.items():
            if not np.array_equal(to_numpy(column.offsets), offsets):
                raise _damaged(where, f"`{name}` has other segments than `{SEQ_LENGTHS}`")
        ids, lengths = to_numpy(lists[SEQUENCE_IDS].values), to_numpy(lists[SEQ_LENGTHS].values)
        if int(lengths.min(initial=1)) < 1:
            raise _damaged(where, f"a segment has {lengths.min()} tokens")
        ends = np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])[offsets]
        if (longest := int(np.diff(ends).max(initial=0))) > self._max_length:
            raise _damaged(where, f"a pack has {longest:,} tokens")
        least = 0 if self._fillers is None else SEPARATOR
        if not (int(ids.min(initial=0)) >= least and int(ids.max(initial=-1)) < self._rows):
            raise _damaged(where, f"it has row {ids.min()} or {ids.max()}")

    @lazy_property
    def facts(self) -> SequenceFacts:
        """Facts about the rows.

        Raises:
            DamagedError: `sequences.arrow` was changed or cannot be read.
        """
        path = self._folder / SEQUENCES
        try:
            if self._sampled and checksum(path) != self._record.checksum:
                raise DamagedError(
                    f"`{path}` was changed (its checksum differs): restore it from a copy, or pack again"
                )
            mapped = pa.memory_map(os.fspath(path)) if self._memory_map else pa.BufferReader(path.read_bytes())
            with mapped as file:
                table = pa.ipc.open_file(file).read_all()
            arrays = {name: to_numpy(table[name]) for name in table.column_names}
        except (OSError, pa.ArrowException) as error:
            raise DamagedError(f"`{path}` cannot be read: {error}") from error
        lengths = arrays.get(LENGTH, np.zeros(0))
        kinds = {LENGTH: "i", _FIRST: "i", _PADDING: "i", _TRAINED: "b"}
        if any(array.dtype.kind != kinds.get(name) or len(array) != self._rows for name, array in arrays.items()) or (
            len(lengths) != self._rows or int(lengths.min(initial=0)) < 0
        ):
            raise DamagedError(f"`{path}` does not hold {self._rows:,} lengths: restore it from a copy, or pack again")
        return SequenceFacts(lengths, arrays.get(_FIRST), arrays.get(_PADDING), arrays.get(_TRAINED))

    @lazy_property
    def _blocks(self) -> TokenBlocks:
        return TokenBlocks(
            self.files, self._record.schema, self.facts.lengths, self.facts.first, self._cache, self._fillers
        )


def one_chunk(column: pa.ChunkedArray) -> pa.Array:
    """Return a column as one array, without a copy if it is one."""
    return column.chunk(0) if column.num_chunks == 1 else pa.concat_arrays(column.chunks or [pa.array([], column.type)])


def _in_pieces(packs: Sequence[dict[str, Any]], found: PackRows) -> list[dict[str, Any]]:
    """Return packs with their token columns, in pieces where a batch takes these."""
    others, cut = found.columns.others, found.pieces()
    rest = _cut(packs, found.joined().gather(others)) if others else packs
    names = tuple(cut)
    if names == (INPUT_IDS, LABELS):  # as in most directories: the same, in half the time
        both = zip(*cut.values(), rest, strict=True)
        return [{INPUT_IDS: tokens, LABELS: labels, **pack} for tokens, labels, pack in both]
    return [dict(zip(names, pieces, strict=True)) | pack for *pieces, pack in zip(*cut.values(), rest, strict=True)]


def _cut(packs: Sequence[dict[str, Any]], columns: dict[str, NDArray[Any]]) -> list[dict[str, Any]]:
    """Return packs with columns of all of them."""
    for values in columns.values():
        values.flags.writeable = False
    if len(packs) == 1:
        return [columns | packs[0]]
    found = []
    end = 0
    for pack in packs:
        first, end = end, end + int(pack[SEQ_LENGTHS].sum())
        found.append({**{name: values[first:end] for name, values in columns.items()}, **pack})
    return found


def _damaged(where: str, reason: str) -> DamagedError:
    return DamagedError(f"{where} is damaged ({reason}): restore it from a copy, or pack again")
