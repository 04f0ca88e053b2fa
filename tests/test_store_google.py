"""Rows and packed directories in Google Cloud Storage, by its real client, against a local server."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from urllib.parse import unquote

import gcsfs
import pytest

import packsort
from faulty_server import Fault, FaultyServer, Request, of, time_limit
from google_server import started
from packsort._atomic.store_folder import RUN_FOLDER
from packsort._options.input import InputConfig
from packsort._stores import Store
from packsort.errors import OutputError, OutputExistsError, SourceError, SourceNotFoundError
from packsort.sources.source import open_source
from packsort.torch import PackedLoader
from store_rows import OPTIONS, objects, parquet, table

_numbers = count()


@pytest.fixture(scope="module")
def server() -> Iterator[FaultyServer]:
    with started(bucket="box") as running:
        for number in range(4):
            Store().put(f"gs://box/rows/data/train-{number}.parquet", parquet(number))
        Store().put("gs://box/rows/README.md", b"# A data set\n")
        yield running


@pytest.fixture(autouse=True)
def limits(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    monkeypatch.setenv("PACKSORT_CACHE", str(tmp_path / "cache"))
    with time_limit(60):
        yield


@pytest.fixture
def out() -> str:
    return f"gs://box/out/{next(_numbers)}"


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A packing of `table()` on a disk."""
    folder = tmp_path_factory.mktemp("local") / "packed"
    packsort.write_shards(table(), folder, **OPTIONS)
    return folder


@pytest.fixture(scope="module")
def files(local: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in local.iterdir()}


def _is_upload(request: Request) -> bool:
    return request.method == "POST" and request.path.startswith("upload/")


def _is_manifest(request: Request) -> bool:
    """Tell the upload of a manifest: it is the only one, beside that of `run.json`, that must find no object."""
    return _is_upload(request) and "ifGenerationMatch=0" in request.path


def _is_shard(request: Request) -> bool:
    return _is_upload(request) and not _is_manifest(request)


@pytest.mark.parametrize("end", ["rows", "rows/data/train-*.parquet"])
def test_rows_of_a_bucket_give_the_bytes_of_a_disk(
    server: FaultyServer, files: dict[str, bytes], tmp_path: Path, end: str
) -> None:
    packsort.write_shards(f"gs://box/{end}", tmp_path / "packed", **OPTIONS)
    shards = {path.name: path.read_bytes() for path in (tmp_path / "packed").glob("train-*")}
    assert shards == {name: content for name, content in files.items() if name != "manifest.json"}
    assert packsort.verify(tmp_path / "packed", table())


