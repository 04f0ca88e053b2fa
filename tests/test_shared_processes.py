"""What processes and threads share: forks never hang, threads get the same results, memory stays flat."""

from __future__ import annotations

import gc
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.compute as pc
import pytest

import packsort
from loading import digest
from packed_rows import MAX_LENGTH, packed, rows
from packsort import _core
from packsort.torch import PackedLoader

# The long run: `PACKSORT_REPEATS=50` repeats what follows 50 times as often.
REPEATS = int(os.environ.get("PACKSORT_REPEATS", "1"))

LENGTHS = np.random.default_rng(0).integers(1, 3000, 100_000).astype(np.int32)
TABLE = rows(300)

# Python 3.12 and later warn of forks.
pytestmark = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return packed(tmp_path_factory.mktemp("shared"), TABLE)


def listed(plan: packsort.Plan) -> tuple[bytes, bytes]:
    return plan.pack_offsets.tobytes(), plan.sequence_ids.tobytes()


def tokens(loader: PackedLoader) -> bytes:
    """All tokens of a pass. Passes differ in their order: each is another epoch."""
    return np.sort(np.concatenate([batch["input_ids"].numpy().ravel() for batch in loader])).tobytes()


@contextmanager
def busy(*works: Callable[[], object]) -> Iterator[list[BaseException]]:
    """Repeat each work on a thread of its own until the block ends; the errors are in the list."""
    stop = threading.Event()
    errors: list[BaseException] = []

    def repeat(work: Callable[[], object]) -> None:
        try:
            while not stop.is_set():
                work()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=repeat, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    try:
        yield errors
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def wait(child: int, seconds: float = 60) -> int | str:
    """Wait for a child; kill one that hangs."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        pid, status = os.waitpid(child, os.WNOHANG)
        if pid:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.002)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return "hangs"


def test_a_forked_child_works_whatever_the_threads_of_its_parent_do(path: Path) -> None:
    plan = packsort.plan(LENGTHS, 8192, seed=1)
    loader = PackedLoader(path)
    shards = packsort.open_shards(path)
    expected = listed(plan), tokens(loader), shards[3]["input_ids"].tolist()
    column = pa.chunked_array([LENGTHS[:50_000], LENGTHS[50_000:]])
    ids = np.arange(300)
    works = (
        lambda: listed(packsort.plan(LENGTHS, 8192, seed=1)),
        lambda: tokens(loader),
        lambda: packsort.pack(TABLE, MAX_LENGTH),
        lambda: _core.gather(TABLE["input_ids"], ids),
        lambda: pc.sort_indices(column),
        lambda: pickle.loads(pickle.dumps(plan)),
    )
    with busy(*works) as errors:
        for turn in range(30 * REPEATS):
            child = os.fork()
            if child == 0:
                found = listed(packsort.plan(LENGTHS, 8192, seed=1)), tokens(loader), shards[3]["input_ids"].tolist()
                os._exit(found != expected)
            assert wait(child) == 0, turn
    assert not errors


def test_threads_share_plans_shards_and_loaders(path: Path) -> None:
    plan = packsort.plan(LENGTHS, 8192, seed=1, strategy="bfd")
    shards = packsort.open_shards(path)
    loader = PackedLoader(path)
    expected = listed(plan), [pack["input_ids"].tolist() for pack in shards], tokens(loader)
    found: list[Any] = []

    def work() -> None:
        fresh = packsort.plan(LENGTHS, 8192, seed=1, strategy="bfd")
        for _ in range(2 * REPEATS):
            found.append((listed(plan), [pack["input_ids"].tolist() for pack in shards], tokens(loader)))
            assert listed(plan.with_epoch(3)) == listed(fresh.with_epoch(3))

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 12 * REPEATS
    assert all(one == expected for one in found)


def test_lengths_that_another_thread_changes_are_planned_whole_or_refused() -> None:
    lengths = LENGTHS.copy()

    def write() -> None:
        lengths[:] = lengths[::-1].copy()
        lengths[::2] ^= 1
        np.maximum(lengths, 1, out=lengths)

    options: list[dict[str, Any]] = [
        {},
        {"groups": np.arange(len(lengths)) % 1000},
        {"overlong": "split", "max_length": 1500},
        {"overlong": "truncate", "truncation_side": "left", "max_length": 1500},
        {"strategy": "random", "seed": 0},
        {"strategy": "in_order"},
        {"strategy": "hybrid", "splittable": np.arange(len(lengths)) % 2 == 0},
    ]
    refused = whole = 0
    with busy(write) as errors:
        for option in options * (10 * REPEATS):
            try:
                plan = packsort.plan(lengths, **{"max_length": 8192} | option)
            except packsort.errors.LengthError:
                refused += 1
                continue
            whole += 1
            ids = plan.sequence_ids
            cut = plan.has_starts and option.get("truncation_side") != "left"
            first = ids[plan.piece_starts == 0] if cut else ids
            assert (np.bincount(first, minlength=len(lengths)) == 1).all(), option
    assert not errors
    assert refused > 0


def grows(work: Callable[[], object], times: int) -> int:
    """Bytes by which the process grows each time that work is repeated so often, once it has been repeated for a while.

    The least of three: what leaks grows every time, an allocator that keeps freed memory does not.
    """
    process = psutil.Process()
    sizes = []
    for _ in range(4):
        for _ in range(times):
            work()
        gc.collect()
        sizes.append(process.memory_info().rss)
    return int(min(after - before for before, after in pairwise(sizes)))


SMALL = LENGTHS[:2000]
PLAN = packsort.plan(SMALL, 8192, seed=0)


@pytest.mark.parametrize(
    "work",
    [
        lambda: listed(packsort.plan(SMALL, 8192, seed=0)),
        lambda: listed(packsort.plan(SMALL, 8192, strategy="bfd", groups=SMALL % 7)),
        lambda: listed(packsort.plan(SMALL, 500, overlong="split", max_sequences=3)),
        lambda: listed(packsort.plan(SMALL, 3000, strategy="hybrid", splittable=SMALL % 2 == 0)),
        lambda: listed(packsort.plan(SMALL, 8192, strategy="random", seed=0)),
        lambda: listed(PLAN.with_epoch(3)),
        lambda: PLAN[3],
        lambda: pickle.loads(pickle.dumps(PLAN)),
        lambda: packsort.plan(SMALL, 8192).lower_bound,
        lambda: packsort.pack(TABLE, MAX_LENGTH),
        lambda: packsort.schedule(packsort.plan(SMALL, 8192), world_size=4),
        lambda: _core.ListColumn(TABLE["input_ids"]).gather(np.arange(100)),
    ],
    ids=[
        "plan",
        "groups",
        "split",
        "hybrid",
        "random",
        "epoch",
        "pack",
        "pickle",
        "bound",
        "table",
        "schedule",
        "gather",
    ],
)
def test_repeated_calls_leave_memory_as_it_is(work: Callable[[], object]) -> None:
    assert grows(work, 100 * REPEATS) < 4 << 20


def test_batches_leave_memory_as_it_is(path: Path) -> None:
    loader = PackedLoader(path, batch_size=2)

    def work() -> None:
        for batch in loader:
            digest(batch)

    batches = len(loader)
    assert grows(work, 1000 * REPEATS // batches + 1) < 8 << 20


def test_files_do_not_depend_on_locale_time_zone_threads_or_umask(tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    pq.write_table(TABLE, tmp_path / "rows.parquet")
    found = []
    for number, (umask, variables) in enumerate(
        [
            (0o022, {"LC_ALL": "C", "TZ": "UTC", "RAYON_NUM_THREADS": "1", "PYTHONDEVMODE": "1"}),
            (0o077, {"LC_ALL": "C.UTF-8", "TZ": "Asia/Tokyo", "RAYON_NUM_THREADS": "5", "PYTHONHASHSEED": "7"}),
        ]
    ):
        out = tmp_path / str(number) / "packed"
        out.parent.mkdir()
        command = [sys.executable, "-m", "packsort", "pack", "../rows.parquet", "-o", "packed", "--max-length", "64"]
        done = subprocess.run(
            command,
            cwd=out.parent,
            env=os.environ | variables,
            umask=umask,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert "Warning" not in done.stderr, done.stderr
        assert out.stat().st_mode & 0o777 == 0o777 & ~umask
        files = sorted(file for file in out.rglob("*") if file.is_file())
        assert all(file.stat().st_mode & 0o777 == 0o666 & ~umask for file in files)
        found.append({file.relative_to(out): file.read_bytes() for file in files})
    assert found[0] == found[1]
