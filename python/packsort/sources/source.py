"""Rows of any kind behind one interface: files, folders, glob patterns, tables, readers and datasets.

Rows are numbered through all files of a source. `Source.where` turns such a number into a file and the row within it.
"""

from __future__ import annotations

import os
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from packsort._arrow import is_list, wider
from packsort._options.input import InputConfig
from packsort._progress import Advance, current_stage, logger
from packsort._warn import warn
from packsort.errors import OptionError, SourceError
from packsort.sources.files.find import find_files
from packsort.sources.files.opening import open_files
from packsort.sources.files.skipped import SkippedFile, SkipReason
from packsort.sources.files.splits import rows_by_split
from packsort.sources.formats.block_memory import BlockMemory
from packsort.sources.formats.json import share_types
from packsort.sources.formats.list_lengths import list_lengths
from packsort.sources.formats.parts import read_parts
from packsort.sources.formats.reader import BlockReader, Blocks, Reader, naming
from packsort.sources.formats.sizes import decoded_bytes
from packsort.sources.hugging_face.hub import hub_names, hub_readers
from packsort.sources.objects import open_object
from packsort.sources.renamed import rename_columns

_DEFAULTS = InputConfig()
_ROWS_TO_TRY = 512


@dataclass(frozen=True)
class SourceFile:
    """One file of a source.

    Attributes:
        path: Path as it was given or found, or `<table>` for rows in memory.
        rows: Number of its rows.
        bytes: Its size on disk or in memory.
        split: Split that its name tells, or None.
    """

    path: str
    rows: int
    bytes: int
    split: str | None = None


