"""Reader of Parquet files, decoded by pyarrow."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pyarrow as pa
import pyarrow.parquet as pq

from packsort._paths import not_a_uri
from packsort.sources.formats.reader import Blocks, naming


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
            self.schema = file.schema_arrow
            self.rows = file.metadata.num_rows

    def _open(self, metadata: pq.FileMetaData | None = None) -> pq.ParquetFile:
        # Checksums cost little, and tell damage from data. Files without them are read without.
        return pq.ParquetFile(not_a_uri(self.path), metadata=metadata, page_checksum_verification=True)

    def read(self, columns: Sequence[str]) -> pa.Table:
        """Read all rows of some columns, as `Reader.read`."""
        with naming(self.path), self._open() as file:
            return file.read(columns=list(columns)).select(list(columns))

    def batches(self, columns: Sequence[str], rows: int) -> Iterator[pa.RecordBatch]:
        """Read some columns in record batches, as `Reader.batches`."""
        with naming(self.path):
            opened = self._open()
        with opened as file:
            found = file.iter_batches(batch_size=rows, columns=list(columns))
            while True:
                with naming(self.path):
                    batch = next(found, None)
                if batch is None:
                    return
                if batch.num_rows:
                    yield batch.select(list(columns))

    def blocks(self) -> Blocks:
        """Return the row groups, as `BlockReader.blocks`."""
        with naming(self.path), self._open() as file:
            metadata = file.metadata
        rows = tuple(metadata.row_group(index).num_rows for index in range(metadata.num_row_groups))

        def read(index: int, columns: Sequence[str]) -> pa.Table:
            with naming(self.path), self._open(metadata) as file:
                return file.read_row_group(index, columns=list(columns)).select(list(columns))

        return Blocks(rows, True, read)
