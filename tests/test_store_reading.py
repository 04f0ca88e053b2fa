"""Packed directories in object stores: read through a bounded cache on a disk."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from torch.utils.data import DataLoader

import packsort
import packsort.hf
from commands import Run
from packsort._stores import Store
from packsort.errors import DamagedError, OptionError, SourceError, SourceNotFoundError
from packsort.torch import PackedCollator, PackedDataset, PackedLoader
from s3_server import Fault, FaultyServer, of, only_own_retries, started
from store_rows import OPTIONS, table

URL = "s3://packs/packed"
# Python 3.12 and later warn of forks.
pytestmark = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("local") / "packed"
    packsort.write_shards(table(), folder, **OPTIONS)
    return folder


@pytest.fixture(scope="module")
def server(local: Path) -> Iterator[FaultyServer]:
    with started(bucket="packs") as running:
        for file in local.iterdir():
            Store().put_file(file, f"{URL}/{file.name}")
        packsort.write_shards(table(), "s3://packs/parquet", **OPTIONS, format="parquet")
        yield running


@pytest.fixture(autouse=True)
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    only_own_retries(monkeypatch)
    monkeypatch.setenv("PACKSORT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def _copies(cache: Path) -> list[Path]:
    return [path for path in cache.iterdir() if path.suffix in (".arrow", ".parquet")]


def _bytes(cache: Path) -> int:
    """Add up the bytes of copies; one may be removed meanwhile."""
    found = 0
    for path in _copies(cache):
        with suppress(FileNotFoundError):
            found += path.stat().st_size
    return found


def _ids(loader: PackedLoader) -> list[list[int]]:
    return [batch["input_ids"].ravel().tolist() for batch in loader]


def _in_order(source: str | Path) -> list[list[int]]:
    return _ids(PackedLoader(source, seed=None))


def test_shards_have_the_packs_of_a_disk(server: FaultyServer, local: Path, run: Run) -> None:
    here = packsort.open_shards(local)
    for url in (URL, "s3://packs/parquet"):
        there = packsort.open_shards(url)
        assert repr(there).startswith(f"Shards(`{url}`: ")
        assert len(here) == len(there)
        for one, other in zip(here, there, strict=True):
            assert all(np.array_equal(one[name], other[name]) for name in one)
        assert packsort.verify(url, table())
        assert run("verify", url).returncode == 0
        assert run("inspect", url, "--pack", 1).returncode == 0
        assert run("export", url, "-o", f"{url}-trl", "--format", "trl").returncode == 0


def test_a_second_opening_downloads_nothing(server: FaultyServer, cache: Path) -> None:
    packsort.open_shards(URL).check_all()
    with server.faulty():
        shards = packsort.open_shards(URL)
        assert len(list(shards))
        assert not server.read(of="train-")
    assert len(_copies(cache)) == len(shards.manifest.shards)


def test_batches_are_those_of_a_disk(server: FaultyServer, local: Path) -> None:
    assert _in_order(URL) == _in_order(local)
    expected = sorted(_ids(PackedLoader(local)))
    assert sorted(_ids(PackedLoader(URL))) == expected
    assert sorted(_ids(PackedLoader(URL, balance=True))) == expected


def test_a_shuffled_epoch_downloads_each_shard_once_within_two_shards(server: FaultyServer, cache: Path) -> None:
    manifest = packsort.open_shards(URL).manifest
    limit = 2 * max(shard.bytes for shard in manifest.shards)
    loader = PackedLoader(packsort.open_shards(URL, cache_limit=limit), batch_size=2)
    most = 0
    with server.faulty():
        for _ in loader:
            most = max(most, _bytes(cache))
        assert server.read(of="train-") == sum(shard.bytes for shard in manifest.shards)
    assert 0 < most <= limit


def test_the_next_shard_is_on_its_way(server: FaultyServer, cache: Path) -> None:
    shards = packsort.open_shards(URL)
    next(iter(PackedLoader(shards, seed=None, prefetch=0)))
    for _ in range(200):
        if len(_copies(cache)) == 2:
            return
        threading.Event().wait(0.05)
    pytest.fail("the second shard was not copied")


def test_a_run_goes_on_where_it_was_and_not_in_another_order(server: FaultyServer, local: Path) -> None:
    loader = PackedLoader(URL)
    batches = iter(loader)
    first = [next(batches)["input_ids"].ravel().tolist() for _ in range(3)]
    state = loader.state_dict()
    resumed = PackedLoader(URL)
    resumed.load_state_dict(state)
    assert first + _ids(resumed) == _ids(PackedLoader(URL))
    with pytest.raises(packsort.PacksortError, match="other data"):
        PackedLoader(local).load_state_dict(state)


@pytest.mark.parametrize("kind", ["status", "reset", "truncated", "short", "slow"])
def test_faults_in_passing_are_tried_again(server: FaultyServer, local: Path, kind: str) -> None:
    value = {"status": 503, "truncated": 10, "short": 1, "slow": 0.1}.get(kind, 0)
    fault, head = Fault(of("GET", "train-"), kind, value, times=2), Fault(of("HEAD", "train-"), "status", 500)
    with server.faulty(fault, head):
        assert _in_order(URL) == _in_order(local)
        assert not server.faults


@pytest.mark.parametrize(("kind", "value"), [("status", 403), ("status", 503), ("truncated", 9), ("short", 9)])
def test_faults_that_stay_are_errors_and_leave_no_copy(
    server: FaultyServer, cache: Path, kind: str, value: int
) -> None:
    shards = packsort.open_shards(URL)
    stays = server.faulty(Fault(of("GET", "train-00001"), kind, value, times=99))
    with stays, pytest.raises(DamagedError, match=f"`{URL}/train-00001.*` cannot be read"):
        list(shards)
    assert len(_copies(cache)) == 1
    assert not [path for path in cache.iterdir() if path.name.endswith(".partial")]
    assert list(shards)


def test_a_replaced_or_missing_shard_is_an_error(server: FaultyServer, local: Path) -> None:
    url = "s3://packs/replaced"
    files = {file.name: file.read_bytes() for file in local.iterdir()}
    for name, content in files.items():
        Store().put(f"{url}/{name}", content)
    shards = packsort.open_shards(url)
    name = shards.manifest.shards[1].name
    damaged = bytearray(files[name])
    damaged[1000] ^= 1
    Store().put(f"{url}/{name}", bytes(damaged))
    with pytest.raises(DamagedError, match=f"`{url}/{name}`.*changed"):
        list(shards)
    with pytest.raises(DamagedError, match=f"`{url}/{name}` was changed"):
        list(packsort.open_shards(url, verify="never"))
    Store().put(f"{url}/{name}", files[name][:-1])
    with pytest.raises(DamagedError, match=r"has \d+ bytes, the manifest says"):
        packsort.open_shards(url)
    Store().delete([f"{url}/{name}"])
    with pytest.raises(DamagedError, match="is missing"):
        packsort.open_shards(url)
    Store().delete([f"{url}/manifest.json"])
    with pytest.raises(DamagedError, match=r"has no manifest.json"):
        packsort.open_shards(url)


@pytest.mark.parametrize(
    "open_it", [packsort.open_shards, PackedLoader, packsort.verify], ids=["shards", "loader", "verify"]
)
def test_what_is_not_there_is_named(server: FaultyServer, open_it: object) -> None:
    with pytest.raises(SourceNotFoundError, match="no packed directory `s3://packs/none`"):
        open_it("s3://packs/none")


def test_a_damaged_copy_is_replaced(server: FaultyServer, cache: Path, local: Path) -> None:
    packsort.open_shards(URL, verify="open")
    for copy in _copies(cache):
        content = bytearray(copy.read_bytes())
        content[len(content) // 2] ^= 1
        copy.write_bytes(content)
    assert _in_order(URL) == _in_order(local)


def test_readers_at_the_same_time_download_once(server: FaultyServer, local: Path) -> None:
    expected = _in_order(local)
    results: list[bool] = []
    with server.faulty(Fault(of("GET", "train-"), "slow", 0.05, times=99)):
        readers = [threading.Thread(target=lambda: results.append(_in_order(URL) == expected)) for _ in range(3)]
        for reader in readers:
            reader.start()
        for reader in readers:
            reader.join()
        assert server.read(of="train-") == sum(path.stat().st_size for path in local.glob("train-*"))
    assert results == [True] * 3


def test_workers_of_a_data_loader_read_from_the_store(server: FaultyServer, local: Path) -> None:
    def batches(dataset: PackedDataset, **workers: object) -> list[list[int]]:
        assert len(dataset[0]["input_ids"])
        loader = DataLoader(dataset, batch_size=4, collate_fn=PackedCollator(max_length=512), **workers)
        return [batch["input_ids"].ravel().tolist() for batch in loader]

    expected = batches(PackedDataset(local))
    remote = PackedDataset(URL)
    assert batches(remote, num_workers=2, multiprocessing_context="fork") == expected
    assert batches(pickle.loads(pickle.dumps(remote))) == expected


OLD_FSSPEC = """
import os, signal, sys

