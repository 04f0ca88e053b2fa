"""Memory that packing takes, and how it stays within a limit.

Tokens that fit into memory are read once and gathered there. More tokens go through a spool: a run of rows at a time is
read, sorted by shard and written, then one shard at a time is read, gathered and written. What still grows with the
source is the plan: lengths, places and ids.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from packsort import _core
from packsort._options.memory import in_units
from packsort.errors import OptionError

_BYTES_A_ROW = 40  # of lengths, places, ids, and what planning takes for a moment
_BYTES_A_VALUE = 16  # of a column that an option of the plan names, while it is planned
_LEAST_RUN = 16 << 20
# One is read, one is written; one of them is being checked, and one of its columns gathered. The rest is what
# allocators keep of buffers that were freed, as measured.
_RUNS_AT_A_TIME = 6.0
_OF_READING = 1.2  # memory of token columns while they are read, as a multiple of them
_FIXED = 128 << 20  # of buffers, threads, and modules that are imported on the way


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
    return _used() + _of_plan(rows, named) + _OF_READING * token_bytes + shards <= limit


def most_token_bytes(limit: int, rows: int, shard_bytes: int, named: int = 0) -> int:
    """Return the bytes of tokens that a call may hold in memory; see `fits_in_memory`."""
    free = limit - _used() - _of_plan(rows, named) - 3 * shard_bytes
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
    fixed = _used() + _of_plan(rows, named)
    one = shard_bytes + shard_bytes // columns  # a shard, and one of its columns in the order of the source
    least = fixed + max(int(_LEAST_RUN * _RUNS_AT_A_TIME), one)
    if limit < least:
        way = "raise it" if one <= _LEAST_RUN * _RUNS_AT_A_TIME else "raise it, or pass `shard_size` for smaller shards"
        raise OptionError(
            f"memory_limit must be at least {in_units(least)} for {rows:,} rows and shards of {in_units(shard_bytes)}, "
            f"got {in_units(limit)}: {way}"
        )
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
    return max(2, min((limit - _used()) // max(1, shard_bytes), 1 + _core.num_threads()))


def _of_plan(rows: int, named: int) -> int:
    """Return the bytes that a call takes whatever its tokens; columns that packs keep are in memory by then."""
    return _FIXED + rows * (_BYTES_A_ROW + named * _BYTES_A_VALUE)


def _used() -> int:
    """Return the resident memory of the process in bytes; 0 where the system does not tell."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError, AttributeError):
        return 0
