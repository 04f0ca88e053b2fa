"""Columns under the names that packsort looks for, as the user maps them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from packsort.errors import OptionError, SourceError
from packsort.sources.formats.block_memory import BlockMemory
from packsort.sources.formats.list_lengths import list_lengths
from packsort.sources.formats.parts import read_parts
from packsort.sources.formats.reader import BlockReader, Blocks, Reader
from packsort.sources.formats.sizes import decoded_bytes


def rename_columns(readers: Sequence[Reader], columns: Mapping[str, str]) -> list[Reader]:
    """Give columns of files other names.

    Args:
        readers: Readers of the files.
        columns: Column of the source for each new name.

    Returns:
        Readers with the new names. Columns that are not mapped keep theirs.

    Raises:
        SourceError: No file has such a column.
        OptionError: A column is mapped twice, or a new name is that of another column.

    Example:
        >>> from packsort.sources.formats.memory import MemoryReader
        >>> table = pa.table({"question": ["two and three?"], "id": [7]})
        >>> (reader,) = rename_columns([MemoryReader(table)], {"text": "question"})
        >>> reader.schema.names, reader.read(["text"])["text"].to_pylist()
        (['text', 'id'], ['two and three?'])
    """
    there = list(dict.fromkeys(name for reader in readers for name in reader.schema.names))
    new: dict[str, str] = {}
    for name, column in columns.items():
        if column not in there:
            raise SourceError(f"there is no column `{column}`{_hint(column, there)}")
        if column in new:
            raise OptionError(f"column `{column}` is mapped to `{new[column]}` and to `{name}`: map it to one of them")
        new[column] = name
    for name, column in columns.items():
        if name in there and name not in new:
            raise OptionError(
                f"column `{column}` cannot become `{name}`, because there is a column `{name}` already: map that one "
                f"to another name, as in columns={{'{name}': '{column}', 'other': '{name}'}}"
            )
    return [(_RenamedBlocks if isinstance(reader, BlockReader) else _RenamedReader)(reader, new) for reader in readers]


def _hint(column: str, there: Sequence[str]) -> str:
    folded = {name.casefold(): name for name in there}
    close = get_close_matches(column.casefold(), folded, 1)
    if close:
        return f"; did you mean `{folded[close[0]]}`?"
    return f"; there are {', '.join(f'`{name}`' for name in there)}"


class _RenamedReader:
    """Reader with other names for some of its columns.

    Args:
        reader: The reader.
        new: New name of each column that gets one.
    """

    def __init__(self, reader: Reader, new: Mapping[str, str]) -> None:
        self._reader = reader
        self._old = {name: column for column, name in new.items()}
        self.path, self.rows, self.bytes = reader.path, reader.rows, reader.bytes
        self.schema = pa.schema([field.with_name(new.get(field.name, field.name)) for field in reader.schema])

    def read(self, columns: Sequence[str]) -> pa.Table:
        """Read all rows of some columns, by their new names."""
        return self._reader.read(self._given(columns)).rename_columns(list(columns))

    def batches(self, columns: Sequence[str], rows: int) -> Iterator[pa.RecordBatch]:
        """Read some columns in record batches, by their new names."""
        for batch in self._reader.batches(self._given(columns), rows):
            yield pa.RecordBatch.from_arrays(batch.columns, names=list(columns))

    def list_lengths(self, columns: Sequence[str]) -> dict[str, NDArray[np.int64]]:
        """Count the values of lists, as `list_lengths.list_lengths`."""
        given = self._given(columns)
        found = list_lengths(self._reader, given)
        return {name: found[one] for name, one in zip(columns, given, strict=True)}

    def decoded_bytes(self, columns: Sequence[str]) -> int:
        """Return the bytes that columns take, as `sizes.decoded_bytes`."""
        return decoded_bytes(self._reader, self._given(columns))

    def parts(self, columns: Sequence[str], most_bytes: int) -> Iterator[pa.Table]:
        """Read some columns in tables of consecutive rows, as `parts.read_parts`."""
        for table in read_parts(self._reader, self._given(columns), most_bytes):
            yield table.rename_columns(list(columns))

    def _given(self, columns: Sequence[str]) -> list[str]:
        return [self._old.get(name, name) for name in columns]


class _RenamedBlocks(_RenamedReader):
    """Reader with other names for some of its columns, whose rows can be read block by block."""

    def blocks(self) -> Blocks:
        """Return the blocks, which know the columns by their new names."""
        assert isinstance(self._reader, BlockReader)
        blocks = self._reader.blocks()

        def read(index: int, columns: Sequence[str], memory: BlockMemory) -> pa.Table:
            return blocks.read(index, self._given(columns), memory).rename_columns(list(columns))

        return Blocks(blocks.rows, blocks.decoded, read)
