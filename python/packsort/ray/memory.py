"""Memory of a task: how much of the source it handles, so that it stays within a limit."""

from __future__ import annotations

from dataclasses import dataclass

from packsort._options.memory import check_least_memory, in_units
from packsort.ray.blocks import Blocks
from packsort.ray.remote import largest

STRETCH_BYTES = 256_000_000
"""Bytes of source that one task handles without a limit, approximately."""

_IDS_A_PASS = 250_000_000
_BYTES_OF_A_WORKER = 400 << 20  # Python, Ray and Arrow, before a task begins
# Memory of a task as a multiple of what it handles. Reading Parquet takes most, 2.4 as measured, and its result once
# more in the object store.
_OF_A_STRETCH, _OF_A_SHARD = 4, 4


@dataclass(frozen=True)
class TaskMemory:
    """Sizes of tasks.

    Attributes:
        limit: Bytes of memory that one task may take, or None for any number.
        stretch_bytes: Bytes of source that one task handles, approximately.
        ids_a_pass: Rows that the task which computes the fingerprint holds.
    """

    limit: int | None
    stretch_bytes: int
    ids_a_pass: int = _IDS_A_PASS

    @classmethod
    def within(cls, limit: int | None, stretch_bytes: int = STRETCH_BYTES) -> TaskMemory:
        """Return sizes within a limit.

        Raises:
            OptionError: The limit is smaller than a worker of Ray.
        """
        if limit is None:
            return cls(None, stretch_bytes)
        free = limit - _BYTES_OF_A_WORKER
        check_least_memory(limit, _BYTES_OF_A_WORKER + (64 << 20), "a task of Ray")
        return cls(limit, min(stretch_bytes, free // _OF_A_STRETCH), min(_IDS_A_PASS, free // 8))

    def check(self, blocks: Blocks, shard_bytes: int) -> None:
        """Refuse a limit that tasks cannot keep.

        Args:
            blocks: The source. A task handles one of its blocks at least.
            shard_bytes: Bytes of a shard.

        Raises:
            OptionError: The limit is too small; the message names the least that would do.
        """
        if self.limit is None:
            return
        total = sum(block.bytes for block in blocks.blocks)
        shard = min(shard_bytes, total)
        check_least_memory(
            self.limit,
            _BYTES_OF_A_WORKER + _OF_A_SHARD * shard,
            f"a task that writes a shard of {in_units(shard)}",
            "raise it, or pass `shard_size` for smaller shards",
        )
        stretch = max(largest(0, total), *(block.bytes for block in blocks.blocks))
        check_least_memory(
            self.limit,
            _BYTES_OF_A_WORKER + _OF_A_STRETCH * stretch,
            f"a task that reads a block of {in_units(stretch)}",
            "raise it, or write the source in smaller row groups",
        )
