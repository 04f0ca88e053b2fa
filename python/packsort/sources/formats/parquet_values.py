"""Lists of tokens of a row group of Parquet, decoded without a level for each token.

pyarrow writes two levels for each value before it makes lists of them, and takes more than twice as long. Here lengths
come from runs of levels (`parquet_levels`), and values from the pages. That is for lists of int32 and int64 without
nulls, stored plain or by a dictionary, as all common writers store tokens. Anything else, and any damage, is left to
pyarrow, which has the last word and the message.
"""

from __future__ import annotations

import mmap
import sys
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from itertools import accumulate
from typing import BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from packsort import _core
from packsort._arrow import from_numpy
from packsort.sources.formats.parquet_footer import ColumnChunk
from packsort.sources.formats.parquet_levels import DAMAGES, ListColumn, pages

_WIDTHS = {pa.int32(): ("INT32", 4), pa.int64(): ("INT64", 8)}
_PLAIN, _BY_DICTIONARY = 0, (2, 8)
_LINE, _HUGE_PAGE, _HUGE_FROM = 64, 2 << 20, 4 << 20


def read_lists(
    file: pq.ParquetFile, data: BinaryIO, names: Iterable[str], chunks: list[ColumnChunk], rows: int
) -> dict[str, pa.Array]:
    """Read list columns of a row group.

    Args:
        file: The open file.
        data: The same file, as bytes.
        names: The columns.
        chunks: All column chunks of the row group.
        rows: Rows of the row group.

    Returns:
        The lists, in the types that pyarrow gives them, without the columns that pyarrow must decode.
    """
    wanted = {name: column for name in names if (column := _Column.of(file, name, chunks)) is not None}
    sizes = [-(-column.width * column.chunk.values // _LINE) * _LINE for column in wanted.values()]
    try:
        memory = _memory(sum(sizes))
    except (OSError, ValueError, OverflowError, MemoryError):  # a footer may say any number of values
        return {}
    found = {
        name: _read(data, column, rows, memory[end - size : end])
        for (name, column), size, end in zip(wanted.items(), sizes, accumulate(sizes), strict=True)
    }
    return {name: lists for name, lists in found.items() if lists is not None}


@dataclass(frozen=True)
class _Column:
    """A column that may be decoded here: its place, its type, its values in the row group, and the bytes of each."""

    leaf: ListColumn
    kind: pa.DataType
    chunk: ColumnChunk
    width: int

    @classmethod
    def of(cls, file: pq.ParquetFile, name: str, chunks: list[ColumnChunk]) -> _Column | None:
        leaf, kind = ListColumn.of(file, name), file.schema_arrow.field(name).type
        if leaf is None or kind.value_type not in _WIDTHS or sys.byteorder != "little":
            return None
        physical, width = _WIDTHS[kind.value_type]
        if file.schema.column(leaf.index).physical_type != physical:
            return None
        chunk = chunks[leaf.index]
        fits = chunk.values < 2 ** (31 if pa.types.is_list(kind) else 63)
        return cls(leaf, kind, chunk, width) if fits else None


def _memory(size: int) -> NDArray[np.uint8]:
    """Allocate bytes. A row group takes whole huge pages, which the system clears with fewer faults."""
    if size < _HUGE_FROM or not hasattr(mmap, "MADV_HUGEPAGE"):
        return np.empty(size, np.uint8)
    whole = -(-size // _HUGE_PAGE) * _HUGE_PAGE  # a mapping of whole huge pages begins with one
    memory = mmap.mmap(-1, whole, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    with suppress(OSError):  # of a system without huge pages
        memory.madvise(mmap.MADV_HUGEPAGE)
    return np.frombuffer(memory, np.uint8, size)


def _read(data: BinaryIO, column: _Column, rows: int, memory: NDArray[np.uint8]) -> pa.Array | None:
    try:
        return _lists(data, column, rows, memory)
    except DAMAGES:
        return None


def _lists(data: BinaryIO, column: _Column, rows: int, memory: NDArray[np.uint8]) -> pa.Array | None:
    chunk, width = column.chunk, column.width
    dictionary, rows_found, levels, end = b"", 0, 0, 0
    parts = [np.zeros(1, np.int64)]
    for page in pages(data, chunk):
        content = page.content(data, chunk.compression)
        if content is None:
            return None
        whole, first, repetition, definition = content
        encoding = page.header[4 if page.version == 2 else 2]
        if not page.version:
            if dictionary or levels or encoding not in (_PLAIN, *_BY_DICTIONARY) or len(whole) != width * page.values:
                return None
            dictionary = whole
            continue
        if encoding != _PLAIN and encoding not in _BY_DICTIONARY:
            return None
        continued, lengths, nulls = _core.count_list_values(
            repetition, definition, page.values, column.leaf.facts, rows - rows_found
        )
        count = continued + int(lengths.sum())
        if nulls or int(lengths.min(initial=0)) < 0 or (continued and not rows_found) or end + count > chunk.values:
            return None
        own = memory[width * end : width * (end + count)]
        _core.write_page_values(dictionary, whole, first, encoding == _PLAIN, width, own)
        parts[-1][-1] += continued  # no part is empty, so this is the last list that has begun
        if len(lengths):
            parts.append(lengths)
        rows_found, levels, end = rows_found + len(lengths), levels + page.values, end + count
    if rows_found != rows or levels != chunk.values:
        return None
    lists, offset = (pa.ListArray, np.int32) if pa.types.is_list(column.kind) else (pa.LargeListArray, np.int64)
    ends = np.cumsum(np.concatenate(parts), dtype=offset)
    values = memory[: width * end].view(np.dtype(f"i{width}"))
    return lists.from_arrays(from_numpy(ends), from_numpy(values), type=column.kind)
