"""Write one shard file."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from packsort._checksum import ChecksumWriter
from packsort.schema import SEQ_LENGTHS, SEQUENCE_IDS
from packsort.shards.manifest import ShardInfo

_TOKENS_PER_ROW_GROUP = 4_000_000
# Of real tokens, zstd makes less of plain values than of dictionary codes or split bytes, in less time: see
# benches/README.md.
_PARQUET: dict[str, Any] = {"compression": "zstd", "compression_level": 1, "use_dictionary": False}


def write_shard(path: Path, name: str, packs: pa.Table, format: str, max_length: int) -> ShardInfo:
    """Write a shard through to the disk, and return its record.

    Args:
        path: The file.
        name: Name of the shard.
        packs: Its packs.
        format: `arrow` or `parquet`.
        max_length: Most tokens of a pack.

    Raises:
        OSError: The file cannot be written.
    """
    with path.open("wb") as file:
        shard = write_packs(file, name, packs, format, max_length)
        os.fsync(file.fileno())
    return shard


def write_packs(file: BinaryIO, name: str, packs: pa.Table, format: str, max_length: int) -> ShardInfo:
    """Write a shard to a file that is open, and return its record; the arguments are those of `write_shard`.

    The checksum is that of what was written, so that what the disk makes of it is found by whoever reads it.

    Raises:
        OSError: The file cannot be written.
    """
    written = ChecksumWriter(file)
    if format == "arrow":
        with pa.ipc.new_file(written, packs.schema) as writer:
            writer.write_table(packs)
    else:
        group = max(1, _TOKENS_PER_ROW_GROUP // max_length)
        pq.write_table(packs, written, row_group_size=group, **_PARQUET)
    file.flush()
    is_piece = pc.greater_equal(pc.list_flatten(packs[SEQUENCE_IDS]), 0)
    tokens = pc.sum(pc.filter(pc.list_flatten(packs[SEQ_LENGTHS]), is_piece)).as_py()
    return ShardInfo(
        name=name,
        packs=packs.num_rows,
        sequences=pc.sum(is_piece).as_py() or 0,
        tokens=tokens or 0,
        bytes=written.size,
        checksum=written.checksum,
    )
