"""Compare packsort with what people use, on the same data, and draw the table and the plot of `docs/against.md`.

Each way runs in a process of its own, with the tokens in memory before the clock starts. It is run again, up to eleven
times, while that takes less than five seconds in all, and the median counts. Memory is the peak beyond what the process
had when the tokens were loaded. A way that exceeds the time limit is ended, and not tried with more sequences.
"""

from __future__ import annotations

import argparse
import json
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from against_ways import NO_PACKS, WAYS, Way, lengths_of

MAX_LENGTH = 2048
SIZES = (10**5, 3 * 10**5, 10**6, 3 * 10**6, 10**7)
ROUNDS, SECONDS = 11, 5.0
DOCS = Path(__file__).parents[1] / "docs"

_PAGE = """# Against others

Sequences of lognormal length, median 64 tokens, sigma 1, 1 to {limit:,} tokens, packed at {limit:,}; only `input_ids`,
int32, in memory. `python benches/against.py{options}` made this page on {cpus} cores of {machine} with
{memory:.0f} GB of memory, Python {python}.

![Time against the number of sequences](against.svg)

- **packs of tokens**: tokens go in, packs of tokens come out. TRL packs 1,000 rows at a time, as its trainer does.
- **ids of packs**: lengths go in, and the ids of each pack come out; no token is moved.
- **`take`** of pyarrow gathers the same rows in the order of packsort's packs, and packs nothing. It is the least that
  a library which gathers by ids has to do beyond planning.
- **memory** is the peak beyond the tokens and the libraries.
- **cut** sequences are in no pack as a whole. **lost** tokens are in no pack.

{tables}"""


def write_tokens(count: int, path: Path) -> None:
    random = np.random.default_rng(0)
    lengths = np.clip(np.exp(random.standard_normal(count, np.float32)) * 64, 1, MAX_LENGTH).astype(np.int64)
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
    ids = random.integers(0, 128_000, offsets[-1], np.int32)
    table = pa.table({"input_ids": pa.ListArray.from_arrays(pa.array(offsets), pa.array(ids))})
    with pa.ipc.new_file(path, table.schema) as writer:
        writer.write_table(table)


def memory(fact: str) -> int:
    """Return a fact of this process's memory, in bytes: `VmRSS`, what it has, or `VmHWM`, the most that it had."""
    with open("/proc/self/status") as file:
        (line,) = (line for line in file if line.startswith(fact))
    return int(line.split()[1]) * 1024


def child(way: Way, path: Path, limit: int) -> dict[str, Any]:
    """Run a way in this process, which the alarm ends if it takes too long."""
    with pa.OSFile(str(path)) as file:  # read, not mapped: pages of a map would count when they are touched
        table = pa.ipc.open_file(file).read_all()
    way.prepare(table.slice(0, 1000), MAX_LENGTH)()  # some import libraries at the first call
    run = way.prepare(table, MAX_LENGTH)
    Path("/proc/self/clear_refs").write_text("5")  # from here on, VmHWM is the most
    before = memory("VmRSS")
    times: list[float] = []
    while len(times) < ROUNDS and sum(times) < SECONDS:
        found = None  # a result of an earlier round must not count
        signal.alarm(limit)
        start = time.perf_counter()
        found = run()
        times.append(time.perf_counter() - start)
        signal.alarm(0)
    used = memory("VmHWM") - before
    lengths = lengths_of(table)
    made = way.count(found, lengths, MAX_LENGTH)
    efficiency = float(lengths.sum() - made.lost) / (made.packs * MAX_LENGTH) if made.packs else None
    return {
        "seconds": statistics.median(times),
        "memory": used,
        "packs": made.packs,
        "efficiency": efficiency,
        "cut": made.cut,
        "lost": made.lost,
    }


