"""Rows and packed directories in Azure Blob Storage, by its real client, against a local server."""

from __future__ import annotations

import pickle
import time
from collections.abc import Iterator
from functools import partial
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import adlfs
import pytest
from azure.core.exceptions import ServiceRequestError

import packsort
from azure_server import ACCOUNT, SINGLE_PUT_BYTES, AzureServer, started
from faulty_server import Fault, Request, of, time_limit
from packsort._atomic.store_folder import RUN_FOLDER
from packsort._options.input import InputConfig
from packsort._stores import Store, retries, store
from packsort.errors import OutputError, OutputExistsError, SourceError, SourceNotFoundError
from packsort.sources.source import open_source
from packsort.torch import PackedLoader
from store_rows import OPTIONS, check_a_kill, objects, parquet, table

_numbers = count()


@pytest.fixture(scope="module")
def server() -> Iterator[AzureServer]:
    with started(container="box") as running:
        for number in range(4):
            running.put("box", f"rows/data/train-{number}.parquet", parquet(number))
        running.put("box", "rows/README.md", b"# A data set\n")
        yield running


@pytest.fixture(autouse=True)
def limits(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    monkeypatch.setenv("PACKSORT_CACHE", str(tmp_path / "cache"))
    with time_limit(60):
        yield


@pytest.fixture
def out() -> str:
    return f"abfs://box/out/{next(_numbers)}"


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A packing of `table()` on a disk."""
    folder = tmp_path_factory.mktemp("local") / "packed"
    packsort.write_shards(table(), folder, **OPTIONS)
    return folder


@pytest.fixture(scope="module")
def files(local: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in local.iterdir()}


@pytest.fixture
def bare_tags(monkeypatch: pytest.MonkeyPatch) -> None:
    """List objects with ETags without quotes, as Azure does, and adlfs before 2026.5."""
    listed = adlfs.AzureBlobFileSystem._details

    def bare(facts: dict[str, Any]) -> dict[str, Any]:
        is_listed = facts["type"] == "file" and facts["metadata"] is None
        return facts | {"etag": facts["etag"].strip('"')} if is_listed else facts

    async def details(*args: Any, **kwargs: Any) -> list[dict[str, Any]]:
        return [bare(facts) for facts in await listed(*args, **kwargs)]

    monkeypatch.setattr(adlfs.AzureBlobFileSystem, "_details", details)


@pytest.mark.usefixtures("bare_tags")
def test_an_object_has_the_same_tag_in_a_listing(server: AzureServer) -> None:
    at = "abfs://box/rows/data/train-0.parquet"
    listed = Store().filesystem(at)[0].find("box/rows/data", detail=True)
    assert not any('"' in one["etag"] for one in listed.values())
    assert Store().find("abfs://box/rows/data")[at] == Store().info(at)
    assert Store().glob("abfs://box/rows/data/*")[at] == Store().info(at)
    assert open_source("abfs://box/rows").num_rows == table().num_rows


@pytest.mark.parametrize("end", ["rows", "rows/data/train-*.parquet"])
def test_rows_of_a_container_give_the_bytes_of_a_disk(
    server: AzureServer, files: dict[str, bytes], tmp_path: Path, end: str
) -> None:
    packsort.write_shards(f"abfs://box/{end}", tmp_path / "packed", **OPTIONS)
    shards = {path.name: path.read_bytes() for path in (tmp_path / "packed").glob("train-*")}
    assert shards == {name: content for name, content in files.items() if name != "manifest.json"}
    assert packsort.verify(tmp_path / "packed", table())


def test_storage_options_take_the_place_of_the_environment(
    server: AzureServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("AZURE_STORAGE_CONNECTION_STRING")
    options = {"connection_string": server.connection_string}
    expected = packsort.pack(table(), 512)
    for place in ("az://box", f"abfs://box@{ACCOUNT}.dfs.core.windows.net"):
        assert packsort.pack(f"{place}/rows", 512, storage_options=options).equals(expected)
    packsort.write_shards(f"{place}/rows", f"{place}/with-options", **OPTIONS, storage_options=options)
    assert "with-options/manifest.json" in server.containers["box"]
    source = open_source("abfs://box/rows", InputConfig(storage_options=options))
    assert pickle.loads(pickle.dumps(source)).read(["input_ids"]).num_rows == 1000


@pytest.mark.parametrize(
    ("kind", "value"), [("status", 503), ("reset", 0), ("truncated", 10), ("short", 1), ("slow", 0.1)]
)
def test_reading_tries_again_after_a_fault_in_passing(server: AzureServer, kind: str, value: float) -> None:
    times = 1 if kind == "truncated" else 2  # the client pauses for a second
    faults = Fault(of("GET", "train-1"), kind, value, times=times), Fault(of("GET", "comp=list"), "status", 503)
    with server.faulty(*faults):
        assert packsort.pack("abfs://box/rows", 512).equals(packsort.pack(table(), 512))
        assert not server.faults


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (Fault(of("GET", "train-1"), "status", 403, times=99), "permission denied"),
        (Fault(of("GET", "train-1"), "status", 503, times=99), "cannot be read"),
        (Fault(of("GET", "train-1"), "short", 1, times=99), r"the store sent [\d,]+ bytes for the [\d,]+ from byte"),
        (Fault(of("GET", "train-1"), "reset", times=99), "cannot be read"),
        (Fault(of("HEAD", "train-1"), "lie", 100, times=99), ""),
        (Fault(of("HEAD", "train-1"), "lie", -100, times=99), ""),
    ],
    ids=lambda value: f"{value.kind}-{value.value}" if isinstance(value, Fault) else "",
)
def test_a_fault_that_stays_is_an_error_that_names_the_object(server: AzureServer, fault: Fault, words: str) -> None:
    with server.faulty(fault), pytest.raises(SourceError, match=f"`abfs://box/rows/data/train-1.parquet`.*{words}"):
        packsort.pack("abfs://box/rows/data/train-1.parquet", 512)


def test_an_object_that_changes_while_it_is_read_is_an_error(server: AzureServer) -> None:
    content = parquet(0)
    server.put("box", "changed.parquet", content)
    fault = Fault(of("GET", "changed"), "call", lambda: server.put("box", "changed.parquet", content[:-1] + b"2"))
    with server.faulty(fault), pytest.raises(SourceError, match=r"changed\.parquet"):
        open_source("abfs://box/changed.parquet").read(["input_ids"])


def test_what_is_not_there_is_named(server: AzureServer) -> None:
    for url in ("abfs://box/none", "abfs://no-box/a.parquet"):
        with pytest.raises(SourceNotFoundError, match=f"`{url}`|no bucket `no-box`"):
            open_source(url)
    with pytest.raises(SourceNotFoundError, match="no packed directory `abfs://box/none`"):
        PackedLoader("abfs://box/none")
    with pytest.raises(OutputError, match="cannot write `abfs://no-box/x`"):
        packsort.write_shards(table(), "abfs://no-box/x", **OPTIONS)


def test_a_packed_directory_has_the_bytes_of_a_disk_and_is_read_back(
    server: AzureServer, out: str, local: Path, files: dict[str, bytes]
) -> None:
    with server.faulty():
        packsort.write_shards(table(), out, **OPTIONS)
        written = [one.path for one in server.log if one.method == "PUT" and RUN_FOLDER not in one.path]
    assert objects(out) == files
    assert written[-1].endswith("manifest.json")
    assert any("comp=blocklist" in path for path in written), "shards go in blocks"
    assert max(map(len, files.values())) > SINGLE_PUT_BYTES
    assert packsort.verify(out, table())
    for seed in (None, 0):
        here, there = (
            sorted(batch["input_ids"].ravel().tolist() for batch in PackedLoader(one, seed=seed))
            for one in (local, out)
        )
        assert here == there


def test_loaders_try_again_after_faults_in_passing(server: AzureServer, out: str, local: Path) -> None:
    packsort.write_shards(table(), out, **OPTIONS)
    faults = [
        Fault(of("GET", "manifest.json"), "status", 503),
        Fault(of("GET", "train-00000"), "reset"),
        Fault(of("GET", "train-00001"), "short", 1),
        Fault(of("GET", "train-00002"), "truncated", 10),
    ]
    with server.faulty(*faults):
        here, there = ([batch["input_ids"].tolist() for batch in PackedLoader(one, seed=None)] for one in (local, out))
        assert not server.faults
    assert here == there


def test_writing_tries_again_after_faults_in_passing(server: AzureServer, out: str, files: dict[str, bytes]) -> None:
    faults = [
        Fault(of("PUT", "comp=block&"), "status", 503, times=2),
        Fault(of("PUT", "train-00001"), "reset"),
        Fault(of("PUT", "comp=blocklist"), "status", 500),
        Fault(of("PUT", "manifest.json"), "status", 500),
        Fault(of("HEAD", "train-00001"), "slow", 0.2),
        Fault(of("DELETE"), "status", 500),
    ]
    with server.faulty(*faults):
        packsort.write_shards(table(), out, **OPTIONS)
        assert not server.faults
    assert objects(out) == files


@pytest.mark.parametrize(
    "fault",
    [
        Fault(of("PUT", "train-00002"), "status", 403, times=9999),
        Fault(of("PUT", "train-00002"), "reset", times=9999),
        Fault(
            lambda one: one.method == "PUT" and "train-00002" in one.path and "blocklist" in one.path,
            "status",
            503,
            times=9999,
        ),
        Fault(of("HEAD", "train-00002"), "lie", 7, times=9999),
        Fault(of("PUT", "manifest.json"), "reset", times=9999),
    ],
    ids=["403", "reset", "list-of-blocks", "lie", "manifest"],
)
def test_a_failed_run_leaves_no_manifest_and_the_same_call_goes_on(
    server: AzureServer, out: str, files: dict[str, bytes], fault: Fault
) -> None:
    with server.faulty(fault), pytest.raises(OutputError, match=f"cannot write `{out}") as caught:
        packsort.write_shards(table(), out, **OPTIONS)
    assert "is unfinished; the same call goes on with the" in caught.value.__notes__[0]
    left = objects(out)
    assert "manifest.json" not in left
    assert all(content == files[name] for name, content in left.items() if RUN_FOLDER not in name)
    with server.faulty():
        packsort.write_shards(table(), out, **OPTIONS)
        again = [one.path for one in server.log if one.method == "PUT" and "train-00000" in one.path]
    assert objects(out) == files
    assert not again


def test_a_run_that_fails_before_its_first_object_leaves_nothing(server: AzureServer, out: str) -> None:
    with server.faulty(Fault(of("PUT", "train-"), "status", 403, times=9999)), pytest.raises(OutputError):
        packsort.write_shards(table(), out, **OPTIONS)
    assert not objects(out)


@pytest.mark.parametrize("killed_at", ["train-00002", "manifest.json"])
def test_the_same_command_goes_on_after_a_kill(
    server: AzureServer, out: str, files: dict[str, bytes], tmp_path: Path, killed_at: str
) -> None:
    check_a_kill(server, of("PUT", killed_at), out, files, tmp_path)


def test_a_server_that_is_not_there_is_given_up_when_the_client_has_waited(monkeypatch: pytest.MonkeyPatch) -> None:
    """The client makes attempts of its own, and pauses for more than a minute."""
    now = [0.0]
    monkeypatch.setattr(retries, "time", SimpleNamespace(monotonic=lambda: now[0], sleep=lambda seconds: None))
    calls: list[float] = []

    def fails(seconds: float) -> None:
        calls.append(seconds)
        now[0] += seconds
        raise ServiceRequestError("no such host")

    for seconds, attempts in ((90.0, 1), (1.0, retries.ATTEMPTS)):
        calls.clear()
        with pytest.raises(OSError, match="no such host"):
            retries.repeated(partial(fails, seconds))
        assert len(calls) == attempts


def _older(out: str) -> dict[str, bytes]:
    """Write another packing and return its objects."""
    packsort.write_shards(table(), out, **OPTIONS, seed=7)
    return objects(out)


def test_a_packing_is_replaced_only_with_overwrite(server: AzureServer, out: str, files: dict[str, bytes]) -> None:
    old = _older(out)
    with pytest.raises(OutputExistsError, match="is not empty; pass overwrite=True to replace it"):
        packsort.write_shards(table(), out, **OPTIONS)
    assert objects(out) == old
    packsort.write_shards(table(), out, **OPTIONS, overwrite=True)
    assert objects(out) == files


def test_a_large_file_is_not_held_in_memory(server: AzureServer, out: str, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(bytes(60 * SINGLE_PUT_BYTES))
    begun: list[int] = []
    written = server.blocks[("box", f"{out.removeprefix('abfs://box/')}/a")] = {}

    def wait() -> None:
        begun.append(1)
        time.sleep(0.02)
        most.append(len(begun) - len(written))

    most: list[int] = []
    with server.faulty(Fault(of("PUT", "comp=block&"), "call", wait, times=999)):
        Store().put_file(file, f"{out}/a")
    assert len(begun) > 50
    assert 1 < max(most) <= 8


def test_a_copy_that_the_store_ends_later_is_waited_for(
    server: AzureServer, out: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    Store().put(f"{out}/a", b"content")
    monkeypatch.setattr(store, "COPY_PAUSE", 0.01)
    monkeypatch.setattr(server, "copy_seconds", 0.1)
    Store().copy(f"{out}/a", f"{out}/b")
    assert objects(out) == {"a": b"content", "b": b"content"}
    monkeypatch.setattr(store, "COPY_SECONDS", 0.1)
    monkeypatch.setattr(server, "copy_seconds", 1000)
    with pytest.raises(OSError, match="says that the copy has another size"):
        Store().copy(f"{out}/a", f"{out}/c")


@pytest.mark.parametrize("failing", ["new/train-00001", "copy", "manifest.json"])
def test_a_replacement_that_fails_is_completed_by_the_same_call(
    server: AzureServer, out: str, files: dict[str, bytes], failing: str
) -> None:
    old = _older(out)
    key = out.removeprefix("abfs://box/")

    def applies(request: Request) -> bool:
        name = request.path.partition(f"{key}/")[2]
        wanted = name.startswith("train-00001") if failing == "copy" else failing in name
        return request.method == "PUT" and wanted and not (failing == "manifest.json" and RUN_FOLDER in name)

    with server.faulty(Fault(applies, "status", 403, times=9999)), pytest.raises(OutputError):
        packsort.write_shards(table(), out, **OPTIONS, overwrite=True)
    left = {name: content for name, content in objects(out).items() if RUN_FOLDER not in name}
    if failing.startswith("new/"):
        assert left == old
    else:
        assert "manifest.json" not in left
    packsort.write_shards(table(), out, **OPTIONS, overwrite=True)
    assert objects(out) == files


def test_what_others_wrote_is_never_replaced(server: AzureServer, out: str) -> None:
    Store().put(f"{out}/notes.txt", b"mine")
    with pytest.raises(OutputExistsError, match=r"holds `notes.txt`, which packsort did not write"):
        packsort.write_shards(table(), out, **OPTIONS, overwrite=True)
    with pytest.raises(OutputError, match="it is an object"):
        packsort.write_shards(table(), f"{out}/notes.txt", **OPTIONS, overwrite=True)
    assert objects(out) == {"notes.txt": b"mine"}


def test_one_of_two_runs_that_begin_together_is_refused(server: AzureServer, out: str) -> None:
    theirs = Fault(
        lambda request: request.method == "PUT" and "run.json" in request.path,
        "call",
        lambda: Store().put(f"{out}/{RUN_FOLDER}/run.json", b'"other"'),
    )
    with server.faulty(theirs), pytest.raises(OutputError, match="another process is writing to"):
        packsort.write_shards(table(), out, **OPTIONS)
    assert objects(out) == {f"{RUN_FOLDER}/run.json": b'"other"'}


def test_an_upload_that_fails_leaves_the_object_that_was_there(server: AzureServer, out: str, tmp_path: Path) -> None:
    Store().put(f"{out}/a", b"first")
    with pytest.raises(FileExistsError):
        Store().put(f"{out}/a", b"second", create=True)
    file = tmp_path / "file"
    file.write_bytes(bytes(2 * SINGLE_PUT_BYTES))
    with server.faulty(Fault(of("PUT", "comp=blocklist"), "status", 403, times=99)), pytest.raises(PermissionError):
        Store().put_file(file, f"{out}/a")
    assert objects(out) == {"a": b"first"}
    assert Store().put_file(file, f"{out}/a").size == file.stat().st_size


def test_the_client_is_the_real_one(server: AzureServer) -> None:
    assert isinstance(Store().filesystem("abfs://box")[0], adlfs.AzureBlobFileSystem)
