"""Write the shards of a plan, each while the next is gathered."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from packsort._atomic import output_errors
from packsort._progress import Stage
from packsort.schema import SEQ_LENGTHS, SEQUENCE_IDS
from packsort.shards.directory import OutputDirectory
from packsort.shards.manifest import ShardInfo, checksum, shard_names
from packsort.shards.prepare import Preparation

_TOKENS_PER_ROW_GROUP = 4_000_000

Gather = Callable[[int], pa.Table]
"""Returns the packs of a shard, by its number."""


class ShardWriter:
    """Writer of the shards of a plan: while one is written, the next is gathered.

    Args:
        directory: Directory that is written.
        prepared: The plan, and the options of its shards.
        gather: Returns the packs of a shard, by its number.
        ahead: Shards that may be gathered while one is written.
    """

    def __init__(self, directory: OutputDirectory, prepared: Preparation, gather: Gather, ahead: int = 1) -> None:
        self._directory = directory
        self._plan, self._starts = prepared.plan, prepared.starts
        self._gather, self._ahead = gather, ahead
        self._format = prepared.config.format
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

        with stage("packing", total=self._plan.num_packs, unit="packs") as advance, ThreadPoolExecutor(1) as pool:
            for shard, name in enumerate(shard_names(len(self._starts) - 1, self._format)):
                if name in finished:
                    settle(0)
                    shards.append(finished[name])
                    advance(finished[name].packs)
                    continue
                settle(self._ahead)
                packs = self._gather(shard).cast(self._schema)
                settle(0)
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
                    pq.write_table(packs, file, compression="zstd", row_group_size=group)
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