def measure(way: Way, count: int, path: Path, limit: int) -> dict[str, Any]:
    """Run a way in another process."""
    facts = {"way": way.name, "gives": way.gives, "version": version(way.library), "sequences": count}
    command = [sys.executable, __file__, "--way", way.name, "--tokens", str(path), "--limit", str(limit)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode == -signal.SIGALRM:
        return facts | {"failed": f"over {limit} s"}
    if done.returncode < 0:
        return facts | {"failed": "out of memory"}
    if done.returncode:
        sys.exit(f"{way.name}: {done.stderr}")
    return facts | json.loads(done.stdout.splitlines()[-1])


def tables(results: list[dict[str, Any]]) -> str:
    """Return one Markdown table for each number of sequences."""
    parts = []
    for count in dict.fromkeys(one["sequences"] for one in results):
        parts.append(
            f"## {count:,} sequences\n\n| | gives | seconds | memory MB | packs | efficiency | cut | lost |\n"
            "|---|---|---:|---:|---:|---:|---:|---:|\n"
        )
        for one in results:
            if one["sequences"] != count:
                continue
            start = f"| {one['way']} {one['version']} | {one['gives']} "
            if "failed" in one:
                parts.append(f"{start}| {one['failed']} | | | | | |\n")
                continue
            packed = "| | | | |"
            if one["gives"] != NO_PACKS:
                packed = f"| {one['packs']:,} | {one['efficiency']:.2%} | {one['cut']:,} | {one['lost']:,} |"
            parts.append(f"{start}| {one['seconds']:.3g} | {one['memory'] / 1e6:,.0f} {packed}\n")
        parts.append("\n")
    return "".join(parts).rstrip() + "\n"


def plot(results: list[dict[str, Any]], path: Path) -> None:
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "packsort", "font.size": 9})
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(7.5, 4.5), layout="constrained")
    styles = dict(zip(dict.fromkeys(way.gives for way in WAYS), ("-", "--", ":"), strict=True))
    for way in WAYS:
        found = [one for one in results if one["way"] == way.name and "failed" not in one]
        if found:
            wide = 2.5 if way.library == "packsort" else 1.2
            axes.plot(
                [one["sequences"] for one in found],
                [one["seconds"] for one in found],
                styles[way.gives],
                marker="o",
                markersize=3,
                linewidth=wide,
                label=f"{way.name} ({way.gives})",
            )
    axes.set(xscale="log", yscale="log", xlabel="sequences", ylabel="seconds")
    axes.grid(True, which="major", alpha=0.3)
    axes.legend(loc="upper left", bbox_to_anchor=(1, 1), frameon=False)
    figure.savefig(path, metadata={"Date": None})


def machine() -> dict[str, Any]:
    """Return the facts of the machine that the page names."""
    import os
    import platform

    with open("/proc/cpuinfo") as file:
        names = [line.partition(":")[2].strip() for line in file if line.startswith("model name")]
    size = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    cpus = len(os.sched_getaffinity(0))
    return {"machine": names[0] if names else "?", "cpus": cpus, "memory": size, "python": platform.python_version()}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--largest", type=float, default=1e6, metavar="N", help="most sequences (default: 1e6)")
    parser.add_argument("--limit", type=int, default=60, metavar="SECONDS", help="time of a way (default: 60)")
    parser.add_argument("--out", type=Path, default=DOCS, metavar="DIR", help="folder of the page (default: docs)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there (default: beside the page)")
    parser.add_argument("--way", help=argparse.SUPPRESS)
    parser.add_argument("--tokens", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.way:
        (way,) = (way for way in WAYS if way.name == args.way)
        print(json.dumps(child(way, args.tokens, args.limit)))
        return 0
    largest = int(args.largest)
    sizes = [size for size in SIZES if size < largest] + [largest]
    results: list[dict[str, Any]] = []
    given_up: dict[str, str] = {}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "tokens.arrow")
        for count in sizes:
            write_tokens(count, path)
            for way in WAYS:
                if way.name in given_up:
                    facts = {"way": way.name, "gives": way.gives, "version": version(way.library), "sequences": count}
                    results.append(facts | {"failed": f"not tried: {given_up[way.name]} at fewer"})
                    continue
                found = measure(way, count, path, args.limit)
                if "failed" in found:
                    given_up[way.name] = found["failed"]
                results.append(found)
                print(json.dumps(found), file=sys.stderr)
    args.out.mkdir(parents=True, exist_ok=True)
    (args.json or args.out / "against.json").write_text(json.dumps(results, indent=1) + "\n")
    options = "" if largest == 10**6 else f" --largest {args.largest:g}"
    page = _PAGE.format(limit=MAX_LENGTH, options=options, tables=tables(results), **machine())
    (args.out / "against.md").write_text(page)
    plot(results, args.out / "against.svg")
    return 0


if __name__ == "__main__":
    sys.exit(main())
