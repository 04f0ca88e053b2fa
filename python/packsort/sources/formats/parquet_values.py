"""Lists of tokens of a row group of Parquet, decoded without a level for each token.

pyarrow writes two levels for each value before it makes lists of them, and takes more than twice as long. Here lengths
come from runs of levels (`parquet_levels`), and values from the pages. That is for lists of int32 and int64 without
nulls, stored plain or by a dictionary, as all common writers store tokens. Anything else, and any damage, is left to
pyarrow, which has the last word and the message.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from packsort import _core
from packsort._arrow import from_numpy
from packsort.sources.formats.parquet_footer import ColumnChunk
from packsort.sources.formats.parquet_levels import DAMAGES, ListColumn, pages

_WIDTHS = {pa.int32(): ("INT32", 4), pa.int64(): ("INT64", 8)}
_PLAIN, _BY_DICTIONARY = 0, (2, 8)


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
    found = {name: _read(file, data, name, chunks, rows) for name in names}
    return {name: lists for name, lists in found.items() if lists is not None}


def _read(file: pq.ParquetFile, data: BinaryIO, name: str, chunks: list[ColumnChunk], rows: int) -> pa.Array | None:
    column, kind = ListColumn.of(file, name), file.schema_arrow.field(name).type
    if column is None or kind.value_type not in _WIDTHS or sys.byteorder != "little":
        return None
    physical, width = _WIDTHS[kind.value_type]
    if file.schema.column(column.index).physical_type != physical:
        return None
    chunk = chunks[column.index]
    try:
        return _lists(data, chunk, column, kind, width, rows)
    except DAMAGES:
        return None


def _lists(
    data: BinaryIO, chunk: ColumnChunk, column: ListColumn, kind: pa.DataType, width: int, rows: int
) -> pa.Array | None:
    offset_type = np.dtype(np.int32 if pa.types.is_list(kind) else np.int64)
    if chunk.values >= 2 ** (8 * offset_type.itemsize - 1):
        return None
    values = np.empty(chunk.values, np.dtype(f"i{width}"))
    as_bytes = values.view(np.uint8)
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
            repetition, definition, page.values, column.facts, rows - rows_found
        )
        count = continued + int(lengths.sum())
        if nulls or int(lengths.min(initial=0)) < 0 or (continued and not rows_found) or end + count > len(values):
            return None
        own = as_bytes[width * end : width * (end + count)]
        _core.write_page_values(dictionary, whole, first, encoding == _PLAIN, width, own)
        parts[-1][-1] += continued  # no part is empty, so this is the last list that has begun
        if len(lengths):
            parts.append(lengths)
        rows_found, levels, end = rows_found + len(lengths), levels + page.values, end + count
    if rows_found != rows or levels != chunk.values:
        return None
    ends = np.cumsum(np.concatenate(parts), dtype=offset_type)
    lists = pa.ListArray if pa.types.is_list(kind) else pa.LargeListArray
    return lists.from_arrays(from_numpy(ends), from_numpy(values[:end]), type=kind)
