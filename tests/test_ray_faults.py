"""A worker or the driver of Ray whose disk is full: the error names the file, nothing is left, and room is enough."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import packsort
import packsort.ray
import s3_server
from commands import Run, run_process
from faulty_server import time_limit
from packsort._stores import Store, place
from packsort.ray import exchange, first_pass, numbering, reading, second_pass, shards, survey
from packsort.ray.remote import task
from ray_cluster import cluster
from test_ray import IGNORED, dataset, recorded, rows

pytestmark = [pytest.mark.filterwarnings(warning) for warning in IGNORED]

SECONDS = 120  # of each test; the whole file takes 40 s
PACK = ("pack", "in.parquet", "--max-length", 400, "--overlong", "drop", "--shard-size", "60KB")
RAY = (*PACK, "-o", "out", "--engine", "ray")


@pytest.fixture(scope="module")
def nodes() -> Iterator[Any]:
    # Ray takes the disk that it spills to for full from the first byte on.
    with cluster(1, processors=2, local_fs_capacity_threshold=0.0) as started:
        yield started


@pytest.fixture(autouse=True)
def limit() -> Iterator[None]:
    with time_limit(SECONDS):
        yield


@pytest.fixture
def folder(nodes: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a source, and with the packs that one machine makes of it. Workers have another working folder."""
    monkeypatch.chdir(tmp_path)
    pq.write_table(rows(700), tmp_path / "in.parquet", row_group_size=100)
    packsort.write_shards("in.parquet", "one", 400, overlong="drop", shard_size="60KB")
    return tmp_path


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """Let writes of this process fail beyond so many bytes of a file, as they do where a disk is full."""
    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, old[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old)


def task_within(size: int, work: Callable[..., Any]) -> Any:
    """Return a function as a task whose worker cannot write larger files."""

    # Workers do not import tests, so what is sent to them must not refer to this module.
    def limited(*args: Any) -> Any:
        old = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, old[1]))
        try:
            return work(*args)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, old)

    return task(limited)


def check(out: Path, one: Path) -> None:
    """Check that a directory has the plan, the counts and the shards that one machine wrote."""
    assert recorded(out) == recorded(one)
    assert packsort.verify(out, "in.parquet")


