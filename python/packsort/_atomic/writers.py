"""Write files inside an unfinished folder, through to the disk."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PurePath
from typing import BinaryIO

import pyarrow as pa
import pyarrow.ipc as ipc
import pyarrow.parquet as pq

from packsort._atomic.steps import output_errors


@contextmanager
def open_file(path: Path, target: PurePath) -> Iterator[BinaryIO]:
    """Open a file that is on the disk when the block ends.

    Args:
        path: The file.
        target: Its final name, for errors.

    Raises:
        OutputError: The file cannot be written.
    """
    with output_errors(target), path.open("wb") as file:
        yield file
        file.flush()
        os.fsync(file.fileno())


@contextmanager
def open_table(path: Path, target: PurePath, schema: pa.Schema) -> Iterator[Callable[[pa.Table], None]]:
    """Open a file of tables that is on the disk when the block ends.

    Args:
        path: The file.
        target: Its final name, for errors. A name that ends in `.arrow` becomes an Arrow IPC file, any other Parquet.
        schema: Schema of the tables that follow, with its metadata.

    Yields:
        A function that writes a `pyarrow.Table`; in Parquet, as a row group.

    Raises:
        OutputError: The file cannot be written.
    """
    with open_file(path, target) as file, tables(file, target, schema) as write:
        yield write


@contextmanager
def tables(file: BinaryIO, target: PurePath, schema: pa.Schema) -> Iterator[Callable[[pa.Table], None]]:
    """Write tables to a file that is open; see `open_table`.

    Example:
        >>> import io
        >>> file = io.BytesIO()
        >>> with tables(file, Path("a.parquet"), pa.schema({"a": pa.int32()})) as write:
        ...     write(pa.table({"a": pa.array([1, 2], pa.int32())}))
        >>> pq.read_table(file).num_rows
        2
    """
    with output_errors(target):
        if target.suffix == ".arrow":
            writer = ipc.new_file(file, schema)
        else:
            writer = pq.ParquetWriter(file, schema, compression="zstd", compression_level=1)

    def write(table: pa.Table) -> None:
        with output_errors(target):
            writer.write_table(table)

    try:
        yield write
        with output_errors(target):
            writer.close()
    except BaseException:
        # Closing finishes the file, which may be what has just failed.
        with suppress(Exception):
            writer.close()
        raise


def write_bytes(path: Path, target: PurePath, content: bytes) -> None:
    """Write a file whole, through to the disk.

    Args:
        path: The file.
        target: Its final name, for errors.
        content: What it holds.

    Raises:
        OutputError: The file cannot be written.
    """
    with open_file(path, target) as file:
        file.write(content)
