"""Tables that exceed a number of bytes, kept in a file without a name and mapped from there."""

from __future__ import annotations

import mmap
import tempfile
from collections import deque
from collections.abc import Iterable, Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.ipc as ipc

from packsort._atomic import output_errors

_GROUP_BYTES = 32 << 20


def collect(
    tables: Iterable[pa.Table], schema: pa.Schema, most_bytes: int | None, folder: Path | None
) -> tuple[pa.Table, bool]:
    """Join tables in memory, or in a file where they exceed `most_bytes`.

    Args:
        tables: The tables.
        schema: Their schema.
        most_bytes: The most bytes in memory, or None for any number.
        folder: Folder of the file; None is that of the system's temporary files. The system removes the file when
            the table is no longer used, or the process ends.

    Returns:
        All rows in one table, and whether it is in memory.

    Raises:
        OutputError: The file cannot be written.

    Example:
        >>> one = pa.table({"n": [5, 6]})
        >>> table, in_memory = collect([one, one], one.schema, 20, None)
        >>> table["n"].to_pylist(), in_memory
        ([5, 6, 5, 6], False)
    """
    following = iter(tables)
    parts: deque[pa.Table] = deque()
    size = 0
    for table in following:
        parts.append(table)
        size += table.nbytes
        if most_bytes is not None and size > most_bytes:
            return _mapped(_drained(parts, following), schema, folder), False
    return pa.concat_tables(parts) if parts else pa.Table.from_batches([], schema), True


def _drained(parts: deque[pa.Table], following: Iterator[pa.Table]) -> Iterator[pa.Table]:
    while parts:
        yield parts.popleft()
    yield from following


def _mapped(tables: Iterator[pa.Table], schema: pa.Schema, folder: Path | None) -> pa.Table:
    place = Path(tempfile.gettempdir()) if folder is None else folder
    with output_errors(place):
        file = tempfile.TemporaryFile(dir=place)  # noqa: SIM115
    with file:
        with output_errors(place):
            writer = ipc.new_file(file, schema)
        for group in _groups(tables):
            with output_errors(place):
                writer.write_table(group)
        with output_errors(place):
            writer.close()
            file.flush()
            mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    return ipc.open_file(pa.BufferReader(pa.py_buffer(mapped))).read_all()


def _groups(tables: Iterator[pa.Table]) -> Iterator[pa.Table]:
    """Join small tables, which would become as many chunks."""
    group: list[pa.Table] = []
    size = 0
    for table in tables:
        group.append(table)
        size += table.nbytes
        if size >= _GROUP_BYTES:
            yield pa.concat_tables(group).combine_chunks()
            group, size = [], 0
    if group:
        yield pa.concat_tables(group).combine_chunks()
