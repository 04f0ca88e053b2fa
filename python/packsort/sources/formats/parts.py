"""Read a file in parts where reading decodes it, so that a part is checked while the next is decoded."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol, runtime_checkable

import pyarrow as pa

from packsort.sources.formats.reader import Reader


@runtime_checkable
class ReadsParts(Protocol):
    """Reader that decodes rows part by part."""

    def parts(self, columns: Sequence[str], most_bytes: int) -> Iterator[pa.Table]:
        """Do what `read_parts` does."""


def read_parts(reader: Reader, columns: Sequence[str], most_bytes: int) -> Iterator[pa.Table]:
    """Read all rows of some columns in tables of consecutive rows; in one table where reading copies nothing.

    Args:
        reader: The rows.
        columns: Names of the columns; the tables have them in this order.
        most_bytes: Bytes of a table in memory, approximately.

    Example:
        >>> from packsort.sources.formats.memory import MemoryReader
        >>> [part.num_rows for part in read_parts(MemoryReader(pa.table({"n": [5, 6]})), ["n"], 8)]
        [2]
    """
    if isinstance(reader, ReadsParts):
        yield from reader.parts(columns, most_bytes)
    else:
        yield reader.read(columns)