class Source:
    """Rows of one or more files that agree in their columns; `open_source` returns it.

    Args:
        readers: Readers of the files.
        splits: Split of each file, or None where there are no splits.
        skipped: Files and folders that were found beside the files and are not read.

    Attributes:
        files: The files, in the order in which their rows are numbered.
        schema: Every column of any file. A column whose type differs between files has the type that holds them all.
            If no type does, or a file lacks the column, reading it raises.
        num_rows: Number of rows of all files.
        skipped: As given.

    Raises:
        SourceError: There are no rows.
    """

    def __init__(
        self,
        readers: Sequence[Reader],
        splits: Sequence[str | None] | None = None,
        skipped: Sequence[SkippedFile] = (),
    ) -> None:
        self._readers = tuple(readers)
        of_files = [None] * len(readers) if splits is None else splits
        self.files = tuple(
            SourceFile(reader.path, reader.rows, reader.bytes, split)
            for reader, split in zip(readers, of_files, strict=True)
        )
        self.skipped = tuple(skipped)
        self._ends = list(accumulate(file.rows for file in self.files))
        self.num_rows = self._ends[-1] if self._ends else 0
        if not self.num_rows:
            names = ", ".join(f"`{file.path}`" for file in self.files[:3]) + (", ..." if len(self.files) > 3 else "")
            raise SourceError(f"{names} {'holds' if len(self.files) == 1 else 'hold'} no rows")
        self._problems: dict[str, str] = {}
        self.schema = self._unified()

    @property
    def rows_by_split(self) -> dict[str, int]:
        """Rows of each split that names of files tell, empty where there are none."""
        return rows_by_split((file.split, file.rows) for file in self.files)

    def _unified(self) -> pa.Schema:
        """Return one schema for all files, and note columns that do not fit; only reading them raises."""
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
                    pair = f"`{reader.path}` has a column `{name}`, but `{other.path}` has none"
                    self._problems[name] = f"{pair}: add it there, or remove it"
        return pa.schema(list(fields.values()))

    @property
    def name(self) -> str:
        """The first file, and the number of others, for a message."""
        more = f" and {len(self.files) - 1:,} more" if len(self.files) > 1 else ""
        return f"`{self.files[0].path}`{more}"

    @contextmanager
    def naming(self) -> Iterator[None]:
        """Name the source in errors about its columns that name no file of it; rows in memory have no name."""
        try:
            yield
        except (SourceError, OptionError) as error:
            text = str(error)
            if any(f"`{file.path}`" in text or file.path.startswith("<") for file in self.files):
                raise
            raise type(error)(f"{self.name}: {text}") from error.__cause__

    def agrees(self, name: str) -> bool:
        """Return whether all files have a column, once, in types that one type holds."""
        return name not in self._problems

    def stored_lengths(self, index: int, name: str) -> NDArray[np.int64]:
        """Count the values of each list of a column of one file, as it is stored.

        Returns:
            Number of values in each row, -1 where there is no list: int64 (rows,).

        Raises:
            SourceError: The file has several such columns, or cannot be read.
        """
        reader = self._readers[index]
        there = reader.schema.names.count(name)
        if there > 1:
            raise SourceError(self._problems[name])
        if not there or not is_list(reader.schema.field(name).type):
            return np.full(reader.rows, -1)
        return list_lengths(reader, [name])[name]

    def list_lengths(self, index: int, columns: Sequence[str]) -> dict[str, NDArray[np.int64]]:
        """Count the values of each list of some columns of one file, without reading them where that is possible.

        Args:
            index: Index of the file in `files`.
            columns: Names of list columns.

        Returns:
            Number of values in each row, -1 where the list is null, by column: int64 (rows,).

        Raises:
            SourceError: As for `read`.
        """
        self._checked(columns)
        return list_lengths(self._readers[index], columns)

    def decoded_bytes(self, columns: Sequence[str]) -> int:
        """Return the most bytes that some columns take in memory: exact where the formats tell, else a guess."""
        return sum(
            decoded_bytes(reader, [name for name in columns if name in reader.schema.names]) for reader in self._readers
        )

    def read(self, columns: Sequence[str]) -> pa.Table:
        """Read all rows of some columns, in as many chunks as the files have.

        Args:
            columns: Names of the columns; the table has them in this order.

        Raises:
            SourceError: There is no such column, files disagree about it, or a file cannot be read.
        """
        return pa.concat_tables([self.read_file(index, columns) for index in range(len(self.files))])

    def read_parts(self, index: int, columns: Sequence[str], most_bytes: int) -> Iterator[pa.Table]:
        """Read all rows of some columns of one file, in parts where reading decodes them.

        Args:
            index: Index of the file in `files`.
            columns: Names of the columns; the tables have them in this order.
            most_bytes: Bytes of a part in memory, approximately.

        Raises:
            SourceError: As for `read_file`.
        """
        schema = self._checked(columns)
        reader = self._readers[index]
        for table in read_parts(reader, columns, most_bytes):
            with naming(reader.path):
                unified = table if table.schema.equals(schema) else table.cast(schema)
            yield unified

    def read_file(self, index: int, columns: Sequence[str]) -> pa.Table:
        """Read all rows of some columns of one file.

        Args:
            index: Index of the file in `files`.
            columns: Names of the columns; the table has them in this order.

        Raises:
            SourceError: There is no such column, files disagree about it, or the file cannot be read.
        """
        schema = self._checked(columns)
        reader = self._readers[index]
        table = reader.read(columns)
        with naming(reader.path):
            return table if table.schema.equals(schema) else table.cast(schema)

    def blocks(self, index: int) -> Blocks:
        """Return the blocks of one file, which can be read in any order; their columns have the types of `schema`.

        Args:
            index: Index of the file in `files`.

        Raises:
            SourceError: The file is neither Parquet nor uncompressed Arrow, or the rows are in memory.
        """
        reader = self._readers[index]
        if not isinstance(reader, BlockReader):
            raise SourceError(
                f"`{reader.path}` cannot be read in any order: write the rows to a Parquet or Arrow file first"
            )
        blocks = reader.blocks()

        def read(block: int, columns: Sequence[str], memory: BlockMemory) -> pa.Table:
            schema = self._checked(columns)
            table = blocks.read(block, columns, memory)
            with naming(reader.path):
                return table if table.schema.equals(schema) else table.cast(schema)

        return Blocks(blocks.rows, blocks.decoded, read)

    def batches(
        self, columns: Sequence[str], rows: int = 1000, *, from_file: int = 0
    ) -> Iterator[tuple[int, int, pa.RecordBatch]]:
        """Read some columns batch by batch, in little memory.

        Args:
            columns: Names of the columns; the batches have them in this order.
            rows: The most rows of a batch.
            from_file: Index in `files` of the first file to read.

        Yields:
            Index of the file in `files`, first row within that file, and the record batch. No batch is empty or spans
            two files.

        Raises:
            SourceError: As for `read`.
        """
        schema = self._checked(columns)
        for index, reader in enumerate(self._readers[from_file:], start=from_file):
            first = 0
            for batch in reader.batches(columns, rows):
                with naming(reader.path):
                    unified = batch if batch.schema.equals(schema) else batch.cast(schema)
                yield index, first, unified
                first += batch.num_rows

    def readable(self) -> Source:
        """Read every file to its end, and return the source without those that cannot be read; itself if all can.

        Raises:
            SourceError: No file can be read.
        """
        with current_stage("reading every file", total=self.num_rows, unit="rows") as advance:
            return self.without([_error_of(reader, advance) for reader in self._readers])

    def without(self, errors: Sequence[SourceError | None]) -> Source:
        """Return the source without the files that cannot be read; itself if all can.

        Args:
            errors: The error of each file, or None.

        Raises:
            SourceError: No file can be read.
        """
        sound = [index for index, error in enumerate(errors) if error is None]
        if len(sound) == len(errors):
            return self
        if not sound:
            assert errors[0] is not None
            raise errors[0]
        broken = [
            SkippedFile(file.path, SkipReason.UNREADABLE)
            for file, error in zip(self.files, errors, strict=True)
            if error is not None
        ]
        splits = [self.files[index].split for index in sound]
        return Source([self._readers[index] for index in sound], splits, [*self.skipped, *broken])

    def where(self, row: int) -> str:
        """Name a row for a message, such as "`a.parquet` row 7"; rows are numbered from 0 within their file.

        Args:
            row: Number of the row in the source.

        Raises:
            IndexError: The source has no such row.
        """
        if not 0 <= row < self.num_rows:
            raise IndexError(f"row must be between 0 and {self.num_rows - 1}, got {row}")
        index = bisect_right(self._ends, row)
        return f"`{self.files[index].path}` row {row - self._ends[index] + self.files[index].rows}"

    def _checked(self, columns: Sequence[str]) -> pa.Schema:
        for name in columns:
            if name in self._problems:
                raise SourceError(self._problems[name])
            if name not in self.schema.names:
                raise no_column(name, self.schema.names, self.name)
        return pa.schema([self.schema.field(name) for name in columns])