def test_tasks_write_nothing_but_shards(folder: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tokens pass from task to task in the object store: workers that cannot write one byte exchange them."""
    monkeypatch.setattr(second_pass, "FAN_OUT", 3)  # so that pieces are cut twice
    monkeypatch.setattr(reading, "read_part", task_within(0, reading._read_part))
    limited = task_within(0, survey._survey).options(num_returns=2)
    monkeypatch.setattr(first_pass, "survey_stretch", limited)
    monkeypatch.setattr(second_pass, "fingerprint", task_within(0, numbering._fingerprint))
    monkeypatch.setattr(second_pass, "scatter", task_within(0, exchange._scatter))
    monkeypatch.setattr(second_pass, "scatter_again", task_within(0, exchange._scatter_again))
    done = run(*RAY)
    assert done.returncode == 0, done.stderr
    check(folder / "out", folder / "one")


@pytest.mark.parametrize(
    ("format", "share"), [("arrow", 0.1), ("arrow", 1.0), ("parquet", 0.1)], ids=["arrow", "largest", "parquet"]
)
def test_a_shard_that_a_worker_cannot_write_is_named(folder: Path, run: Run, format: str, share: float) -> None:
    """With `share` 1.0 only the largest shard fails, after or before others are whole."""
    largest = max(path.stat().st_size for path in (folder / "one").glob("train-*"))
    before = sorted(folder.rglob("*"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(second_pass, "write", task_within(int(largest * share) - 1, shards._write))
        done = run(*RAY, "--format", format)
        assert done.returncode == 1
        assert done.stderr.startswith("error: cannot write `out/train-")
        assert done.stderr.endswith(f".{format}`: file too large\n")
        assert done.stderr.count("\n") == 1
        assert sorted(folder.rglob("*")) == before
        with pytest.raises(packsort.OutputError, match=r"cannot write `out/train-.*\.arrow`: file too large"):
            packsort.ray.pack(dataset(rows(700)), 400, "out", overlong="drop", shard_size="60KB")
        assert sorted(folder.rglob("*")) == before
    assert run(*RAY, "--format", format).returncode == 0
    if format == "parquet":
        shutil.rmtree(folder / "one")
        assert run(*PACK, "-o", "one", "--format", format).returncode == 0
    check(folder / "out", folder / "one")
    assert run("verify", "out", "--source", "in.parquet").returncode == 0


def test_what_was_there_stays(folder: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "one").rename(folder / "out")
    before = {path: path.read_bytes() for path in (folder / "out").iterdir()}
    monkeypatch.setattr(second_pass, "write", task_within(5_000, shards._write))
    done = run(*RAY, "--overwrite", "--separator", 5)
    assert done.returncode == 1
    assert done.stderr.startswith("error: cannot write `out/train-")
    assert {path: path.read_bytes() for path in (folder / "out").iterdir()} == before
    assert sorted(path.name for path in folder.iterdir()) == ["in.parquet", "out"]


@pytest.mark.parametrize(("file", "name"), [("record of shards", "out"), ("manifest", "out/manifest.json")])
def test_what_the_driver_cannot_write_is_named(folder: Path, run: Run, file: str, name: str) -> None:
    before = sorted(folder.rglob("*"))
    with largest_file(100 if name == "out" else (folder / "one" / "manifest.json").stat().st_size - 1):
        done = run(*RAY)
    assert done.returncode == 1
    assert done.stderr == f"error: cannot write `{name}`: file too large\n"
    assert sorted(folder.rglob("*")) == before
    assert run(*RAY).returncode == 0
    check(folder / "out", folder / "one")


def test_the_disk_of_a_worker_that_uploads_is_named(folder: Path) -> None:
    with s3_server.started(bucket="rows") as server:
        # Workers started before the server, so they do not have its address from the environment.
        known = {"endpoint_url": server.url, "key": "key", "secret": "secret"}
        options: dict[str, Any] = {"overlong": "drop", "shard_size": "60KB"}
        options["storage_options"] = known | {"client_kwargs": {"region_name": "us-east-1"}}
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(second_pass, "write", task_within(5_000, shards._write))
            named = r"cannot write `(?!s3:).*packsort-.*/train-\d+-of-\d+\.arrow`: file too large"
            with pytest.raises(packsort.OutputError, match=named) as raised:
                packsort.ray.pack("in.parquet", 400, "s3://rows/out", **options)
        assert not Path(str(raised.value).split("`")[1]).parent.exists()
        assert not Store().find("s3://rows/out")
        found = packsort.ray.pack("in.parquet", 400, "s3://rows/out", **options)
        assert place("s3://rows/out/manifest.json").exists()
        assert found.shards == packsort.open_shards("one").manifest.shards


def test_a_full_object_store_is_named(folder: Path, run: Run) -> None:
    """Blocks that neither fit into the object store nor onto the disk which it spills to."""
    tokens = pa.array(np.zeros(40_000_000, np.int32))
    offsets = pa.array(np.arange(0, len(tokens) + 1, 400, dtype=np.int32))
    table = pa.table({"input_ids": pa.ListArray.from_arrays(offsets, tokens)})
    pq.write_table(table, "large.parquet", row_group_size=5_000)
    before = sorted(folder.rglob("*"))
    done = run("pack", "large.parquet", *RAY[2:], "--memory-limit", "500MB")
    assert done.returncode == 1
    assert "error: Ray's object store is full on a node, and so is the disk that it spills to: free" in done.stderr
    assert "Traceback" not in done.stderr
    assert sorted(folder.rglob("*")) == before
    assert run(*RAY).returncode == 0
    check(folder / "out", folder / "one")


@pytest.fixture
def small_disk(folder: Path) -> Iterator[Path]:
    """A disk of 400 KB: the packs take more."""
    (folder / "disk").mkdir()
    if shutil.which("mount") is None:
        pytest.skip("there is no `mount`")
    command = ["mount", "-t", "tmpfs", "-o", "size=400k", "tmpfs", str(folder / "disk")]
    mounted = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS)
    if mounted.returncode:
        pytest.skip(f"no small disk can be mounted: {' '.join(mounted.stderr.splitlines()[:1])}")
    try:
        yield folder / "disk"
    finally:
        subprocess.run(["umount", "--lazy", str(folder / "disk")], check=True, timeout=SECONDS)


def enlarge(disk: Path) -> None:
    subprocess.run(["mount", "-o", "remount,size=8m", str(disk)], check=True, timeout=SECONDS)


def test_a_disk_without_room_for_the_shards(nodes: Any, folder: Path, run: Run, small_disk: Path) -> None:
    command = (*PACK, "-o", "disk/out", "--engine", "ray")
    done = run_process(*command, env=os.environ | {"RAY_ADDRESS": nodes.address})
    assert done.returncode == 1
    assert done.stderr.startswith("error: cannot write `disk/out/train-")
    assert done.stderr.endswith(".arrow`: no space left on device\n")
    assert done.stderr.count("\n") == 1
    assert not done.stdout
    assert not list(small_disk.iterdir())
    enlarge(small_disk)
    assert run(*command).returncode == 0
    check(small_disk / "out", folder / "one")


def test_a_disk_without_room_for_the_manifest(folder: Path, small_disk: Path) -> None:
    enlarge(small_disk)

    @contextmanager
    def stage(name: str, **_: Any) -> Iterator[Any]:
        yield lambda done, note="": None
        if name == "packing":
            with (small_disk / "other").open("wb", buffering=0) as file, suppress(OSError):
                while True:
                    file.write(bytes(4096))

    with pytest.raises(packsort.OutputError, match=r"cannot write `disk/out/manifest\.json`: no space left on device"):
        packsort.ray.pack("in.parquet", 400, "disk/out", overlong="drop", shard_size="60KB", stage=stage)
    assert [path.name for path in small_disk.iterdir()] == ["other"]
    (small_disk / "other").unlink()
    packsort.ray.pack("in.parquet", 400, "disk/out", overlong="drop", shard_size="60KB")
    check(small_disk / "out", folder / "one")
