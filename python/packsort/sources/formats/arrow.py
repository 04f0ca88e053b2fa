"""Reader of Arrow files and streams, mapped into memory, so that reading copies nothing.

A process that touches a mapped page that the file no longer has is ended by the system (SIGBUS). The file is therefore
compared with the one that was opened whenever it is mapped. What another program does to it afterwards cannot be
caught, so files can be read without mapping, too.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import pyarrow as pa
import pyarrow.ipc as ipc

from packsort._stores import RangedFile, StorePath
from packsort.errors import SourceError
from packsort.sources.formats.opening import Place, open_object
from packsort.sources.formats.reader import Blocks, check_columns, check_rows, checked_schema, naming
from packsort.sources.formats.stamp import refuse_changed, stamp_of

_HEAD_BYTES = 16 << 10


class ArrowReader:
    """Arrow IPC file or stream.

    An object in a store is not mapped: of a file, the columns that are asked for are read.

    Args:
        path: The file.
        size: Its bytes.
        stream: Whether it holds an Arrow stream.
        memory_map: Whether to map it into memory, so that reading copies nothing.
    """

    def __init__(self, path: Place, size: int, *, stream: bool, memory_map: bool = True) -> None:
        self.path = str(path)
        self.bytes = size
        self._place = path
        self._stream = stream
        self._memory_map = memory_map and not isinstance(path, StorePath)
        self._stamp = None if isinstance(path, StorePath) else stamp_of(path)
        with naming(self.path, "is not a readable Arrow file"):
            with self._open() as source:
                if stream:
                    self.schema = checked_schema(ipc.open_stream(source).schema)
                else:
                    file = ipc.open_file(source)
                    self.schema = checked_schema(file.schema)
                    self.rows = _count_rows(path) if isinstance(path, StorePath) else file.count_rows()
            if stream:
                # A stream stores no count, so its messages are walked. One column keeps decompression low; its name may
                # be that of another, too.
                self.rows = sum(batch.num_rows for batch in self._all_batches(range(len(self.schema))[:1]))
        if self.rows < 0:
            raise SourceError(f"`{self.path}` is damaged: it says that it has {self.rows:,} rows")

    def decoded_bytes(self, columns: Sequence[str]) -> int:
        """Return the bytes of the file, which its columns take together unless it is compressed."""
        return self.bytes

    @contextmanager
    def _open(self) -> Iterator[pa.NativeFile]:
        """Open the file, if it is still the one that the reader knows."""
        if isinstance(self._place, StorePath):
            with open_object(self._place) as source:
                yield source
            return
        with pa.memory_map(self.path) if self._memory_map else pa.OSFile(self.path) as source:
            if self._stamp is not None:
                refuse_changed(self.path, self._stamp)
            yield source

    def _record_batches(self, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """Yield the record batches with some columns, checked."""
        rows = 0
        for batch in self._all_batches(sorted(self.schema.get_field_index(name) for name in columns)):
            selected = batch.select(list(columns))
            check_columns(selected, self.path, rows)
            rows += batch.num_rows
            yield selected
        check_rows(rows, self.rows, self.path)

    def _all_batches(self, fields: Sequence[int]) -> Iterator[pa.RecordBatch]:
        """Yield the record batches; those of a stream have only some of its fields."""
        with naming(self.path), self._open() as source:
            if self._stream:
                options = ipc.IpcReadOptions(included_fields=list(fields))
                yield from ipc.open_stream(source, options=options)
            else:
                # With `included_fields`, pyarrow copies fields of a file instead of pointing into the map.
                options = None if self._memory_map else ipc.IpcReadOptions(included_fields=list(fields))
                file = ipc.open_file(source, options=options)
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

    def blocks(self) -> Blocks:
        """Return the file as one block, as `BlockReader.blocks`: it is mapped, or read into memory once."""
        if self._memory_map and self._is_compressed():
            raise SourceError(
                f"`{self.path}` is compressed Arrow, which cannot be mapped: write it without compression, or as "
                "Parquet, which is read by row group"
            )
        return Blocks((self.rows,), False, lambda index, columns, memory: self.read(columns))

    def _is_compressed(self) -> bool:
        """Return whether a buffer of the first rows is not the file's own memory."""
        with naming(self.path), pa.memory_map(self.path) as file:
            whole = file.read_buffer()
            reader = ipc.open_stream(whole) if self._stream else ipc.open_file(whole)
            for batch in reader if self._stream else map(reader.get_batch, range(reader.num_record_batches)):
                buffers = [one for column in batch.columns for one in column.buffers() if one is not None and one.size]
                if buffers:
                    begin, end = whole.address, whole.address + whole.size
                    return not all(begin <= one.address < end for one in buffers)
        return False


class _MessageHeads(RangedFile):
    """Arrow file in a store, of whose record batches only the descriptions are read.

    pyarrow reads whole record batches to count their rows, although it looks only at the description that each begins
    with. Zeros take the place of the rest here.
    """

    def read_range(self, start: int, stop: int) -> bytes:
        """Read a description, and append as many zeros as the rest has bytes."""
        head = super().read_range(start, min(stop, start + _HEAD_BYTES))
        described = 8 + int.from_bytes(head[4:8], "little")  # after four bytes that mark a message
        if start + described > stop or head[:4] != b"\xff\xff\xff\xff":
            return super().read_range(start, stop)
        if described > len(head):
            head = super().read_range(start, start + described)
        return head + bytes(stop - start - len(head))


def _count_rows(path: StorePath) -> int:
    with pa.PythonFile(_MessageHeads(path.store, str(path), path.info()), mode="r") as source:
        rows: int = ipc.open_file(source).count_rows()
    return rows
