"""Reader of a table that is in memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pyarrow as pa

from packsort.sources.formats.reader import check_columns, checked_schema, naming


class MemoryReader:
    """Table that is in memory already.

    Args:
        table: The rows.
        path: Name of the rows in messages.
    """

    def __init__(self, table: pa.Table, path: str = "<table>") -> None:
        self.path = path
        with naming(path):
            self.schema = checked_schema(table.schema)
            table.validate()  # `nbytes` follows offsets
        self.rows = table.num_rows
        self.bytes = table.nbytes
        self._table = table

    def decoded_bytes(self, columns: Sequence[str]) -> int:
        """Return the bytes that some columns take."""
        return sum(self._table[name].nbytes for name in columns)

    def read(self, columns: Sequence[str]) -> pa.Table:
        """Read all rows of some columns, as `Reader.read`."""
        table = self._table.select(list(columns))
        check_columns(table, self.path)
        return table

    def batches(self, columns: Sequence[str], rows: int) -> Iterator[pa.RecordBatch]:
        """Read some columns in record batches, as `Reader.batches`."""
        yield from (batch for batch in self.read(columns).to_batches(max_chunksize=rows) if batch.num_rows)
