"""Where rows come from: files, folders, glob patterns, tables, readers and datasets, all read the same way.

Rows are counted through a source in the order of its files; `Source.where` turns such a row back into a file and the
row within it.
"""

from __future__ import annotations

import os
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import pyarrow as pa

from packsort._arrow import wider
from packsort.errors import SourceError
from packsort.sources.files import find_files
from packsort.sources.formats import MemoryReader, Reader, naming, open_file

_ALLOWED = (
    "a path, a list of paths, a folder, a glob pattern, a pyarrow Table or RecordBatchReader, a datasets.Dataset, "
    "or an object with `__arrow_c_stream__` is needed"
)


@dataclass(frozen=True)
class SourceFile:
    """One file of a source.

    Attributes:
        path: as it was given or found; `<table>` for rows in memory.
        rows: its rows.
        bytes: its size on disk, or in memory.
    """

    path: str
    rows: int
    bytes: int


class Source:
    """Rows of one or more files that agree in their columns; made by `open_source`.

    Attributes:
        files: the files, in the order in which their rows are counted.
        schema: every column of any file. A column that differs between files has the widest of its types where
            there is one, otherwise the first file's; reading it then raises.
        num_rows: rows of all files.
    """

    def __init__(self, readers: Sequence[Reader]) -> None:
        self._readers = tuple(readers)
        self.files = tuple(SourceFile(reader.path, reader.rows, reader.bytes) for reader in readers)
        self._ends = list(accumulate(file.rows for file in self.files))
        self.num_rows = self._ends[-1] if self._ends else 0
        if not self.num_rows:
            names = ", ".join(f"`{file.path}`" for file in self.files[:3]) + (", ..." if len(self.files) > 3 else "")
            raise SourceError(f"{names} {'holds' if len(self.files) == 1 else 'hold'} no rows")
        self._problems: dict[str, str] = {}
        self.schema = self._unified()

    def _unified(self) -> pa.Schema:
        """One schema for all files; what does not fit is noted and raised only for columns that are read."""
        fields: dict[str, pa.Field] = {}
        first: dict[str, Reader] = {}
        for reader in self._readers:
            for field in reader.schema:
                if reader.schema.names.count(field.name) > 1:
                    self._problems[field.name] = f"`{reader.path}` has more than one column `{field.name}`"
                if field.name not in fields:
                    fields[field.name], first[field.name] = field, reader
                    continue
                here, there = field.type, fields[field.name].type
                both = wider(there, here)
                if both is None:
                    self._problems[field.name] = (
                        f"column `{field.name}` is {there} in `{first[field.name].path}` but {here} in `{reader.path}`"
                    )
                else:
                    fields[field.name] = pa.field(field.name, both)
        for name, reader in first.items():
            for other in self._readers:
                if name not in other.schema.names:
                    self._problems[name] = f"`{reader.path}` has a column `{name}`, `{other.path}` has none"
        return pa.schema(list(fields.values()))

    def read(self, columns: Sequence[str]) -> pa.Table:
        """All rows of some columns, in file order, in as many chunks as the files have.

        Args:
            columns: their names; the table has them in this order.

        Raises:
            SourceError: There is no such column, files disagree about one, or a file cannot be read.
        """
        return pa.concat_tables([self.read_file(index, columns) for index in range(len(self.files))])

    def read_file(self, index: int, columns: Sequence[str]) -> pa.Table:
        """The same for the file `files[index]` alone."""
        schema = self._checked(columns)
        reader = self._readers[index]
        table = reader.read(columns)
        with naming(reader.path):
            return table if table.schema.equals(schema) else table.cast(schema)

    def batches(self, columns: Sequence[str], rows: int = 1000) -> Iterator[tuple[int, int, pa.RecordBatch]]:
        """Goes through some columns in little memory.

        Args:
            columns: their names.
            rows: the most rows of a batch.

        Yields:
            The index of the file in `files`, the first row within that file, and the record batch. No batch is empty,
            none spans two files.

        Raises:
            SourceError: As for `read`.
        """
        schema = self._checked(columns)
        for index, reader in enumerate(self._readers):
            first = 0
            for batch in reader.batches(columns, rows):
                with naming(reader.path):
                    unified = batch if batch.schema.equals(schema) else batch.cast(schema)
                yield index, first, unified
                first += batch.num_rows

    def where(self, row: int) -> str:
        """Names a row for a message, such as "`a.parquet` row 7"; rows are counted from 0 within their file.

        Raises:
            IndexError: The source has no such row.
        """
        if not 0 <= row < self.num_rows:
            raise IndexError(f"row {row} of {self.num_rows}")
        index = bisect_right(self._ends, row)
        return f"`{self.files[index].path}` row {row - self._ends[index] + self.files[index].rows}"

    def _checked(self, columns: Sequence[str]) -> pa.Schema:
        for name in columns:
            if name in self._problems:
                raise SourceError(self._problems[name])
            if name not in self.schema.names:
                raise SourceError(f"no column `{name}`; there are {_listed(self.schema.names)}")
        return pa.schema([self.schema.field(name) for name in columns])


def open_source(source: Any) -> Source:
    """Opens rows, whatever they are in.

    Args:
        source: a path, a list of paths, a folder or a glob pattern (see `find_files`); a `pyarrow.Table`,
            `RecordBatch` or `RecordBatchReader` (read to its end); a `datasets.Dataset`, with the rows it selects;
            or anything with `__arrow_c_stream__`, such as a polars DataFrame or a DuckDB relation.

    Returns:
        The source. Files are opened and their footers read, their rows are not.

    Raises:
        SourceNotFoundError: There is no such file.
        SourceError: A file is not Parquet or Arrow, or damaged; there are no rows; the object is none of the above.

    Examples:
        >>> import pyarrow as pa
        >>> source = open_source(pa.table({"input_ids": [[1, 2], [3]]}))
        >>> source.num_rows, source.where(1)
        (2, '`<table>` row 1')
    """
    if isinstance(source, Source):
        return source
    if isinstance(source, (str, os.PathLike, list, tuple)):
        return Source([open_file(path) for path in find_files(source)])
    return Source([MemoryReader(_table(source))])


def _table(source: Any) -> pa.Table:
    if isinstance(source, pa.Table):
        return source
    if isinstance(source, pa.RecordBatch):
        return pa.Table.from_batches([source])
    with naming("<table>"):
        if isinstance(source, pa.RecordBatchReader):
            return source.read_all()
        # A datasets.Dataset, told by its looks: `datasets` takes a second to import and need not be there.
        if hasattr(source, "with_format") and hasattr(source, "_indices"):
            table: pa.Table = source.with_format("arrow")[:]
            return table
        if hasattr(source, "__arrow_c_stream__"):
            return pa.RecordBatchReader.from_stream(source).read_all()
    if isinstance(source, dict):
        raise SourceError(f"a {type(source).__name__} of {_listed(list(source))} is no source: pass one of them")
    raise SourceError(f"a {type(source).__name__} is no source: {_ALLOWED}")


def _listed(names: Sequence[str]) -> str:
    return ", ".join(f"`{name}`" for name in names) or "none"
