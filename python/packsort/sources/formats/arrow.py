"""Reader of Arrow files and streams, mapped into memory, so that reading copies nothing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pyarrow as pa
import pyarrow.ipc as ipc

from packsort.sources.formats.reader import naming


class ArrowReader:
    """Arrow IPC file or stream, mapped into memory.

    Args:
        path: The file.
        size: Its bytes.
        stream: Whether it holds an Arrow stream.
    """

    def __init__(self, path: str, size: int, *, stream: bool) -> None:
        self.path = path
        self.bytes = size
        self._stream = stream
        with naming(path, "is not a readable Arrow file"):
            with pa.memory_map(path) as source:
                if stream:
                    self.schema = ipc.open_stream(source).schema
                else:
                    file = ipc.open_file(source)
                    self.schema = file.schema
                    self.rows = file.count_rows()
            if stream:
                # A stream stores no count, so its messages are walked. One column keeps decompression low; its name may
                # be that of another, too.
                self.rows = sum(batch.num_rows for batch in self._all_batches(range(len(self.schema))[:1]))

    def _record_batches(self, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        for batch in self._all_batches(sorted(self.schema.get_field_index(name) for name in columns)):
            yield batch.select(list(columns))

    def _all_batches(self, fields: Sequence[int]) -> Iterator[pa.RecordBatch]:
        """Yield the record batches; those of a stream have only some of its fields."""
        with naming(self.path), pa.memory_map(self.path) as source:
            if self._stream:
                options = ipc.IpcReadOptions(included_fields=list(fields))
                yield from ipc.open_stream(source, options=options)
            else:
                # With `included_fields`, pyarrow copies fields of a file instead of pointing into the map.
                file = ipc.open_file(source)
                yield from (file.get_batch(i) for i in range(file.num_record_batches))

    def read(self, columns: Sequence[str]) -> pa.Table:
        """Read all rows of some columns, as `Reader.read`."""
        schema = pa.schema([self.schema.field(name) for name in columns])
        return pa.Table.from_batches(list(self._record_batches(columns)), schema=schema)

    def batches(self, columns: Sequence[str], rows: int) -> Iterator[pa.RecordBatch]:
        """Read some columns in record batches, as `Reader.batches`."""
        for batch in self._record_batches(columns):
            for first in range(0, batch.num_rows, rows):
                yield batch.slice(first, rows)
