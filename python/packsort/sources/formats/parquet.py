"""Reader of Parquet files, decoded by pyarrow."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pyarrow as pa
import pyarrow.parquet as pq

from packsort._paths import not_a_uri
from packsort.sources.formats.reader import check_columns, check_rows, checked_schema, naming


class ParquetReader:
    """Parquet file that is open only while it is read.

    Args:
        path: The file.
        size: Its bytes.
    """

    def __init__(self, path: str, size: int) -> None:
        self.path = path
        self.bytes = size
        with naming(path, "is not a readable Parquet file"), self._open() as file:
            self.schema = checked_schema(file.schema_arrow)
            self.rows = file.metadata.num_rows

    def _open(self) -> pq.ParquetFile:
        # Checksums cost little, and tell damage from data. Files without them are read without.
        return pq.ParquetFile(not_a_uri(self.path), page_checksum_verification=True)

    def read(self, columns: Sequence[str]) -> pa.Table:
        """Read all rows of some columns, as `Reader.read`."""
        with naming(self.path), self._open() as file:
            table = file.read(columns=list(columns)).select(list(columns))
        check_rows(table.num_rows, self.rows, self.path)
        check_columns(table, self.path)
        return table

    def batches(self, columns: Sequence[str], rows: int) -> Iterator[pa.RecordBatch]:
        """Read some columns in record batches, as `Reader.batches`."""
        with naming(self.path):
            opened = self._open()
        with opened as file:
            found = file.iter_batches(batch_size=rows, columns=list(columns))
            first = 0
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
