"""Readers of Parquet and Arrow files, chosen by what a file holds and not by its name.

A reader knows one file: its schema, its number of rows, and its columns as tables or record batches. Arrow files are
mapped into memory, so reading them copies nothing. pyarrow decodes Parquet.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

import pyarrow as pa
import pyarrow.ipc as ipc
import pyarrow.parquet as pq

from packsort.errors import SourceError, SourceNotFoundError

_PARQUET = b"PAR1"
_ARROW_FILE = b"ARROW1"
# An Arrow stream starts with a continuation marker and ends with a message of length 0.
_ARROW_STREAM = b"\xff\xff\xff\xff"
_ARROW_STREAM_END = b"\xff\xff\xff\xff\x00\x00\x00\x00"
_NEEDED = "a Parquet or Arrow file is needed"


class Reader(Protocol):
    """One file or one table of a source.

    Attributes:
        path: Path of the file, or a name for rows in memory.
        schema: Its columns.
        rows: Number of its rows.
        bytes: Its size on disk or in memory.
    """

    path: str
    schema: pa.Schema
    rows: int
    bytes: int

    def read(self, columns: Sequence[str]) -> pa.Table:
        """Read all rows of some columns.

        Args:
            columns: Names of the columns; the table has them in this order.
        """

    def batches(self, columns: Sequence[str], rows: int) -> Iterator[pa.RecordBatch]:
        """Read some columns in record batches.

        Args:
            columns: Names of the columns; the batches have them in this order.
            rows: The most rows of a batch. No batch is empty.
        """


@contextmanager
def naming(path: str, fault: str = "cannot be read") -> Iterator[None]:
    """Turn errors of reading a file into a `SourceError` that names it.

    Args:
        path: The file.
        fault: Words for the error, after the file's name.
    """
    try:
        yield
    except SourceError:
        raise
    except FileNotFoundError as error:
        raise SourceNotFoundError(f"no file `{path}`") from error
    except PermissionError as error:
        raise SourceError(f"`{path}` cannot be read: permission denied") from error
    except (pa.ArrowException, OSError) as error:
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise SourceError(f"`{path}` {fault}: {reason[0].rstrip('.')}") from error


class MemoryReader:
    """Table that is in memory already.

    Args:
        table: The rows.
        path: Name of the rows in messages.
    """

    def __init__(self, table: pa.Table, path: str = "<table>") -> None:
        self.path = path
        self.schema = table.schema
        self.rows = table.num_rows
        self.bytes = table.nbytes
        self._table = table

    def read(self, columns: Sequence[str]) -> pa.Table:
        """Read all rows of some columns, as `Reader.read`."""
        return self._table.select(list(columns))

    def batches(self, columns: Sequence[str], rows: int) -> Iterator[pa.RecordBatch]:
        """Read some columns in record batches, as `Reader.batches`."""
        yield from (batch for batch in self.read(columns).to_batches(max_chunksize=rows) if batch.num_rows)


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

    def _open(self) -> pq.ParquetFile:
        # Checksums cost little, and tell damage from data. Files without them are read without.
        return pq.ParquetFile(self.path, page_checksum_verification=True)

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
                # A stream stores no count, so its messages are walked. One column keeps decompression low.
                self.rows = sum(batch.num_rows for batch in self._record_batches(self.schema.names[:1]))

    def _record_batches(self, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        with naming(self.path), pa.memory_map(self.path) as source:
            if self._stream:
                wanted = sorted(self.schema.get_field_index(name) for name in columns)
                options = ipc.IpcReadOptions(included_fields=wanted)
                batches: Iterator[pa.RecordBatch] = iter(ipc.open_stream(source, options=options))
            else:
                # With `included_fields`, pyarrow copies fields of a file instead of pointing into the map.
                file = ipc.open_file(source)
                batches = (file.get_batch(i) for i in range(file.num_record_batches))
            for batch in batches:
                yield batch.select(list(columns))

    def read(self, columns: Sequence[str]) -> pa.Table:
        """Read all rows of some columns, as `Reader.read`."""
        schema = pa.schema([self.schema.field(name) for name in columns])
        return pa.Table.from_batches(list(self._record_batches(columns)), schema=schema)

    def batches(self, columns: Sequence[str], rows: int) -> Iterator[pa.RecordBatch]:
        """Read some columns in record batches, as `Reader.batches`."""
        for batch in self._record_batches(columns):
            for first in range(0, batch.num_rows, rows):
                yield batch.slice(first, rows)


def open_file(path: Path) -> Reader:
    """Open one file as the format that its first and last bytes tell, whatever its name.

    Args:
        path: The file.

    Raises:
        SourceNotFoundError: There is no such file.
        SourceError: The file may not be read, is empty, truncated, damaged, or of another format.
    """
    name = str(path)
    with naming(name), path.open("rb") as file:
        head = file.read(256)
        size = file.seek(0, 2)
        file.seek(max(0, size - 8))
        tail = file.read()
    if size == 0:
        raise SourceError(f"`{name}` is empty (0 bytes): {_NEEDED}")
    if head.startswith(_PARQUET):
        if size < 12 or not tail.endswith(_PARQUET):
            raise SourceError(
                f"`{name}` is a truncated Parquet file: it has {size:,} bytes and no Parquet footer at the end"
            )
        return ParquetReader(name, size)
    if head.startswith(_ARROW_FILE):
        if size < 24 or not tail.endswith(_ARROW_FILE):
            raise SourceError(
                f"`{name}` is a truncated Arrow file: it has {size:,} bytes and no Arrow footer at the end"
            )
        return ArrowReader(name, size, stream=False)
    if head.startswith(_ARROW_STREAM):
        # A writer that was stopped leaves whole messages, which would read as a shorter stream without an error.
        if tail != _ARROW_STREAM_END:
            raise SourceError(f"`{name}` is a truncated Arrow stream: it has {size:,} bytes and no end-of-stream mark")
        return ArrowReader(name, size, stream=True)
    error = SourceError(f"`{name}` is neither Parquet nor Arrow: it {_looks_like(head)}; {_NEEDED}")
    suffix = path.suffix.lower()
    if suffix in {".json", ".jsonl", ".ndjson", ".csv"}:
        kind = "csv" if suffix == ".csv" else "json"
        error.add_note(
            f'hint: convert it to Parquet: `datasets.load_dataset("{kind}", data_files="{path.name}", split="train")'
            f'.to_parquet("{path.stem}.parquet")`'
        )
    raise error


def _looks_like(head: bytes) -> str:
    """Describe the first bytes of a file in words that follow "it"."""
    compressed = {
        b"\x1f\x8b": "gzip",
        b"\x28\xb5\x2f\xfd": "zstd",
        b"PK\x03\x04": "zip",
        b"BZh": "bzip2",
        b"\xfd7zXZ": "xz",
    }
    for magic, kind in compressed.items():
        if head.startswith(magic):
            return f"is {kind}-compressed"
    if head.startswith(b"PARE"):
        return "is encrypted Parquet"
    if head.startswith(b"version https://git-lfs"):
        return "is a Git LFS pointer, not the file itself"
    if b"\x00" in head:
        return f"starts with the bytes {head[:8].hex(' ')}"
    # The cut at 256 bytes may split a character of a text.
    text = head.decode("utf-8", errors="ignore").lstrip("\ufeff \t\r\n")
    if text.startswith(("{", "[")):
        return "looks like JSON"
    if text.strip() and len(text.encode()) >= len(head) - 16:
        return f"looks like text, {text.splitlines()[0][:40]!r}"
    return f"starts with the bytes {head[:8].hex(' ')}"
