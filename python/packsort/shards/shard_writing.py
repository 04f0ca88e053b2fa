"""Write one shard file."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from packsort._checksum import checksum
from packsort.schema import SEQ_LENGTHS, SEQUENCE_IDS
from packsort.shards.manifest import ShardInfo

_TOKENS_PER_ROW_GROUP = 4_000_000
# Of real tokens, zstd makes less of plain values than of dictionary codes or split bytes, in less time: see
# benches/README.md.
_PARQUET: dict[str, Any] = {"compression": "zstd", "compression_level": 1, "use_dictionary": False}


def write_shard(path: Path, name: str, packs: pa.Table, format: str, max_length: int) -> ShardInfo:
    """Write a shard, and return its record.

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
        if format == "arrow":
            with pa.ipc.new_file(file, packs.schema) as writer:
                writer.write_table(packs)
        else:
            group = max(1, _TOKENS_PER_ROW_GROUP // max_length)
            pq.write_table(packs, file, row_group_size=group, **_PARQUET)
        file.flush()
        os.fsync(file.fileno())
    is_piece = pc.greater_equal(pc.list_flatten(packs[SEQUENCE_IDS]), 0)
    tokens = pc.sum(pc.filter(pc.list_flatten(packs[SEQ_LENGTHS]), is_piece)).as_py()
    return ShardInfo(
        name=name,
        packs=packs.num_rows,
        sequences=pc.sum(is_piece).as_py() or 0,
        tokens=tokens or 0,
        bytes=path.stat().st_size,
        checksum=checksum(path),
    )