def open_source(source: Any, config: InputConfig = _DEFAULTS) -> Source:
    """Open rows of any kind.

    Args:
        source: A path, a list of paths, a folder or a glob pattern (see `find_files`), also as URLs; a name on the
            Hugging Face Hub, `hf:owner/name:split`; a `pyarrow.Table`, `RecordBatch` or `RecordBatchReader`, which is
            read to its end; a `datasets.Dataset`, with the rows that it selects or that its transform makes, or a
            `DatasetDict`; or an object with `__arrow_c_stream__`, such as a polars DataFrame or a DuckDB relation.
        config: `split` and `columns` say which rows and columns are meant.

    Returns:
        The source. Of Parquet and Arrow files, only footers are read; JSON and CSV are read once to know them.

    Raises:
        SourceNotFoundError: There is no such file.
        SourceError: A file is damaged or of an unknown format, there are no rows, or the object is none of these
            kinds; or a folder is refused by `find_files`.
        OptionError: There is no such split.

    Example:
        >>> import pyarrow as pa
        >>> source = open_source(pa.table({"input_ids": [[1, 2], [3]]}))
        >>> source.num_rows, source.where(1)
        (2, '`<table>` row 1')
    """
    if isinstance(source, Source):
        return source
    if names := hub_names(source):
        readers, of_files = hub_readers(names, config.split)
        return Source(_named(readers, config), of_files)
    if isinstance(source, (str, os.PathLike, list, tuple)):
        found = find_files(source, config.split, config.storage_options)
        tried = open_files(found.paths, config)
        readers = [reader for reader in tried if not isinstance(reader, SourceError)]
        share_types(readers)
        splits = found.splits and [
            split for split, reader in zip(found.splits, tried, strict=True) if not isinstance(reader, SourceError)
        ]
        broken = [
            SkippedFile(str(path), SkipReason.UNREADABLE)
            for path, reader in zip(found.paths, tried, strict=True)
            if isinstance(reader, SourceError)
        ]
        opened = Source(_named(readers, config), splits, [*found.skipped, *broken])
        warn(found.doubts)
        files = "1 file" if len(opened.files) == 1 else f"{len(opened.files):,} files"
        logger().debug(f"opened {files} with {opened.num_rows:,} rows")
        return opened
    readers, of_objects = open_object(source, config.split)
    return Source(_named(readers, config), of_objects)


def _error_of(reader: Reader, advance: Advance) -> SourceError | None:
    """Read a file to its end, and return the error if that fails."""
    names = [name for name in reader.schema.names if reader.schema.names.count(name) == 1]
    try:
        for batch in reader.batches(names, _ROWS_TO_TRY):
            advance(batch.num_rows)
    except SourceError as error:
        return error
    return None


def _named(readers: Sequence[Reader], config: InputConfig) -> Sequence[Reader]:
    """Return readers of the columns that the user meant."""
    return readers if config.columns is None else rename_columns(readers, config.columns)


def no_column(name: str, names: Iterable[str], where: str | None = None) -> SourceError:
    """Return the error for a column that is missing.

    Args:
        name: The column.
        names: Columns that there are.
        where: Names the row. None if no row has the column.
    """
    fault = f"no column `{name}`; there are {', '.join(f'`{one}`' for one in names) or 'none'}"
    return SourceError(fault if where is None else f"{where}: {fault}")
