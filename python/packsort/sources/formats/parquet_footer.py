"""Column chunks of a Parquet file, as its footer describes them.

pyarrow describes them too, but ends the process where statistics in a damaged footer contradict each other. Layout:
https://parquet.apache.org/docs/file-format/metadata/
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, BinaryIO

from packsort.sources.formats.thrift import Fields, ThriftError, read_struct

_MAGIC = b"PAR1"
_CODECS = ("UNCOMPRESSED", "SNAPPY", "GZIP", "LZO", "BROTLI", "LZ4_HADOOP", "ZSTD", "LZ4")


@dataclass(frozen=True)
class ColumnChunk:
    """The values of one column in one row group.

    Attributes:
        path: Names from the column to its values, joined by dots, such as `input_ids.list.element`.
        compression: Name of the codec, or an empty text if it is not known.
        values: Number of its values, nulls and empty lists included.
        at: Its first byte in the file.
        size: Its bytes in the file.
    """

    path: str
    compression: str
    values: int
    at: int
    size: int


def column_chunks(file: BinaryIO) -> list[list[ColumnChunk]]:
    """Return the column chunks of each row group.

    Args:
        file: The file, as bytes.

    Raises:
        ThriftError: The footer is damaged, or encrypted.

    Example:
        >>> import io, pyarrow as pa, pyarrow.parquet as pq
        >>> file = io.BytesIO()
        >>> pq.write_table(pa.table({"a": [[1, 2], []]}), file, compression="zstd")
        >>> ((chunk,),) = column_chunks(file)
        >>> chunk.path, chunk.compression, chunk.values
        ('a.list.element', 'ZSTD', 3)
    """
    end = file.seek(0, 2) - 8
    file.seek(max(0, end))
    tail = file.read(8)
    size = int.from_bytes(tail[:4], "little")
    if end < 0 or tail[4:] != _MAGIC or size > end:
        raise ThriftError("the file has no footer that can be read")
    file.seek(end - size)
    footer, _ = read_struct(file.read(size))
    try:
        return [[_chunk(column[3]) for column in group[1]] for group in footer[4]]
    except (LookupError, TypeError, AttributeError, UnicodeDecodeError) as error:
        raise ThriftError("the footer does not describe its columns") from error


def _chunk(facts: Fields) -> ColumnChunk:
    """Return the chunk that a struct `ColumnMetaData` describes."""
    codec, values, size, first = (_number(facts[field]) for field in (4, 5, 7, 9))
    dictionary = _number(facts.get(11, 0))
    return ColumnChunk(
        path=".".join(name.decode() for name in facts[3]),
        compression=_CODECS[codec] if codec < len(_CODECS) else "",
        values=values,
        at=min(first, dictionary) if dictionary else first,
        size=size,
    )


def _number(value: Any) -> int:
    if not isinstance(value, int) or value < 0:
        raise ThriftError(f"a number of the footer is {value}")
    return value