def test_storage_options_take_the_place_of_the_environment(
    server: FaultyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", "127.0.0.1:1")
    options = {"token": "anon", "endpoint_url": server.url}
    assert packsort.pack("gcs://box/rows", 512, storage_options=options).equals(packsort.pack(table(), 512))
    source = open_source("gs://box/rows", InputConfig(storage_options=options))
    assert pickle.loads(pickle.dumps(source)).read(["input_ids"]).num_rows == 1000


@pytest.mark.parametrize(
    ("kind", "value"), [("status", 503), ("reset", 0), ("truncated", 10), ("short", 1), ("slow", 0.1)]
)
def test_reading_tries_again_after_a_fault_in_passing(server: FaultyServer, kind: str, value: float) -> None:
    faults = Fault(of("GET", "train-1.parquet?alt=media"), kind, value, times=2), Fault(of("GET"), "status", 503)
    with server.faulty(*faults):
        assert packsort.pack("gs://box/rows", 512).equals(packsort.pack(table(), 512))
        assert not server.faults


@pytest.mark.parametrize(
    ("kind", "value", "words"),
    [
        ("status", 403, "permission denied"),
        ("status", 503, "cannot be read"),
        ("short", 1, r"the store sent [\d,]+ bytes for the [\d,]+ from byte"),
        ("reset", 0, "cannot be read"),
    ],
)
def test_a_fault_that_stays_is_an_error_that_names_the_object(
    server: FaultyServer, kind: str, value: int, words: str
) -> None:
    fault = Fault(of("GET", "train-1.parquet?alt=media"), kind, value, times=999)
    with server.faulty(fault), pytest.raises(SourceError, match=f"`gs://box/rows/data/train-1.parquet`.*{words}"):
        packsort.pack("gs://box/rows/data/train-1.parquet", 512)


def test_an_object_that_changes_while_it_is_read_is_an_error(server: FaultyServer) -> None:
    content = parquet(0)
    Store().put("gs://box/changed.parquet", content)
    source = open_source("gs://box/changed.parquet")
    Store().put("gs://box/changed.parquet", content[:100] + b"x" + content[101:])
    with pytest.raises(SourceError, match=r"changed\.parquet"):
        source.read(["input_ids"])


def test_what_is_not_there_is_named(server: FaultyServer) -> None:
    for url in ("gs://box/none", "gs://no-box/a.parquet"):
        with pytest.raises(SourceNotFoundError, match=f"`{url}`|no bucket `no-box`"):
            open_source(url)
    with pytest.raises(OutputError, match="cannot write `gs://no-box/x`"):
        packsort.write_shards(table(), "gs://no-box/x", **OPTIONS)


def test_a_packed_directory_has_the_bytes_of_a_disk_and_is_read_back(
    server: FaultyServer, out: str, local: Path, files: dict[str, bytes]
) -> None:
    packsort.write_shards(table(), out, **OPTIONS)
    assert objects(out) == files
    assert packsort.verify(out, table())
    here, there = ([batch["input_ids"].tolist() for batch in PackedLoader(one, seed=None)] for one in (local, out))
    assert here == there
    faults = [
        Fault(of("GET", f"{kind}"), *what)
        for kind, what in {
            "manifest.json?alt=media": ("status", 503),
            "train-00000-of-00004.arrow?alt=media": ("reset",),
            "train-00001-of-00004.arrow?alt=media": ("short", 1),
            "train-00002-of-00004.arrow?alt=media": ("truncated", 10),
        }.items()
    ]
    with server.faulty(*faults), pytest.MonkeyPatch.context() as patch:
        patch.setenv("PACKSORT_CACHE", str(local.parent / "other-cache"))
        assert here == [batch["input_ids"].tolist() for batch in PackedLoader(out, seed=None)]
        assert not server.faults


def test_writing_tries_again_after_faults_in_passing(server: FaultyServer, out: str, files: dict[str, bytes]) -> None:
    faults = [
        Fault(_is_shard, "status", 503, times=2),
        Fault(_is_shard, "reset"),
        Fault(of("GET", "train-00001"), "slow", 0.2),
        Fault(of("DELETE"), "status", 500),
    ]
    with server.faulty(*faults):
        packsort.write_shards(table(), out, **OPTIONS)
        assert not server.faults
    assert objects(out) == files


@pytest.mark.parametrize("what", ["shard", "manifest"])
@pytest.mark.parametrize(("kind", "value"), [("status", 403), ("reset", 0)])
def test_a_failed_run_leaves_no_manifest_and_the_same_call_goes_on(
    server: FaultyServer, out: str, files: dict[str, bytes], what: str, kind: str, value: int
) -> None:
    seen: list[Request] = []

    def applies(request: Request) -> bool:
        chosen = _is_manifest(request) if what == "manifest" else _is_shard(request)
        if chosen:
            seen.append(request)
        return chosen and len(seen) > (1 if what == "manifest" else 4)  # `run.json`, or two shards and their records

    failing = server.faulty(Fault(applies, kind, value, times=999))
    with failing, pytest.raises(OutputError, match=f"cannot write `{out}") as caught:
        packsort.write_shards(table(), out, **OPTIONS)
    assert "is unfinished; the same call goes on with the" in caught.value.__notes__[0]
    left = objects(out)
    assert "manifest.json" not in left
    assert all(content == files[name] for name, content in left.items() if RUN_FOLDER not in name)
    packsort.write_shards(table(), out, **OPTIONS)
    assert objects(out) == files


def test_a_run_that_fails_before_its_first_object_leaves_nothing(server: FaultyServer, out: str) -> None:
    with server.faulty(Fault(_is_shard, "status", 403, times=999)), pytest.raises(OutputError):
        packsort.write_shards(table(), out, **OPTIONS)
    assert not objects(out)


def test_a_packing_is_replaced_only_with_overwrite(server: FaultyServer, out: str, files: dict[str, bytes]) -> None:
    packsort.write_shards(table(), out, max_length=100, shard_size=20_000, seed=7)
    old = objects(out)
    with pytest.raises(OutputExistsError, match="is not empty; pass overwrite=True to replace it"):
        packsort.write_shards(table(), out, **OPTIONS)
    assert objects(out) == old
    copies = Fault(of("POST", "rewriteTo"), "status", 403, times=999)
    with server.faulty(copies), pytest.raises(OutputError):
        packsort.write_shards(table(), out, **OPTIONS, overwrite=True)
    assert "manifest.json" not in objects(out)
    packsort.write_shards(table(), out, **OPTIONS, overwrite=True)
    assert objects(out) == files
    with pytest.raises(OutputError, match="it is an object"):
        packsort.write_shards(table(), f"{out}/manifest.json", **OPTIONS, overwrite=True)


# The server does not compare generations, so the test answers in its place.
def test_one_of_two_runs_that_begin_together_is_refused(server: FaultyServer, out: str) -> None:
    with server.faulty(Fault(_is_manifest, "status", 412)), pytest.raises(OutputError, match="another process is"):
        packsort.write_shards(table(), out, **OPTIONS)
    with server.faulty():
        packsort.write_shards(table(), out, **OPTIONS)
        assert sum(map(_is_manifest, server.log)) == 2, [unquote(one.path) for one in server.log]


def test_the_client_is_the_real_one(server: FaultyServer) -> None:
    assert isinstance(Store().filesystem("gs://box")[0], gcsfs.GCSFileSystem)
