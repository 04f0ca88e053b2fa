"""Lists of tokens of a row group of Parquet, decoded without a level for each token.

pyarrow writes two levels for each value before it makes lists of them, and takes more than twice as long. Here lengths
come from runs of levels (`parquet_levels`), and values from the pages. That is for lists of int32 and int64 without
nulls, stored plain or by a dictionary, as all common writers store tokens. Anything else, and any damage, is left to
pyarrow, which has the last word and the message.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import accumulate
from typing import BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from packsort import _core
from packsort._arrow import from_numpy
from packsort.sources.formats.block_memory import BlockMemory
from packsort.sources.formats.parquet_footer import ColumnChunk
from packsort.sources.formats.parquet_levels import DAMAGES, ListColumn, read_bytes

_WIDTHS = {pa.int32(): ("INT32", 4), pa.int64(): ("INT64", 8)}
_LINE = 64


def read_lists(
    file: pq.ParquetFile,
    data: BinaryIO | str,
    names: Iterable[str],
    chunks: list[ColumnChunk],
    rows: int,
    memory: BlockMemory,
) -> dict[str, pa.Array]:
    """Read list columns of a row group.

    Args:
        file: The open file.
        data: The same file: its path, or its bytes.
        names: The columns.
        chunks: All column chunks of the row group.
        rows: Rows of the row group.
        memory: Gives memory to the values.

    Returns:
        The lists, in the types that pyarrow gives them, without the columns that pyarrow must decode.
    """
    wanted = {name: column for name in names if (column := _Column.of(file, name, chunks)) is not None}
    sizes = [-(-column.width * column.chunk.values // _LINE) * _LINE for column in wanted.values()]
    try:
        values = memory.take(sum(sizes))
    except (OSError, ValueError, OverflowError, MemoryError):  # a footer may say any number of values
        return {}
    found = {
        name: _decoded(data, column, rows, values[end - size : end])
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


def _decoded(data: BinaryIO | str, column: _Column, rows: int, memory: NDArray[np.uint8]) -> pa.Array | None:
    try:
        return _lists(data, column, rows, memory)
    except (*DAMAGES, MemoryError):  # damage may say any size
        return None


def _lists(data: BinaryIO | str, column: _Column, rows: int, memory: NDArray[np.uint8]) -> pa.Array:
    chunk = column.chunk
    pages, at = (data, chunk.at) if isinstance(data, str) else (read_bytes(data, chunk.at, chunk.size), 0)
    lengths = _core.read_column_lists(
        pages, at, chunk.size, chunk.compression, chunk.values, rows, column.leaf.facts, column.width, memory
    )
    lists, offset = (pa.ListArray, np.int32) if pa.types.is_list(column.kind) else (pa.LargeListArray, np.int64)
    ends = np.zeros(rows + 1, offset)
    np.cumsum(lengths, out=ends[1:])
    values = memory[: column.width * int(ends[-1])].view(np.dtype(f"i{column.width}"))
    return lists.from_arrays(from_numpy(ends), from_numpy(values), type=column.kind)
