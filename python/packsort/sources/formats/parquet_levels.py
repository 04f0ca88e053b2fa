"""Lengths of the lists of a Parquet column from its levels, without decoding or even reading most of its values.

A page begins with the levels of its values, a few bytes for each row. Of a page that is compressed as a stream, only
the beginning is read and decompressed. Layout: https://parquet.apache.org/docs/file-format/data-pages/
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from pyarrow import types

from packsort import _core
from packsort.errors import DamagedError, PacksortError
from packsort.sources.formats.parquet_footer import ColumnChunk, column_chunks
from packsort.sources.formats.thrift import ThriftError

_STREAMS = {"ZSTD": "zstd", "GZIP": "gzip", "BROTLI": "brotli"}
_BLOCKS = {"SNAPPY": "snappy", "LZ4": "lz4_raw"}
_HEAD_BYTES = 1 << 16
_MOST_GROWTH = 256  # of a page of Snappy or LZ4, whose size in memory is a number in the file
DAMAGES = (ThriftError, PacksortError, pa.ArrowException, OSError, OverflowError, LookupError, TypeError)


def count_lists(
    file: pq.ParquetFile, data: BinaryIO, name: str, groups: Iterable[int] | None = None
) -> NDArray[np.int64] | None:
    """Count the values of each list of a column.

    Args:
        file: The open file.
        data: The same file, as bytes.
        name: The column.
        groups: The row groups; None is all.

    Returns:
        Number of values in each row, -1 where the list is null: int64 (rows,). None if the column is no plain list of
        numbers, is compressed or encoded in a way that is not known here, or is damaged: then it must be decoded.
    """
    column = ListColumn.of(file, name)
    if column is None:
        return None
    try:
        every = range(file.num_row_groups) if groups is None else groups
        chunks = column_chunks(data)
        rows = [file.metadata.row_group(group).num_rows for group in every]
        found = [
            column.lengths(data, chunks[group][column.index], number) for group, number in zip(every, rows, strict=True)
        ]
    except DAMAGES:
        return None
    if any(lengths is None for lengths in found):
        return None
    return np.concatenate([np.empty(0, np.int64), *found])


@dataclass(frozen=True)
class ListColumn:
    """Place and levels of a list column of one repetition level.

    Attributes:
        index: Number of the column among all columns of values.
        most: The largest definition level.
        nullable: Whether lists may be null.
    """

    index: int
    most: int
    nullable: bool

    @classmethod
    def of(cls, file: pq.ParquetFile, name: str) -> ListColumn | None:
        """Return the column of a name, or None if it is no plain list of numbers."""
        field = file.schema_arrow.field(name)
        if not (types.is_list(field.type) or types.is_large_list(field.type)) or types.is_nested(field.type.value_type):
            return None
        leaves = [i for i in range(len(file.schema)) if file.schema.column(i).path.startswith(f"{name}.")]
        if len(leaves) != 1:
            return None
        leaf = file.schema.column(leaves[0])
        value = int(field.nullable) + 1
        if leaf.max_repetition_level != 1 or leaf.max_definition_level not in (value, value + 1):
            return None
        return cls(leaves[0], leaf.max_definition_level, field.nullable)

    @property
    def facts(self) -> tuple[int, int, bool]:
        """The levels as `count_list_values` takes them."""
        return self.most, int(self.nullable) + 1, self.nullable

    def lengths(self, data: BinaryIO, chunk: ColumnChunk, rows: int) -> NDArray[np.int64] | None:
        """Return the number of values in each row of a row group; None where they must be decoded."""
        parts = [np.empty(0, np.int64)]
        if not rows and not chunk.values:  # there may be no page
            return parts[0]
        found = values_found = 0
        for page in _pages(data, chunk):
            if not page.version:
                continue
            levels = page.levels(data, chunk.compression)
            if levels is None:
                return None
            continued, lengths, _ = _core.count_list_values(*levels, page.values, self.facts, rows - found)
            if continued:
                last = next((part for part in reversed(parts) if len(part)), None)
                if last is None:
                    return None
                last[-1] += continued
            parts.append(lengths)
            found += len(lengths)
            values_found += page.values
        return np.concatenate(parts) if found == rows and values_found == chunk.values else None


@dataclass(frozen=True)
class _Page:
    """Page of a column.

    Attributes:
        at: Its first byte in the file, after the header.
        size: Its bytes in the file.
        size_in_memory: Its bytes without compression.
        values: Number of its values, nulls and empty lists included.
        version: 1 or 2 of a data page, 0 of a dictionary.
        runs: Whether its levels are runs.
        level_bytes: Bytes of its repetition and its definition levels, in version 2.
    """

    at: int
    size: int
    size_in_memory: int
    values: int
    version: int
    runs: bool
    level_bytes: tuple[int, int]

    def levels(self, data: BinaryIO, compression: str) -> tuple[bytes, bytes] | None:
        """Return the repetition and the definition levels, encoded; None where the page must be decoded."""
        if self.version == 2:
            repetition, definition = self.level_bytes
            head = read_bytes(data, self.at, min(self.size, definition + repetition))
            return head[:repetition], head[repetition:]
        if not self.runs:
            return None
        for size in (min(_HEAD_BYTES, self.size), self.size):
            beginning = self._beginning(read_bytes(data, self.at, size), size == self.size, compression)
            if beginning is None:
                return None
            head = beginning
            repetition_levels = _prefixed(head, 0)
            if repetition_levels is not None:
                definition_levels = _prefixed(head, 4 + len(repetition_levels))
                if definition_levels is not None:
                    return repetition_levels, definition_levels
        return None

    def _beginning(self, stored: bytes, whole: bool, compression: str) -> bytes | None:
        """Decompress as much as there is of a page."""
        if compression == "UNCOMPRESSED":
            return stored
        if compression in _STREAMS:
            with pa.CompressedInputStream(pa.BufferReader(stored), _STREAMS[compression]) as stream:
                return _read_levels(stream)
        if compression not in _BLOCKS or self.size_in_memory > _MOST_GROWTH * (self.size + 1):
            return None
        if not whole:
            return b""
        codec = pa.Codec(_BLOCKS[compression])
        return bytes(codec.decompress(stored, self.size_in_memory, asbytes=True))


def _read_levels(stream: pa.NativeFile) -> bytes:
    """Read the two kinds of levels, each after its size, as far as a stream goes."""
    found = b""
    for _ in range(2):
        size = _read_some(stream, 4)
        found += size + _read_some(stream, int.from_bytes(size, "little"))
    return found


def _read_some(stream: pa.NativeFile, size: int) -> bytes:
    parts = []
    try:
        while size > 0:
            part = stream.read(min(size, _HEAD_BYTES))
            if not part:
                break
            parts.append(part)
            size -= len(part)
    except OSError:  # the rest has not been read
        pass
    return b"".join(parts)


def _prefixed(head: bytes, at: int) -> bytes | None:
    """Return the bytes whose number stands at a place, or None if they are not all there."""
    size = int.from_bytes(head[at : at + 4], "little")
    found = head[at + 4 : at + 4 + size]
    return found if len(head) >= at + 4 and len(found) == size else None


def _pages(data: BinaryIO, chunk: ColumnChunk) -> Iterator[_Page]:
    """Yield the pages of a column chunk.

    Args:
        data: The file, as bytes.
        chunk: The chunk.

    Raises:
        DamagedError: A page is of another kind, or lies outside the chunk.
    """
    at, end = chunk.at, chunk.at + chunk.size
    while at < end:
        header = _core.read_page_header(read_bytes(data, at, min(_HEAD_BYTES, end - at)))
        if header is None:
            raise DamagedError("a page has no header that is known here")
        version, header_size, size, size_in_memory, values, runs, level_bytes = header
        at += header_size
        if at + size > end:
            raise DamagedError("a page lies outside its column")
        yield _Page(at, size, size_in_memory, values, version, runs, level_bytes)
        at += size


def read_bytes(data: BinaryIO, at: int, size: int) -> bytes:
    """Read some bytes of a file.

    Raises:
        DamagedError: It ends before.
    """
    data.seek(at)
    found = data.read(size)
    if len(found) != size:
        raise DamagedError("the file has ended")
    return found
