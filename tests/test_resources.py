"""Where memory, threads or open files run out, packsort works with what there is or raises what a program can catch.

A process that has imported packsort forks a child for each case, so that a case costs no import. The child limits
itself, works, and ends with what came of it.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

PREAMBLE = """
import os, resource, sys
import numpy as np, pyarrow as pa
import packsort
from packsort import _core

draw = np.random.default_rng(0)
lengths = draw.integers(1, 3000, 200_000).astype(np.int32)

def address_space():
    return int(open("/proc/self/statm").read().split()[0]) * os.sysconf("SC_PAGESIZE")

def limit(what, number):
    resource.setrlimit(what, (number, resource.getrlimit(what)[1]))

def forked(work):
    child = os.fork()
    if child:
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        return {0: "right", 1: "MemoryError"}.get(status, f"status {status}")
    try:
        work()
        status = 0
    except MemoryError:
        status = 1
    except BaseException as error:
        print(type(error).__name__, error, file=sys.stderr)
        status = 2
    sys.stderr.flush()
    os._exit(status)
"""


def outcome(code: str, **variables: str) -> str:
    """Run code behind the preamble in a new process; give what it printed."""
    env = os.environ | {"RAYON_NUM_THREADS": "2", "OPENBLAS_NUM_THREADS": "1"} | variables
    done = subprocess.run([sys.executable, "-c", PREAMBLE + code], capture_output=True, text=True, env=env, timeout=120)
    assert done.returncode == 0, done.stderr
    assert not done.stderr, done.stderr
    return done.stdout


MEMORY = """
def listed(plan):
    return plan.pack_offsets, plan.sequence_ids, plan.piece_lengths

def plan(n, max_length=8192, times=1, **options):
    few = lengths[:n] * np.int32(times)
    if options.pop("grouped", False):
        options["groups"] = np.arange(n) % 5000
    if options.get("strategy") == "hybrid":
        options["splittable"] = np.arange(n) % 2 == 0
    return packsort.plan(few, max_length, **options)

def column(n):
    offsets = np.arange(0, 10 * n + 1, 10, dtype=np.int32)
    return pa.chunked_array([pa.ListArray.from_arrays(offsets, pa.array(np.arange(10 * n)))])

# Arrow's C interface, which a column crosses, ends the process where a few bytes fail: it is crossed before.
held = _core.ListColumn(column(200_000))
calls = {
    "plan": lambda n: listed(plan(n)),
    "epoch": lambda n: listed(plan(n, seed=1).with_epoch(2)),
    "best fit": lambda n: listed(plan(n, strategy="bfd", seed=1)),
    "groups": lambda n: listed(plan(n, grouped=True)),
    "split": lambda n: listed(plan(n, 100, overlong="split")),
    "hybrid": lambda n: listed(plan(n, 3000, strategy="hybrid")),
    "in order": lambda n: listed(plan(n, strategy="in_order", window=1024)),
    "random": lambda n: listed(plan(n, strategy="random", seed=1)),
    "long": lambda n: listed(plan(n, 1 << 26, times=1 + n // 10)),
    "bound": lambda n: plan(n, 1 << 26, times=1 + n // 10).lower_bound,
    "schedule": lambda n: _core.schedule(np.ones(10 * n), 8, 2, 10_000, "pad", 0),
    "shuffle": lambda n: _core.shuffled(20 * n, 0, 0, 0),
    "gather": lambda n: held.gather(np.repeat(np.arange(n), 20)),
}
for name, call in calls.items():
    call(64)  # imports are not limited
    found = []
    for more in (0, 20, 80, 4000):
        def work():
            limit(resource.RLIMIT_AS, address_space() + (more << 20))
            call(200_000)
        found.append(forked(work))
    print(name, *found, sep=": ")
"""


@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not limit the memory of a process")
def test_too_little_memory_is_a_memory_error() -> None:
    # The allocator would reserve addresses for a gigabyte once, so that no limit were met.
    out = outcome(MEMORY, MIMALLOC_DISALLOW_ARENA_ALLOC="1")
    found = dict(line.split(": ", 1) for line in out.splitlines())
    assert len(found) == 13
    for name, results in found.items():
        assert set(results.split(": ")) <= {"right", "MemoryError"}, (name, results)
        assert results.endswith("right"), (name, results)  # 4 GB are enough for each
    assert sum("MemoryError" in results for results in found.values()) >= 8, found


def test_the_message_says_how_much_and_for_what() -> None:
    code = """
limit(resource.RLIMIT_AS, address_space() + (200 << 20))
try:
    packsort.plan([2_000_000_000], 1, overlong="split")
except MemoryError as error:
    print(error)
"""
    assert outcome(code) == "out of memory: no 15999999992 bytes for pieces of cut sequences\n"


@pytest.mark.parametrize("threads", ["0", "3"])
def test_no_thread_is_needed(threads: str) -> None:
    code = f"""
import threading
expected = packsort.plan(lengths, 8192, seed=1).sequence_ids

def work():
    if os.getuid() == 0:
        os.setuid(54_321)  # root may start threads beyond the limit
    used = sum(line.startswith(b"Threads") and int(line.split()[1]) for line in open("/proc/self/status", "rb"))
    limit(resource.RLIMIT_NPROC, used + {threads})
    for _ in range(3):
        assert (packsort.plan(lengths, 8192, seed=1).sequence_ids == expected).all()
    assert _core.num_threads() in {"(1,)" if threads == "0" else "(1, 2)"}, _core.num_threads()
    results = []
    for thread in [threading.Thread(target=lambda: results.append(packsort.plan(lengths, 8192))) for _ in range(2)]:
        try:
            thread.start()
        except RuntimeError:
            continue
        thread.join()

print(forked(work))
"""
    assert outcome(code, RAYON_NUM_THREADS="4") == "right\n"


def test_few_open_files_are_enough(tmp_path: Path) -> None:
    code = f"""
rows = [[1 + i % 7] * 50 for i in range(4000)]
packsort.write_shards(pa.table({{"input_ids": rows}}), {str(tmp_path / "packed")!r}, 100, shard_size=2_000)

def work():
    limit(resource.RLIMIT_NOFILE, 64)
    shards = packsort.open_shards({str(tmp_path / "packed")!r})
    assert len(shards.manifest.shards) > 100, len(shards.manifest.shards)
    assert sum(len(pack["input_ids"]) for pack in shards) == 200_000
    assert packsort.verify({str(tmp_path / "packed")!r})

print(forked(work))
"""
    assert outcome(code) == "right\n"


SOURCE = Path(__file__).parents[1] / "rust" / "packsort-py" / "src"
ENTRIES = re.compile(r"^( *)((?:pub )?fn \w+.*?^\1\})", re.MULTILINE | re.DOTALL)


def test_every_entry_point_of_the_core_turns_a_panic_into_an_exception() -> None:
    bare = []
    for file in SOURCE.glob("*.rs"):
        text = file.read_text()
        for match in ENTRIES.finditer(text):
            before = text[: match.start()].rsplit("\n\n", 1)[-1]
            in_class = match[1] and "#[pymethods]" in text[: match.start()]
            if ("#[pyfunction]" in before or in_class) and "entry(" not in match[2]:
                bare.append(re.search(r"fn (\w+)", match[2])[1])
    # These read a number that is there.
    assert sorted(bare) == [
        "__len__",
        "capacity",
        "facts",
        "group_packs",
        "num_groups",
        "num_packs",
        "num_threads",
        "packs",
    ]
