"""Commands in a process of their own that may take only so much more memory than it has after its imports."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

# Memory that is mapped from files does not count in RLIMIT_DATA, as it does not in what a machine can spare. Threads'
# stacks count, so they are small.
_CODE = """
import resource, sys
import pyarrow.compute, pyarrow.parquet
import packsort.comparison.compare, packsort.shards.export, packsort.shards.verify, packsort.shards.writer
from packsort.cli import main

with open("/proc/self/status") as file:
    (used,) = (int(line.split()[1]) * 1024 for line in file if line.startswith("VmData"))
limit = used + int(sys.argv[1])
resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
"""


def run_limited(
    more_bytes: int, *args: object, code: str = "sys.exit(main(sys.argv[2:]))", **options: Any
) -> subprocess.CompletedProcess[str]:
    """Run `packsort` with these arguments, or other code, and `more_bytes` of memory beyond that of an idle process."""
    import resource

    def small_stacks() -> None:
        resource.setrlimit(resource.RLIMIT_STACK, (1 << 20, resource.getrlimit(resource.RLIMIT_STACK)[1]))

    command = [sys.executable, "-c", _CODE + code, str(more_bytes), *map(str, args)]
    environment = {**os.environ, "MALLOC_ARENA_MAX": "2", "ARROW_DEFAULT_MEMORY_POOL": "system"}
    return subprocess.run(
        command, text=True, capture_output=True, timeout=300, env=environment, preexec_fn=small_stacks, **options
    )
