"""Pack a source many times as large as the memory that a limit from outside allows, and compare it with a free run.

The limited run is a process whose private memory the system limits (`RLIMIT_DATA`): asking for more ends it. Its shards
are compared byte for byte with those of a run without a limit. pyarrow reads and writes the same bytes for comparison.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.ipc as ipc
import pyarrow.parquet as pq
from bench import MAX_LENGTH, Figure, lognormal, write_json

from packsort._checks import byte_size

MEDIAN = 350
FILE_ROWS = 50_000
# Private memory that is not resident: stacks of threads, and what allocators reserve.
SLACK = 400 << 20
ALLOWED_IN_MEMORY, ALLOWED_BEYOND = 1.3, 2.5


def write_source(folder: Path, token_bytes: int) -> int:
    """Write Parquet files of random tokens, and return the bytes that their tokens take in memory."""
    folder.mkdir()
    written = 0
    while written < token_bytes:
        index = len(list(folder.iterdir()))
        lengths = lognormal(FILE_ROWS, MEDIAN, seed=index)
        offsets = np.concatenate([[0], np.cumsum(lengths, dtype=np.int32)])
        # Few tokens are frequent, as in text.
        drawn = np.random.default_rng(index).standard_exponential(offsets[-1], np.float32)
        tokens = (drawn**2 * np.float32(4000)).astype(np.int32) % 128_000
        positions = np.arange(len(tokens)) - np.repeat(offsets[:-1], lengths)
        labels = np.where(positions < np.repeat(lengths // 2, lengths), np.int32(-100), tokens)
        columns = {
            name: pa.ListArray.from_arrays(offsets, v) for name, v in (("input_ids", tokens), ("labels", labels))
        }
        pq.write_table(pa.table(columns), folder / f"{index:04}.parquet", compression="zstd", row_group_size=10_000)
        written += 8 * len(tokens)
    return written


def pack(source: str, out: str, format: str, shard_size: str, limit: str | None) -> None:
    import packsort

    packsort.write_shards(source, out, MAX_LENGTH, format=format, shard_size=shard_size, memory_limit=limit)  # type: ignore[arg-type]


def read_and_write(source: str, out: str, format: str, shard_size: str, limit: str | None) -> None:
    """Read and write all rows batch by batch with pyarrow alone."""
    Path(out).mkdir()
    files = sorted(Path(source).iterdir())
    schema = pq.read_schema(files[0])
    writer: Any = None
    if format == "parquet":
        writer = pq.ParquetWriter(Path(out, "all.parquet"), schema, compression="zstd")
    else:
        writer = ipc.new_file(Path(out, "all.arrow"), schema)
    with writer:
        for file in files:
            table = pq.read_table(file)
            writer.write_table(table)
    with open(Path(out, f"all.{format}"), "rb+") as written:
        os.fsync(written.fileno())


WORK: dict[str, Callable[..., None]] = {"pack": pack, "pyarrow": read_and_write}


def child(arguments: dict[str, Any]) -> None:
    """Do the work of a child process, and print what it took."""
    if arguments["enforced"]:
        resource.setrlimit(resource.RLIMIT_DATA, (arguments["enforced"],) * 2)
    start = time.perf_counter()
    WORK[arguments["work"]](*arguments["call"])
    seconds = time.perf_counter() - start
    facts = dict(line.split(": ") for line in Path("/proc/self/io").read_text().splitlines())
    # `ru_maxrss` begins with that of the process that started this one.
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    peak = int(status["VmHWM"].split()[0]) * 1024
    found = {"seconds": seconds, "peak": peak, "read": int(facts["rchar"]), "written": int(facts["wchar"])}
    print(json.dumps(found))


def run(work: str, *call: Any, enforced: int = 0) -> dict[str, float]:
    texts = [None if one is None else str(one) for one in call]
    arguments = json.dumps({"work": work, "call": texts, "enforced": enforced})
    done = subprocess.run(
        [sys.executable, __file__, "--child", arguments], stdout=subprocess.PIPE, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(f"the {work} run ended with status {done.returncode}")
    found: dict[str, float] = json.loads(done.stdout)
    return found


def same(one: Path, other: Path) -> bool:
    names = sorted(path.name for path in one.iterdir())
    return names == sorted(path.name for path in other.iterdir()) and all(
        subprocess.run(["cmp", "-s", one / name, other / name], check=False).returncode == 0 for name in names
    )


def figures(args: argparse.Namespace, folder: Path) -> list[Figure]:
    limit = byte_size("limit", args.limit)
    size = write_source(folder / "source", args.times * limit)
    options = (args.format, args.shard_size)
    by_pyarrow = run("pyarrow", folder / "source", folder / "pyarrow", *options, None)
    free = run("pack", folder / "source", folder / "free", *options, None)
    bound = run("pack", folder / "source", folder / "bound", *options, args.limit, enforced=limit + SLACK)
    assert same(folder / "free", folder / "bound"), "the shards differ"
    case = f"out_of_core/{args.format}"
    ways = (("pyarrow reads and writes", by_pyarrow, None), ("in memory", free, ALLOWED_IN_MEMORY))
    found = []
    for way, facts, allowed in (*ways, (f"limit of {args.limit}", bound, ALLOWED_BEYOND)):
        note = (
            f"peak {facts['peak'] / 1e6:,.0f} MB, {facts['peak'] / size:.2f} of the tokens' {size / 1e6:,.0f} MB; "
            f"read {facts['read'] / 1e6:,.0f} MB, wrote {facts['written'] / 1e6:,.0f} MB"
        )
        ms, ratio = 1e3 * facts["seconds"], facts["seconds"] / by_pyarrow["seconds"]
        found.append(Figure(case, way, ms, ms, size / 8e6 / facts["seconds"], ratio, allowed=allowed, note=note))
    if bound["peak"] > limit:
        raise SystemExit(f"{bound['peak']:,.0f} bytes were resident, more than the limit of {limit:,}")
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--limit", default="500MB", help="memory of the limited run (default: 500MB)")
    parser.add_argument("--times", type=int, default=8, help="bytes of tokens as a multiple of the limit (default: 8)")
    parser.add_argument("--format", choices=("arrow", "parquet"), default="arrow")
    parser.add_argument("--shard-size", default="64MB")
    parser.add_argument("--folder", type=Path, help="folder for 3 times the tokens, removed at the end")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        child(json.loads(args.child))
        return 0
    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
        found = figures(args, Path(folder))
    for one in found:
        print(f"{one.case}, {one.way}: {one.milliseconds / 1e3:.1f} s, {one.ratio:.2f} x pyarrow; {one.note}")
    write_json(found, args.json)
    return int(not all(figure.met for figure in found))


if __name__ == "__main__":
    sys.exit(main())
