"""Kills, signals, I/O errors and full disks at system calls picked by a seed; `make faults` tries all of them."""

from __future__ import annotations

import os
import random
import shutil
import sys
import threading

import pytest

from faults.commits import COMMANDS, FAULTS, Server, Trial, memory, rows, visible

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or shutil.which("cc") is None, reason="no LD_PRELOAD, or no C compiler, on this system"
)

_EACH = 4  # trials of each command, of some 400


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with Server(tmp_path_factory.mktemp("server")) as found:
        yield found


@pytest.fixture
def folder(tmp_path):
    """An empty folder, in memory if that can be had."""
    if memory() is None:
        yield tmp_path
        return
    path = memory() / f"packsort-{os.getpid()}"
    shutil.rmtree(path, ignore_errors=True)
    path.mkdir()
    yield path
    shutil.rmtree(path)


@pytest.mark.parametrize("command", COMMANDS)
def test_output_is_old_or_new_and_the_same_command_finishes(server, folder, command):
    trial = Trial(server, COMMANDS[command], folder)
    draw = random.Random(command)
    # The last calls are those of the commit.
    places = [*draw.sample(range(1, trial.calls + 1), _EACH - 2), *draw.sample(range(trial.calls - 7, trial.calls), 2)]
    for at, fault in zip(places, draw.sample(list(FAULTS), _EACH), strict=True):
        assert trial.broken(fault, at) is None


def test_without_exchange_the_same_command_finishes_too(tmp_path, folder):
    with Server(tmp_path, exchange=False) as server:
        trial = Trial(server, COMMANDS["export --overwrite"], folder)
        for at in range(trial.calls - 18, trial.calls - 8):
            assert trial.broken("SIGKILL", at) is None


def test_a_reader_that_looks_all_the_time_sees_the_old_or_the_new_output(server, folder):
    trial = Trial(server, COMMANDS["pack --overwrite"], folder)
    trial.restore()
    seen, stop = [], threading.Event()

    def look():
        while not stop.is_set():
            try:
                before, content, after = trial.out.stat().st_ino, visible(trial.out), trial.out.stat().st_ino
            except FileNotFoundError as error:
                if error.filename == str(trial.out):
                    seen.append("a gap")
                continue
            if before == after:  # no look at files of both
                seen.append(content)

    reader = threading.Thread(target=look)
    reader.start()
    assert trial.run()["status"] == 0
    stop.set()
    reader.join()
    assert len(seen) > 10
    assert all(content in (trial.old, trial.new) for content in seen)


def test_datasets_reads_what_a_kill_leaves(server, folder, tmp_path):
    from datasets import load_dataset

    trial = Trial(server, COMMANDS["pack --format parquet --overwrite"], folder)
    counts = set()
    for at in range(trial.calls - 24, trial.calls + 1, 8):
        trial.restore()
        trial.run(at=at, action="kill")
        packs = load_dataset(str(trial.out), split="train", cache_dir=str(tmp_path / str(at)))
        assert packs.num_rows == rows(trial.out)
        assert visible(trial.out) in (trial.old, trial.new)
        counts.add(packs.num_rows)
    assert len(counts) == 2, "some kills came before the commit, some after it"
