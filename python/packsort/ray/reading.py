"""Blocks of files, read by tasks where they are needed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pyarrow as pa
import ray

from packsort._options.input import InputConfig
from packsort._stores import StorePath, place
from packsort.errors import SourceError
from packsort.ray.remote import Ref, kept_remote_table, largest, one_thread, task
from packsort.sources.formats.detect import open_file
from packsort.sources.formats.parquet import ParquetReader
from packsort.sources.renamed import rename_columns
from packsort.sources.sequence_columns import read_sequence_columns
from packsort.sources.sliced import SlicedSource
from packsort.sources.source import Source, SourceFile, open_source
from packsort.sources.tokens.roles import column_roles

_ROWS_A_BATCH = 1000


def open_files(source: Any, config: InputConfig) -> Source:
    """Open files. The driver reads the footers of Parquet and Arrow files.

    Args:
        source: Files, folders or patterns, as for `open_source`. Every node must see them under the same paths.
        config: Rows and columns that are meant.

    Raises:
        SourceError: The source is not of files, or cannot be read.
    """
    if not isinstance(source, (str, list, tuple)) and not hasattr(source, "__fspath__"):
        raise SourceError(
            f"source must be a ray.data.Dataset, a path, a list of paths, a folder or a glob pattern, got a "
            f"{type(source).__name__}: pass `ray.data.from_arrow(table)`, or pack it with `packsort.write_shards`"
        )
    return open_source(source, config)


def readable_files(opened: Source, config: InputConfig) -> Source:
    """Read every file to its end, each in a task, and return the source without those that cannot be read.

    Args:
        opened: The files.
        config: Rows and columns that are meant.

    Raises:
        SourceError: No file can be read.
    """
    own = replace(config, split=None, on_error="error")
    found = ray.get([read_to_end.remote(_for_workers(file.path, config), own) for file in opened.files])
    return opened.without([None if error is None else SourceError(error) for error in found])


def _read_to_end(path: str, config: InputConfig) -> str | None:
    one_thread()
    try:
        open_source([path], config).readable()
    except SourceError as error:
        return str(error)
    return None


read_to_end = task(_read_to_end)


def read_files(
    opened: Source, config: InputConfig, keep: Sequence[str], block_bytes: int
) -> list[tuple[Ref, int, int, int]]:
    """Start reading files by blocks.

    Args:
        opened: The files.
        config: Rows and columns that are meant.
        keep: Columns with one value for each sequence that packs keep.
        block_bytes: Bytes of a block, approximately; more where there would be very many.

    Returns:
        For each block its rows as a reference, their number, their bytes in memory, and the index of their file.

    Raises:
        SourceError: The files disagree about a column.
    """
    block_bytes = largest(block_bytes, sum(file.bytes for file in opened.files))
    for name in keep:
        if name not in opened.schema.names:
            read_sequence_columns(opened, [name])  # raises
    columns = list(dict.fromkeys([*column_roles(opened.schema).read, *keep]))
    schema = pa.schema([opened.schema.field(name) for name in columns])
    own = replace(config, split=None)
    blocks: list[tuple[Ref, int, int, int]] = []
    for index, file in enumerate(opened.files):
        for name in columns:
            if not opened.agrees(name):
                opened.read_file(index, columns)  # raises, and says how the files differ
        path = _for_workers(file.path, config)
        for rows, size, part in _parts(file, config, block_bytes):
            blocks.append((read_part.remote(path, part, own, schema), rows, size, index))
    return blocks


def _for_workers(path: str, config: InputConfig) -> str:
    """Return the path by which workers open a file: they have another working folder."""
    found = place(path, config.storage_options)
    return path if isinstance(found, StorePath) else str(found.absolute())


def _parts(file: SourceFile, config: InputConfig, block_bytes: int) -> Iterator[tuple[int, int, tuple[str, int, int]]]:
    """Yield the parts of a file: rows, bytes, and which row groups (Parquet) or rows they are."""
    reader = open_file(place(file.path, config.storage_options), memory_map=config.memory_map)
    if isinstance(reader, ParquetReader):
        yield from _row_groups(reader.row_groups(), block_bytes)
        return
    count = max(1, min(file.rows, -(-file.bytes // block_bytes)))
    bounds = [file.rows * at // count for at in range(count + 1)]
    for start, stop in pairwise(bounds):
        yield stop - start, file.bytes // count, ("rows", start, stop - start)


def _row_groups(sizes: Sequence[tuple[int, int]], block_bytes: int) -> Iterator[tuple[int, int, tuple[str, int, int]]]:
    first = rows = size = 0
    for at, (group_rows, group_bytes) in enumerate(sizes):
        if rows and size + group_bytes > block_bytes:
            yield rows, size, ("groups", first, at)
            first, rows, size = at, 0, 0
        rows, size = rows + group_rows, size + group_bytes
    if rows:
        yield rows, size, ("groups", first, len(sizes))


def _read_part(path: str, part: tuple[str, int, int], config: InputConfig, schema: pa.Schema) -> pa.Table:
    one_thread()
    kind, first, last = part
    if kind == "groups":
        reader = open_file(place(path, config.storage_options))
        assert isinstance(reader, ParquetReader)
        readers: list[Any] = [reader.part(first, last)]
        readers = readers if config.columns is None else rename_columns(readers, config.columns)
        return kept_remote_table(Source(readers).read_file(0, schema.names).cast(schema))
    rows = SlicedSource(open_source([path], config), first, last)
    batches = [batch for _, _, batch in rows.batches(schema.names, _ROWS_A_BATCH)]
    return kept_remote_table(pa.Table.from_batches(batches).cast(schema))


read_part = task(_read_part)
