"""Reader of Parquet files, decoded by pyarrow."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cache, partial
from itertools import chain
from typing import BinaryIO, cast

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from packsort._ahead import run_ahead
from packsort._arrow import value_bytes
from packsort._paths import not_a_uri
from packsort._stores import StorePath
from packsort.errors import SourceError
from packsort.sources.formats.block_memory import BlockMemory
from packsort.sources.formats.list_lengths import list_lengths_of_batches
from packsort.sources.formats.opening import Place, open_object
from packsort.sources.formats.parquet_footer import ColumnChunk, column_chunks
from packsort.sources.formats.parquet_levels import count_lists
from packsort.sources.formats.parquet_values import read_lists
from packsort.sources.formats.reader import Blocks, check_columns, check_rows, checked_schema, naming
from packsort.sources.formats.thrift import ThriftError

_BUFFER = 1 << 20
_GROUP_BYTES = 8 << 20


class ParquetReader:
    """Parquet file that is open only while it is read.

    Of an object in a store, the footer and the columns that are asked for are read, one range for each column of a row
    group.

    Args:
        path: The file.
        size: Its bytes.
    """

    def __init__(self, path: Place, size: int) -> None:
        self.path = str(path)
        self.bytes = size
        self._place = path
        with naming(self.path, "is not a readable Parquet file"), self._open() as file:
            self.schema = checked_schema(file.schema_arrow)
            self.rows = file.metadata.num_rows

    @contextmanager
    def _open(self, metadata: pq.FileMetaData | None = None, buffer_size: int = 0) -> Iterator[pq.ParquetFile]:
        # Checksums cost little, and tell damage from data. Files without them are read without.
        if isinstance(self._place, StorePath):
            with open_object(self._place) as source:
                yield pq.ParquetFile(source, metadata=metadata, page_checksum_verification=True)
        else:
            with pq.ParquetFile(
                not_a_uri(self.path), metadata=metadata, page_checksum_verification=True, buffer_size=buffer_size
            ) as file:
                yield file

    def decoded_bytes(self, columns: Sequence[str]) -> int:
        """Return the most bytes that some columns take in memory, from the file's footer."""
        widths = {name: value_bytes(self.schema.field(name).type) for name in columns}
        total = 0
        with naming(self.path), self._open() as file, self._bytes() as data:
            try:
                chunks = column_chunks(data)
                for chunk in chain.from_iterable(chunks[group] for group in self._groups_of(file)):
                    name = next((one for one in columns if f"{chunk.path}.".startswith(f"{one}.")), None)
                    total += 0 if name is None else chunk.values * widths[name]
            except (ThriftError, IndexError) as error:
                raise SourceError(f"`{self.path}` is damaged: {error}") from error
        return total

    @contextmanager
    def _bytes(self) -> Iterator[BinaryIO]:
        """Open the file as bytes."""
        if isinstance(self._place, StorePath):
            with open_object(self._place) as source:
                yield cast(BinaryIO, source)
        else:
            with open(not_a_uri(self.path), "rb", buffering=0) as source:
                yield source

    @contextmanager
    def _pages(self) -> Iterator[BinaryIO | str]:
        """Return the path of a file on a disk, or open the bytes of an object."""
        if isinstance(self._place, StorePath):
            with self._bytes() as data:
                yield data
        else:
            yield not_a_uri(self.path)

    def list_lengths(self, columns: Sequence[str]) -> dict[str, NDArray[np.int64]]:
        """Count the values of lists from their levels, and decode only the columns whose levels do not tell."""
        found: dict[str, NDArray[np.int64]] = {}
        if not isinstance(self._place, StorePath):
            with naming(self.path), self._open() as file, open(not_a_uri(self.path), "rb", buffering=0) as data:
                groups = self._groups_of(file)
                counted = {name: count_lists(file, data, name, groups) for name in columns}
            found = {name: lengths for name, lengths in counted.items() if lengths is not None}
        for lengths in found.values():
            check_rows(len(lengths), self.rows, self.path)
        return found | list_lengths_of_batches(self, [name for name in columns if name not in found])

    def row_groups(self) -> list[tuple[int, int]]:
        """Return the rows and bytes of each row group."""
        with naming(self.path), self._open() as file:
            groups = [file.metadata.row_group(at) for at in range(file.metadata.num_row_groups)]
            return [(group.num_rows, group.total_byte_size) for group in groups]

    def part(self, first: int, stop: int) -> ParquetPart:
        """Return a reader of row groups `first` to `stop`, `stop` excluded."""
        return ParquetPart(self, first, stop)

    def read(self, columns: Sequence[str]) -> pa.Table:
        """Read all rows of some columns, as `Reader.read`."""
        with naming(self.path), self._open() as file:
            table = self._read(file, list(columns)).select(list(columns))
        check_rows(table.num_rows, self.rows, self.path)
        check_columns(table, self.path)
        return table

    def parts(self, columns: Sequence[str], most_bytes: int) -> Iterator[pa.Table]:
        """Read some columns in tables of consecutive rows, which take a number of bytes in memory on average.

        Row groups are decoded several at a time: one column alone would keep one processor busy.
        """
        rows = self.rows * most_bytes // max(1, self.decoded_bytes(columns))
        rows = min(max(1, rows), max(1, self.rows))
        with naming(self.path), self._open() as file:
            metadata, groups = file.metadata, self._groups_of(file)

        def decode(some: list[int]) -> list[pa.RecordBatch]:
            with naming(self.path), self._open(metadata, _BUFFER) as file:
                return list(file.iter_batches(batch_size=rows, columns=list(columns), row_groups=some))

        calls = (partial(decode, some) for some in _some_groups(metadata, groups))
        first = 0
        for batch in chain.from_iterable(run_ahead(calls, pa.cpu_count())):
            selected = batch.select(list(columns))
            check_columns(selected, self.path, first)
            first += batch.num_rows
            if batch.num_rows:
                yield pa.Table.from_batches([selected])
        check_rows(first, self.rows, self.path)

    def batches(self, columns: Sequence[str], rows: int) -> Iterator[pa.RecordBatch]:
        """Read some columns in record batches, as `Reader.batches`."""
        found, first = self._batches(columns, rows), 0
        while True:
            with naming(self.path):
                batch = next(found, None)
            if batch is None:
                check_rows(first, self.rows, self.path)
                return
            if batch.num_rows:
                selected = batch.select(list(columns))
                check_columns(selected, self.path, first)
                first += batch.num_rows
                yield selected

    def _groups_of(self, file: pq.ParquetFile) -> Sequence[int]:
        return range(file.num_row_groups)

    def _read(self, file: pq.ParquetFile, columns: list[str]) -> pa.Table:
        return file.read(columns=columns)

    def _batches(self, columns: Sequence[str], rows: int) -> Iterator[pa.RecordBatch]:
        # Without a buffer, each column of a row group is read in one piece, which may be as large as the file.
        with self._open(buffer_size=_BUFFER) as file:
            for groups in _some_groups(file.metadata, self._groups_of(file)):
                yield from file.iter_batches(batch_size=rows, columns=list(columns), row_groups=groups)

    def blocks(self) -> Blocks:
        """Return the row groups, as `BlockReader.blocks`."""
        with naming(self.path), self._open() as file:
            metadata = file.metadata
        rows = tuple(metadata.row_group(index).num_rows for index in range(metadata.num_row_groups))

        @cache
        def chunks() -> list[list[ColumnChunk]]:
            with self._bytes() as data:
                return column_chunks(data)

        def read(index: int, columns: Sequence[str], memory: BlockMemory) -> pa.Table:
            lists: dict[str, pa.Array] = {}
            with naming(self.path), self._open(metadata) as file:
                with suppress(ThriftError, IndexError), self._pages() as data:
                    lists = read_lists(file, data, columns, chunks()[index], rows[index], memory)
                table = pa.table(lists)
                if rest := [name for name in columns if name not in lists]:
                    # Threads read row groups. One for each column besides would take a fifth more of the processor.
                    table = file.read_row_group(index, columns=rest, use_threads=False).select(rest)
                    check_rows(table.num_rows, rows[index], self.path)
                    for name, column in lists.items():
                        table = table.append_column(name, column)
                table = table.select(list(columns))
            check_rows(table.num_rows, rows[index], self.path)
            check_columns(table, self.path, sum(rows[:index]))
            return table

        return Blocks(rows, True, read)


class ParquetPart(ParquetReader):
    """Some row groups of a Parquet file.

    Args:
        file: The file.
        first: The first row group.
        stop: The row group after the last.
    """

    def __init__(self, file: ParquetReader, first: int, stop: int) -> None:
        self.__dict__.update(file.__dict__)
        self._groups = list(range(first, stop))
        sizes = file.row_groups()[first:stop]
        self.rows, self.bytes = sum(rows for rows, _ in sizes), sum(size for _, size in sizes)

    def _groups_of(self, file: pq.ParquetFile) -> Sequence[int]:
        return self._groups

    def _read(self, file: pq.ParquetFile, columns: list[str]) -> pa.Table:
        return file.read_row_groups(self._groups, columns=columns)


def _some_groups(metadata: pq.FileMetaData, groups: Sequence[int]) -> Iterator[list[int]]:
    """Yield row groups, some at a time: pyarrow keeps what it read of all of them until the last one is read."""
    some: list[int] = []
    size = 0
    for index in groups:
        some.append(index)
        size += metadata.row_group(index).total_byte_size
        if size >= _GROUP_BYTES:
            yield some
            some, size = [], 0
    if some:
        yield some
