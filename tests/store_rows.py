"""What the tests of all object stores pack, and how they look at what a store holds."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

import packsort
from faulty_server import Fault, FaultyServer, Request
from packsort._stores import Store

OPTIONS = {"max_length": 512, "shard_size": 30_000}


def table() -> pa.Table:
    """Return 1,000 rows of 1 to 50 tokens."""
    return pa.table({"input_ids": [[(7 * row + i) % 1000 for i in range(1 + row % 50)] for row in range(1000)]})


def parquet(number: int) -> bytes:
    """Return one of four Parquet files that hold the rows."""
    file = io.BytesIO()
    pq.write_table(table().slice(250 * number, 250), file, compression="none", use_dictionary=False)
    return file.getvalue()


def objects(url: str) -> dict[str, bytes]:
    """Return the objects under a folder, by their names in it."""
    found = Store().find(url)
    return {name[len(url) + 1 :]: Store().read(name, 0, facts.size) for name, facts in found.items()}


def check_a_kill(
    server: FaultyServer, killed_at: Callable[[Request], bool], out: str, local: dict[str, bytes], folder: Path
) -> None:
    """Check that the same command goes on after it was killed at a request.

    Args:
        server: The store.
        killed_at: Whether a request is the one.
        out: Folder of the packing in the store.
        local: Files of the same packing on a disk.
        folder: An empty folder.
    """
    pq.write_table(table(), rows := folder / "rows.parquet")
    command = [sys.executable, "-m", "packsort", "pack", str(rows), "-o", out, "--max-length", "512"]
    command += ["--shard-size", "30000"]
    process: list[subprocess.Popen[bytes]] = []
    fault = Fault(killed_at, "call", lambda: os.kill(process[0].pid, signal.SIGKILL))
    with server.faulty(fault):
        process.append(subprocess.Popen(command, env=os.environ | {"TMPDIR": str(folder)}))
        assert process[0].wait(60) == -signal.SIGKILL
    left = objects(out)
    assert "manifest.json" not in left or left.keys() >= local.keys()  # the store may still do what it was asked for
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, timeout=120)
    found = objects(out)
    shards = {name for name in local if name != "manifest.json"}  # it names the source
    assert found.keys() == local.keys()
    assert all(found[name] == local[name] for name in shards)
    (folder / "copy").mkdir()
    for name, content in found.items():
        (folder / "copy" / name).write_bytes(content)
    assert packsort.verify(folder / "copy", rows)
