"""An interrupt ends a command wherever it comes: also where what runs at that moment drops exceptions."""

from __future__ import annotations

import os
import signal
import sys
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import packsort
from commands import Run
from packsort.gathering.gather import gather_packs
from packsort.torch import PackedLoader

ROWS = pa.table({"input_ids": [[1, 2, 3]] * 100})


def test_an_interrupt_that_is_lost_comes_back(tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def gather(*args: Any) -> pa.Table:
        with suppress(KeyboardInterrupt):  # as in a finalizer
            os.kill(os.getpid(), signal.SIGINT)
        return gather_packs(*args)

    monkeypatch.setattr("packsort.shards.writer.gather_packs", gather)
    pq.write_table(ROWS, tmp_path / "rows.parquet")
    found = run("pack", tmp_path / "rows.parquet", "-o", tmp_path / "packed", "--max-length", 8, "--shard-size", "1kB")
    assert (found.returncode, found.stderr) == (130, "error: interrupted, nothing was written\n")
    assert not (tmp_path / "packed").exists()


def test_arrays_are_handed_to_the_core_without_running_code_that_drops_exceptions(tmp_path: Path) -> None:
    """A type that does not fit is described by NumPy in Python, and PyO3 drops what is raised there."""
    called, described = set(), []

    def note(frame: FrameType, event: str, argument: object) -> None:
        called.add(name := Path(frame.f_code.co_filename).name)
        caller = frame.f_back
        if name == "_dtype.py" and caller is not None and Path(caller.f_code.co_filename).name != name:
            described.append((Path(caller.f_code.co_filename).name, caller.f_lineno))

    kinds = [np.int8, np.uint8, np.int16, np.uint16, np.int32, np.uint32, np.int64, np.uint64]
    lengths = [*(np.array([3, 5], kind) for kind in kinds), pa.array([3, 5]), pa.chunked_array([[3], [5]])]
    packsort.write_shards(ROWS, tmp_path / "first", 8)  # imports are done
    sys.setprofile(note)
    try:
        for each in lengths:
            assert packsort.plan(each, 8).sequence_ids.tolist() == [1, 0]
        packsort.write_shards(ROWS, tmp_path / "packed", 8)
        assert len(list(PackedLoader(tmp_path / "packed", batch_size=2))) == 25
        assert len(list(PackedLoader(ROWS, max_length=8))) == 50
    finally:
        sys.setprofile(None)
    assert {"loader.py", "build.py"} <= called
    assert [place for place in described if place[0] != "stored.py"] == []  # fingerprints name types, in Python
