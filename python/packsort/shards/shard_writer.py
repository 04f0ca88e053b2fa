"""Write the shards of a plan: one is gathered, one written, and those before go to the disk, at the same time."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import BinaryIO

import pyarrow as pa

from packsort._atomic import output_errors
from packsort._progress import Stage, logger
from packsort.shards.directory import OutputDirectory
from packsort.shards.manifest import ShardInfo, shard_names
from packsort.shards.prepare import Preparation
from packsort.shards.shard_writing import write_packs

_SYNCS = 2  # shards that wait for the disk, which are no longer in the memory of the process

Gather = Callable[[int], pa.Table]
"""Returns the packs of a shard, by its number."""


class ShardWriter:
    """Writer of the shards of a plan.

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
        if finished:
            logger().info(f"{len(finished):,} shards were finished by an earlier run")
        shards: list[ShardInfo] = []
        writing: deque[Future[Future[ShardInfo]]] = deque()
        syncing: deque[Future[ShardInfo]] = deque()

        def settle(most_written: int, most_synced: int) -> None:
            while len(writing) > most_written:
                syncing.append(writing.popleft().result())
            while len(syncing) > most_synced:
                shards.append(shard := syncing.popleft().result())
                advance(shard.packs)

        with (
            stage("packing", total=self._plan.num_packs, unit="packs") as advance,
            ThreadPoolExecutor(1, thread_name_prefix="packsort-sync") as disk,
            ThreadPoolExecutor(max(1, self._in_memory - 1), thread_name_prefix="packsort-write") as pool,
        ):
            for number, name in enumerate(shard_names(len(self._starts) - 1, self._format)):
                if name in finished:
                    settle(0, 0)
                    shards.append(finished[name])
                    advance(finished[name].packs)
                    continue
                settle(self._in_memory - 1, _SYNCS)
                packs = self._gather(number).cast(self._schema)
                writing.append(pool.submit(self._write_one, name, packs, disk))
                del packs
            settle(0, 0)
        return shards

    def _write_one(self, name: str, packs: pa.Table, disk: ThreadPoolExecutor) -> Future[ShardInfo]:
        with output_errors(self._directory.out / name):
            file = self._directory.path_of(name).open("wb")
            try:
                shard = write_packs(file, name, packs, self._format, self._plan.max_length)
            except BaseException:
                file.close()
                raise
        return disk.submit(self._finish, file, shard)

    def _finish(self, file: BinaryIO, shard: ShardInfo) -> ShardInfo:
        with output_errors(self._directory.out / shard.name), file:
            os.fsync(file.fileno())
        self._directory.finish(shard)
        return shard
