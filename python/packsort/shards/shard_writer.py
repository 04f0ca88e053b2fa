"""Write the shards of a plan, each while the next is gathered; of Parquet, several at a time."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

import pyarrow as pa

from packsort._atomic import output_errors
from packsort._progress import Stage
from packsort.shards.directory import OutputDirectory
from packsort.shards.manifest import ShardInfo, shard_names
from packsort.shards.prepare import Preparation
from packsort.shards.shard_writing import write_shard

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
        with output_errors(self._directory.out / name):
            return write_shard(self._directory.path_of(name), name, packs, self._format, self._plan.max_length)
