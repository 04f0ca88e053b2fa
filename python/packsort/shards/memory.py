"""Memory that packing takes, and how it stays within a limit.

Tokens that fit into memory are read once and gathered there. More tokens go through a spool: a run of rows at a time is
read, sorted by shard and written, then one shard at a time is read, gathered and written. What still grows with the
source is the plan: lengths, places and ids.
"""

from __future__ import annotations

from dataclasses import dataclass

from packsort import _core
from packsort._options.memory import FIXED_BYTES, check_least_memory, in_units, used_memory
from packsort.shards.manifest import Manifest

_BYTES_A_ROW = 40  # of lengths, places, ids, and what planning takes for a moment
_BYTES_A_VALUE = 16  # of a column that an option of the plan names, while it is planned
_LEAST_RUN = 16 << 20
# One is read, one is written; one of them is being checked, and one of its columns gathered. The rest is what
# allocators keep of buffers that were freed, as measured.
_RUNS_AT_A_TIME = 6.0
_OF_READING = 1.2  # memory of token columns while they are read, as a multiple of them


@dataclass(frozen=True)
class MemoryUse:
    """Memory of a call that streams its tokens.

    Attributes:
        run_bytes: Bytes of a run of rows.
        shards_in_memory: The most shards that are gathered or written at a time.
    """

    run_bytes: int
    shards_in_memory: int


def fits_in_memory(limit: int, token_bytes: int, rows: int, shard_bytes: int, named: int) -> bool:
    """Return whether a call may hold all its tokens.

    Args:
        limit: Bytes of memory that it may take.
        token_bytes: Bytes of all tokens in memory.
        rows: Number of rows.
        shard_bytes: Bytes of a shard.
        named: Number of columns that options of the plan name.
    """
    shards = 3 * min(shard_bytes, token_bytes)
    return used_memory() + _of_plan(rows, named) + _OF_READING * token_bytes + shards <= limit


def most_token_bytes(limit: int, rows: int, shard_bytes: int, named: int = 0) -> int:
    """Return the bytes of tokens that a call may hold in memory; see `fits_in_memory`."""
    free = limit - used_memory() - _of_plan(rows, named) - 3 * shard_bytes
    return max(0, int(free / _OF_READING))


def memory_use(limit: int, rows: int, shard_bytes: int, columns: int, named: int) -> MemoryUse:
    """Divide the memory of a call that streams its tokens.

    Args:
        limit: Bytes of memory that it may take.
        rows: Number of rows.
        shard_bytes: Bytes of the largest shard.
        columns: Number of token columns.
        named: Number of columns that options of the plan name.

    Raises:
        OptionError: The limit is too small; the message names the least that would do.
    """
    fixed = used_memory() + _of_plan(rows, named)
    one = shard_bytes + shard_bytes // columns  # a shard, and one of its columns in the order of the source
    least = fixed + max(int(_LEAST_RUN * _RUNS_AT_A_TIME), one)
    way_out = "raise it" if one <= _LEAST_RUN * _RUNS_AT_A_TIME else "raise it, or pass `shard_size` for smaller shards"
    check_least_memory(limit, least, f"{rows:,} rows and shards of {in_units(shard_bytes)}", way_out)
    free = limit - fixed
    return MemoryUse(
        run_bytes=int(min(free / _RUNS_AT_A_TIME, 1 << 30)),
        shards_in_memory=1 + min((free - one) // max(1, shard_bytes), _core.num_threads()),
    )


def shards_in_memory(limit: int, shard_bytes: int) -> int:
    """Return the most shards to gather and write at a time where the tokens are in memory, at least 2.

    Args:
        limit: Bytes of memory that the call may take.
        shard_bytes: Bytes of the largest shard.
    """
    return max(2, min((limit - used_memory()) // max(1, shard_bytes), 1 + _core.num_threads()))


def _of_plan(rows: int, named: int) -> int:
    """Return the bytes that a call takes whatever its tokens; columns that packs keep are in memory by then."""
    return FIXED_BYTES + rows * (_BYTES_A_ROW + named * _BYTES_A_VALUE)


def check_reading(limit: int, manifest: Manifest, a_sequence: int = 0) -> None:
    """Refuse a limit that a call cannot keep which reads a packed directory one shard at a time.

    Args:
        limit: Bytes of memory that it may take.
        manifest: Record of the directory.
        a_sequence: Bytes that it holds for each sequence.

    Raises:
        OptionError: The limit is too small; the message names the least that would do.
    """
    columns = sum(kind.startswith(("list", "large_list")) for kind in manifest.columns.values())
    packs = max((shard.packs for shard in manifest.shards), default=0)
    tokens = max((shard.tokens for shard in manifest.shards), default=0)
    shard = packs * 64 + tokens * 4 * columns
    counts = manifest.counts
    # A manifest may claim rows that no pack holds: what is held for each is for those that there are.
    rows = min(counts.rows, sum(shard.tokens for shard in manifest.shards) + counts.dropped + counts.empty)
    least = used_memory() + FIXED_BYTES + rows * a_sequence + 2 * shard
    check_least_memory(limit, least, f"{rows:,} rows and shards of {in_units(shard)}")