register, os.register_at_fork = os.register_at_fork, lambda **calls: None
from fsspec import asyn

os.register_at_fork = register
if hasattr(asyn, "reset_after_fork"):
    del asyn.reset_after_fork

from packsort._stores import Store

expected = Store().find(sys.argv[1])
child = os.fork()
if child == 0:
    signal.alarm(30)
    os._exit(Store().find(sys.argv[1]) != expected)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there are no forks")
def test_forked_children_read_with_an_fsspec_that_does_not_know_of_forks(server: FaultyServer) -> None:
    """As fsspec before 2025.5 is, which `datasets` 4.0 asks for."""
    subprocess.run([sys.executable, "-c", OLD_FSSPEC, URL], check=True, timeout=60)


def test_a_limit_that_is_too_small_is_refused(server: FaultyServer, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(OptionError, match=rf"cache_limit must be at least \d+, two shards of `{URL}`, got 1000"):
        packsort.open_shards(URL, cache_limit="1KB")
    with pytest.raises(OptionError, match="cache_limit must be a number of bytes"):
        packsort.open_shards(URL, cache_limit="much")
    assert len(packsort.hf.load(URL)) == len(packsort.open_shards(URL))
    monkeypatch.setenv("PACKSORT_CACHE_LIMIT", "70KB")
    with pytest.raises(SourceError, match=r"set PACKSORT_CACHE_LIMIT, or read it with `packsort.torch.PackedLoader`"):
        packsort.hf.load(URL)
