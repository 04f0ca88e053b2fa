"""Reader of Parquet files, decoded by pyarrow."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import pyarrow as pa
import pyarrow.parquet as pq

from packsort._paths import not_a_uri
from packsort._stores import StorePath
from packsort.sources.formats.opening import Place, open_object
from packsort.sources.formats.reader import Blocks, check_columns, check_rows, checked_schema, naming


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
    def _open(self, metadata: pq.FileMetaData | None = None) -> Iterator[pq.ParquetFile]:
        # Checksums cost little, and tell damage from data. Files without them are read without.
        if isinstance(self._place, StorePath):
            with open_object(self._place) as source:
                yield pq.ParquetFile(source, metadata=metadata, page_checksum_verification=True)
        else:
            with pq.ParquetFile(not_a_uri(self.path), metadata=metadata, page_checksum_verification=True) as file:
                yield file

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

    def _read(self, file: pq.ParquetFile, columns: list[str]) -> pa.Table:
        return file.read(columns=columns)

    def _batches(self, columns: Sequence[str], rows: int) -> Iterator[pa.RecordBatch]:
        with self._open() as file:
            yield from file.iter_batches(batch_size=rows, columns=list(columns))

    def blocks(self) -> Blocks:
        """Return the row groups, as `BlockReader.blocks`."""
        with naming(self.path), self._open() as file:
            metadata = file.metadata
        rows = tuple(metadata.row_group(index).num_rows for index in range(metadata.num_row_groups))

        def read(index: int, columns: Sequence[str]) -> pa.Table:
            with naming(self.path), self._open(metadata) as file:
                table = file.read_row_group(index, columns=list(columns)).select(list(columns))
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

    def _read(self, file: pq.ParquetFile, columns: list[str]) -> pa.Table:
        return file.read_row_groups(self._groups, columns=columns)

    def _batches(self, columns: Sequence[str], rows: int) -> Iterator[pa.RecordBatch]:
        with self._open() as file:
            yield from file.iter_batches(batch_size=rows, row_groups=self._groups, columns=list(columns))
