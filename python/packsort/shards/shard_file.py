"""Read one shard file: its table, or the facts in its footer."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from packsort._paths import not_a_uri
from packsort.errors import DamagedError


@dataclass(frozen=True)
class ShardFacts:
    """Facts from the footer of a shard.

    Attributes:
        packs: Packs in it.
        max_length: Most tokens of a pack, or None if it does not say.
    """

    packs: int
    max_length: int | None


def read_facts(path: Path, *, memory_map: bool = True) -> ShardFacts:
    """Read the footer of a shard.

    Args:
        path: The file.
        memory_map: Whether to map an Arrow shard instead of reading it whole.

    Raises:
        DamagedError: The file cannot be read.
    """
    with _naming(path):
        if path.suffix == ".arrow":
            with _open(path, memory_map) as file:
                reader = pa.ipc.open_file(file)  # of a mapped file it reads no values
                packs = sum(reader.get_batch(index).num_rows for index in range(reader.num_record_batches))
                schema = reader.schema
        else:
            with pq.ParquetFile(not_a_uri(path)) as file:
                packs, schema = file.metadata.num_rows, file.schema_arrow
        try:
            facts = json.loads((schema.metadata or {})[b"packsort"])
            return ShardFacts(packs, facts["max_length"])
        except (KeyError, TypeError, ValueError):
            return ShardFacts(packs, None)


def read_table(path: Path, columns: list[str] | None = None, *, memory_map: bool = True) -> pa.Table:
    """Read a shard, whose lists then lie within their values and hold no nulls.

    Args:
        path: The file.
        columns: Columns to read of a Parquet shard, or None for all. An Arrow shard has all.
        memory_map: Whether to map an Arrow shard instead of reading it.

    Raises:
        DamagedError: The file cannot be read, or is damaged.
    """
    with _naming(path):
        if path.suffix == ".arrow":
            with _open(path, memory_map) as file:
                table = pa.ipc.open_file(file).read_all()
        else:
            # `pq.read_table` takes a folder such as `lr=3e-4` for a partition.
            with pq.ParquetFile(not_a_uri(path)) as file:
                table = file.read(columns=columns)
        table.validate(full=True)
        for name, column in zip(table.column_names, table.columns, strict=True):
            if column.null_count or any(chunk.values.null_count for chunk in column.chunks if _is_list(chunk)):
                raise DamagedError(f"`{path}` is damaged (column `{name}` has nulls): pack again")
        return table


def _is_list(chunk: pa.Array) -> bool:
    return isinstance(chunk, pa.ListArray)


def _open(path: Path, memory_map: bool) -> pa.NativeFile:
    if memory_map:
        return pa.memory_map(os.fspath(path))
    return pa.BufferReader(path.read_bytes())


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    try:
        yield
    except MemoryError:  # one of Arrow is an ArrowException too
        raise
    except (OSError, pa.ArrowException, ValueError) as error:  # ValueError: a name is not UTF-8
        raise DamagedError(f"`{path}` cannot be read: {error}") from error
