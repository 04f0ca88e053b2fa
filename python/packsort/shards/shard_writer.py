"""Write the shards of a plan, each while the next is gathered; of Parquet, several at a time."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from packsort._atomic import output_errors
from packsort._checksum import checksum
from packsort._progress import Stage
from packsort.schema import SEQ_LENGTHS, SEQUENCE_IDS
from packsort.shards.directory import OutputDirectory
from packsort.shards.manifest import ShardInfo, shard_names
from packsort.shards.prepare import Preparation

_TOKENS_PER_ROW_GROUP = 4_000_000
# Of real tokens, zstd makes less of plain values than of dictionary codes or split bytes, in less time: see
# benches/README.md.
_PARQUET: dict[str, Any] = {"compression": "zstd", "compression_level": 1, "use_dictionary": False}

Gather = Callable[[int], pa.Table]
"""Returns the packs of a shard, by its number."""


class ShardWriter:
    """Writer of the shards of a plan: while one is written, the next is gathered.

    Args:
        directory: Directory that is written.
        prepared: The plan, and the options of its shards.
        gather: Returns the packs of a shard, by its number.
        shards_in_memory: The most shards that are in memory at a time: gathered, waiting, or being written.
    """

    def __init__(
        self, directory: OutputDirectory, prepared: Preparation, gather: Gather, shards_in_memory: int
    ) -> None:
        self._directory = directory
        self._plan, self._starts = prepared.plan, prepared.starts
        self._gather = gather
        self._format = prepared.config.format
        # Encoding Parquet takes a processor for each shard; Arrow takes the disk, which does one thing at a time.
        self._in_memory = shards_in_memory if self._format == "parquet" else min(shards_in_memory, 2)
        self._schema = prepared.schema

    def write(self, finished: dict[str, ShardInfo], stage: Stage) -> list[ShardInfo]:
        """Write all shards but those that are finished."""
        shards: list[ShardInfo] = []
        waiting: list[Future[ShardInfo]] = []

        def settle(most: int) -> None:
            while len(waiting) > most:
                shard = waiting.pop(0).result()
                self._directory.finish(shard)
                shards.append(shard)
                advance(shard.packs)

        pool = ThreadPoolExecutor(max(1, self._in_memory - 1), thread_name_prefix="packsort-write")
        with stage("packing", total=self._plan.num_packs, unit="packs") as advance, pool:
            for shard, name in enumerate(shard_names(len(self._starts) - 1, self._format)):
                if name in finished:
                    settle(0)
                    shards.append(finished[name])
                    advance(finished[name].packs)
                    continue
                settle(self._in_memory - 1)
                packs = self._gather(shard).cast(self._schema)
                waiting.append(pool.submit(self._write_one, name, packs))
                del packs
            settle(0)
        return shards

    def _write_one(self, name: str, packs: pa.Table) -> ShardInfo:
        path = self._directory.path_of(name)
        with output_errors(self._directory.out / name):
            with path.open("wb") as file:
                if self._format == "arrow":
                    with pa.ipc.new_file(file, self._schema) as writer:
                        writer.write_table(packs)
                else:
                    group = max(1, _TOKENS_PER_ROW_GROUP // self._plan.max_length)
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
