"""Outputs in object stores: whole or absent, and resumed after any stop."""

from __future__ import annotations

import os
import signal
import tempfile
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import xxhash

import packsort
from commands import Run
from packsort._atomic.store_folder import RUN_FOLDER
from packsort._stores import Store, store
from packsort.errors import DamagedError, OutputError, OutputExistsError, SourceError
from s3_server import Fault, FaultyServer, Request, of, only_own_retries, started
from store_rows import OPTIONS, check_a_kill, objects, table

_numbers = count()


@pytest.fixture(scope="module")
def server() -> Iterator[FaultyServer]:
    with started(bucket="out") as running:
        yield running


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    only_own_retries(monkeypatch)


@pytest.fixture
def out() -> str:
    return f"s3://out/{next(_numbers)}"


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """Files of the same packing on a disk."""
    folder = tmp_path_factory.mktemp("local") / "packed"
    packsort.write_shards(table(), folder, **OPTIONS)
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def _unfinished_uploads(server: FaultyServer) -> list[str]:
    """List the keys of uploads that were not completed."""
    filesystem = Store().filesystem("s3://out")[0]
    return [one["Key"] for one in filesystem.call_s3("list_multipart_uploads", Bucket="out").get("Uploads", [])]


def test_a_store_gets_the_bytes_of_a_disk(server: FaultyServer, out: str, local: dict[str, bytes]) -> None:
    with server.faulty():
        packsort.write_shards(table(), out, **OPTIONS)
        written = [one.path for one in server.log if one.method == "PUT" and RUN_FOLDER not in one.path]
    assert objects(out) == local
    assert len(local) > 3
    assert written[-1].endswith("manifest.json")
    for shard in packsort.open_shards(out).manifest.shards:
        assert shard.checksum == f"xxh3_128:{xxhash.xxh3_128_hexdigest(objects(out)[shard.name])}"


def test_faults_in_passing_are_tried_again(server: FaultyServer, out: str, local: dict[str, bytes]) -> None:
    faults = [
        Fault(of("PUT", "train-00000"), "status", 503, times=2),
        Fault(of("PUT", "train-00001"), "reset"),
        Fault(of("PUT", "manifest.json"), "status", 500),
        Fault(of("HEAD", "train-00001"), "slow", 0.2),
        Fault(of("DELETE"), "status", 500),
    ]
    with server.faulty(*faults):
        packsort.write_shards(table(), out, **OPTIONS)
        assert not server.faults
    assert objects(out) == local


@pytest.mark.parametrize(
    "fault",
    [
        Fault(of("PUT", "train-00002"), "status", 403, times=99),
        Fault(of("PUT", "train-00002"), "status", 503, times=99),
        Fault(of("HEAD", "train-00002"), "lie", 7, times=99),
        Fault(of("PUT", "manifest.json"), "reset", times=99),
    ],
    ids=lambda fault: f"{fault.kind}-{fault.value}",
)
def test_a_failed_run_leaves_no_manifest_and_the_same_call_goes_on(
    server: FaultyServer, out: str, local: dict[str, bytes], fault: Fault
) -> None:
    with server.faulty(fault), pytest.raises(OutputError, match=f"cannot write `{out}") as caught:
        packsort.write_shards(table(), out, **OPTIONS)
    assert "is unfinished; the same call goes on with the" in caught.value.__notes__[0]
    assert "manifest.json" not in objects(out)
    assert all(content == local[name] for name, content in objects(out).items() if RUN_FOLDER not in name)
    with pytest.raises(OutputExistsError, match="a run of another source or other options"):
        packsort.write_shards(table(), out, max_length=100)
    with server.faulty():
        packsort.write_shards(table(), out, **OPTIONS)
        again = {
            one.path for one in server.log if one.method == "PUT" and "train-" in one.path and ".json" not in one.path
        }
    assert objects(out) == local
    assert not any("train-00000" in path for path in again)


def test_a_run_that_fails_before_its_first_object_leaves_nothing(server: FaultyServer, out: str) -> None:
    with server.faulty(Fault(of("PUT", "train-"), "status", 403, times=99)), pytest.raises(OutputError):
        packsort.write_shards(table(), out, **OPTIONS)
    assert not objects(out)
    with pytest.raises(SourceError):
        packsort.write_shards(pa.table({"input_ids": pa.array([], pa.list_(pa.int32()))}), out, **OPTIONS)
    assert not objects(out)


@pytest.mark.parametrize("killed_at", ["train-00002", "manifest.json"])
def test_the_same_command_goes_on_after_a_kill(
    server: FaultyServer, out: str, local: dict[str, bytes], tmp_path: Path, killed_at: str
) -> None:
    check_a_kill(server, of("PUT", killed_at), out, local, tmp_path)


# A signal between the opening of a file and the block that closes it leaves the file to its finalizer.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_an_interrupted_command_says_what_stays(server: FaultyServer, out: str, run: Run, tmp_path: Path) -> None:
    pq.write_table(table(), rows := tmp_path / "rows.parquet")
    fault = Fault(of("PUT", "train-00002"), "call", lambda: os.kill(os.getpid(), signal.SIGINT))
    with server.faulty(fault):
        done = run("pack", rows, "-o", out, "--max-length", 512, "--shard-size", 30_000)
    assert done.returncode == 130
    assert done.stderr.endswith(f"error: interrupted, `{out}` is unfinished; the same command goes on with it\n")
    assert "manifest.json" not in objects(out)


def _download(objects: dict[str, bytes], folder: Path) -> Path:
    folder.mkdir()
    for name, content in objects.items():
        (folder / name).write_bytes(content)
    return folder


def test_another_run_takes_over_only_with_overwrite(server: FaultyServer, out: str, local: dict[str, bytes]) -> None:
    with server.faulty(Fault(of("PUT", "manifest.json"), "status", 403, times=99)), pytest.raises(OutputError):
        packsort.write_shards(table().slice(0, 900), out, **OPTIONS, seed=7)
    packsort.write_shards(table(), out, **OPTIONS, overwrite=True)
    assert objects(out) == local


def _older(out: str) -> dict[str, bytes]:
    """Write another packing, of more shards, and return its objects."""
    packsort.write_shards(table(), out, max_length=100, shard_size=20_000, seed=7)
    return objects(out)


def test_a_packing_that_is_replaced_stays_until_the_new_objects_are_there(
    server: FaultyServer, out: str, local: dict[str, bytes]
) -> None:
    old = _older(out)
    assert len(old) > len(local)
    with pytest.raises(OutputExistsError, match="is not empty; pass overwrite=True to replace it"):
        packsort.write_shards(table(), out, **OPTIONS)
    with server.faulty():
        packsort.write_shards(table(), out, **OPTIONS, overwrite=True)
        steps = [f"{one.method} {one.path}" for one in server.log if one.method in ("PUT", "DELETE")]
    assert objects(out) == local
    key = out.removeprefix("s3://")
    gone = steps.index(f"DELETE {key}/manifest.json")
    places = [step.removeprefix(f"PUT {key}/").partition("?")[0] for step in steps if step.startswith("PUT")]
    before = [step.removeprefix(f"PUT {key}/").partition("?")[0] for step in steps[:gone]]
    assert all(name.startswith(RUN_FOLDER) for name in before)
    assert {f"{RUN_FOLDER}/new/{name}" for name in local if name != "manifest.json"} <= set(before)
    assert places[-1] == "manifest.json"


def test_a_replacement_that_fails_leaves_the_old_packing_and_goes_on(
    server: FaultyServer, out: str, local: dict[str, bytes], tmp_path: Path
) -> None:
    old = _older(out)
    with server.faulty(Fault(of("PUT", "new/train-00001"), "status", 403, times=99)), pytest.raises(OutputError):
        packsort.write_shards(table(), out, **OPTIONS, overwrite=True)
    assert len(packsort.open_shards(out, cache_dir=tmp_path / "cache")[:])
    left = objects(out)
    assert {name: left[name] for name in left if not name.startswith(RUN_FOLDER)} == old
    with pytest.raises(OutputExistsError, match="a run of another source or other options"):
        packsort.write_shards(table().slice(0, 900), out, **OPTIONS)
    with server.faulty():
        packsort.write_shards(table(), out, **OPTIONS, overwrite=True)
        again = [one.path for one in server.log if one.method == "PUT" and "new/train-00000" in one.path]
    assert not again
    assert objects(out) == local


@pytest.mark.parametrize("failing", ["/train-00001", "/manifest.json"])
@pytest.mark.parametrize("same", [True, False])
def test_a_replacement_that_stops_on_its_way_to_its_place_is_completed(
    server: FaultyServer, out: str, local: dict[str, bytes], failing: str, same: bool
) -> None:
    _older(out)
    key = f"{out.removeprefix('s3://')}{failing}"
    fault = Fault(lambda request: request.method == "PUT" and request.path.startswith(key), "status", 403, times=99)
    first = table() if same else table().slice(0, 900)
    with server.faulty(fault), pytest.raises(OutputError):
        packsort.write_shards(first, out, **OPTIONS, overwrite=True)
    assert "manifest.json" not in objects(out)
    packsort.write_shards(table(), out, **OPTIONS, overwrite=True)
    assert objects(out) == local


def test_who_reads_a_packing_that_is_replaced_gets_an_error_and_no_mixture(
    server: FaultyServer, out: str, tmp_path: Path
) -> None:
    _older(out)
    shards = packsort.open_shards(out, cache_dir=tmp_path / "cache")
    packsort.write_shards(table(), out, **OPTIONS, overwrite=True)
    with pytest.raises(DamagedError, match=r"`s3://out/.*train-.*key does not exist"):
        list(shards)


def test_what_others_wrote_is_never_replaced(server: FaultyServer, out: str) -> None:
    theirs = "which packsort did not write"
    Store().put(f"{out}/notes.txt", b"mine")
    with pytest.raises(OutputExistsError, match=rf"holds `notes.txt`, {theirs}"):
        packsort.write_shards(table(), out, **OPTIONS, overwrite=True)
    Store().delete([f"{out}/notes.txt"])
    old = _older(out)
    for name in ("notes.txt", "train-00000-of-00001.parquet"):
        Store().put(f"{out}/{name}", b"mine")
        with pytest.raises(OutputExistsError, match=rf"holds `{name}`, {theirs}"):
            packsort.write_shards(table(), out, **OPTIONS, overwrite=True)
        Store().delete([f"{out}/{name}"])
    assert objects(out) == old
    Store().put(f"{out}/manifest.json", b'{"format": "other"}')
    with pytest.raises(OutputExistsError, match=theirs):
        packsort.write_shards(table(), out, **OPTIONS, overwrite=True)
    with pytest.raises(OutputError, match=r"cannot write `s3://no-such-bucket/x`.*bucket does not exist"):
        packsort.write_shards(table(), "s3://no-such-bucket/x", **OPTIONS)


def test_one_of_two_runs_that_begin_together_is_refused(server: FaultyServer, out: str) -> None:
    theirs = Fault(
        lambda request: request.method == "PUT" and request.path.endswith("run.json"),
        "call",
        lambda: Store().put(f"{out}/{RUN_FOLDER}/run.json", b'"other"'),
    )
    with server.faulty(theirs), pytest.raises(OutputError, match="another process is writing to"):
        packsort.write_shards(table(), out, **OPTIONS)


def test_large_objects_are_written_in_parts_and_parts_of_failures_are_removed(
    server: FaultyServer, out: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "PART_BYTES", 5 << 20)
    table = pa.table({"input_ids": [list(range(1024))] * 3000})

    def is_third_part(request: Request) -> bool:
        return request.method == "PUT" and "partNumber=3" in request.path

    with server.faulty(Fault(is_third_part, "status", 403, times=99)), pytest.raises(OutputError):
        packsort.write_shards(table, out, 1024)
    assert not _unfinished_uploads(server)
    assert not objects(out)
    with server.faulty(Fault(is_third_part, "status", 500)):
        packsort.write_shards(table, out, 1024)
        assert any("partNumber=2" in request.path for request in server.log)
    assert len(objects(out)) == 2


def test_parts_of_a_killed_run_are_removed_by_the_next(server: FaultyServer, out: str) -> None:
    filesystem = Store().filesystem(out)[0]
    with server.faulty(Fault(of("PUT", "manifest.json"), "status", 403, times=99)), pytest.raises(OutputError):
        packsort.write_shards(table(), out, **OPTIONS)
    key = out.removeprefix("s3://out/")
    filesystem.call_s3("create_multipart_upload", Bucket="out", Key=f"{key}/train-00000-of-00001.arrow")
    filesystem.call_s3("create_multipart_upload", Bucket="out", Key=f"{key}-others/a")
    packsort.write_shards(table(), out, **OPTIONS)
    assert _unfinished_uploads(server) == [f"{key}-others/a"]


def test_nothing_is_left_in_the_temporary_folder(
    server: FaultyServer, out: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    packsort.write_shards(table(), out, **OPTIONS)
    with pytest.raises(OutputExistsError):
        packsort.write_shards(table(), out, **OPTIONS)
    assert not list(tmp_path.iterdir())


def test_single_objects_and_folders_of_other_commands(
    server: FaultyServer, out: str, run: Run, tmp_path: Path, tokenizer_folder: Path
) -> None:
    pq.write_table(table(), rows := tmp_path / "rows.parquet")
    assert run("plan", rows, "--max-length", 512, "-o", f"{out}/a.plan").returncode == 0
    assert packsort.load_plan(f"{out}/a.plan").fingerprint == packsort.plan(_lengths(), 512, seed=0).fingerprint
    refused = run("plan", rows, "--max-length", 512, "-o", f"{out}/a.plan")
    assert refused.returncode == 1
    assert "exists; pass overwrite=True" in refused.stderr
    assert run("plan", rows, "--max-length", 512, "-o", f"{out}/a.plan", "--overwrite").returncode == 0
    packsort.write_shards(rows, tmp_path / "packed", 512)
    done = run("export", tmp_path / "packed", "-o", f"{out}/trl", "--format", "trl")
    assert done.returncode == 0, done.stderr
    packsort.export(tmp_path / "packed", tmp_path / "trl", format="trl")
    assert objects(f"{out}/trl") == {path.name: path.read_bytes() for path in (tmp_path / "trl").iterdir()}
    (tmp_path / "text.jsonl").write_text('{"text": "hello"}\n')
    tokenize = ["tokenize", tmp_path / "text.jsonl", "--tokenizer", tokenizer_folder]
    for end in ("tokens", "tokens.parquet"):
        done = run(*tokenize, "-o", f"{out}/{end}")
        assert done.returncode == 0, done.stderr
        assert run(*tokenize, "-o", tmp_path / end).returncode == 0
    assert objects(f"{out}/tokens") == {"text.parquet": (tmp_path / "tokens" / "text.parquet").read_bytes()}
    assert Store().info(f"{out}/tokens.parquet").size == (tmp_path / "tokens.parquet").stat().st_size


def test_tokenizing_goes_on_with_the_files_that_are_there(
    server: FaultyServer, out: str, run: Run, tmp_path: Path, tokenizer_folder: Path
) -> None:
    for name in "abc":
        (tmp_path / f"{name}.jsonl").write_text('{"text": "hello world"}\n')
    command = ["tokenize", tmp_path, "--tokenizer", tokenizer_folder, "-o", out]
    with server.faulty(Fault(of("PUT", "c.parquet"), "status", 403, times=99)):
        failed = run(*command)
    assert failed.returncode == 1
    assert "is unfinished; the same call goes on with the 2 files there" in failed.stderr
    with server.faulty():
        assert run(*command).returncode == 0
        assert not [one for one in server.log if one.method == "PUT" and "a.parquet" in one.path]
    assert set(objects(out)) == {"a.parquet", "b.parquet", "c.parquet"}


def _lengths() -> list[int]:
    return [1 + row % 50 for row in range(1000)]


def test_other_stores_are_written_through_fsspec(local: dict[str, bytes]) -> None:
    packsort.write_shards(table().slice(0, 900), "memory://packed", **OPTIONS)
    packsort.write_shards(table(), "memory://packed", **OPTIONS, overwrite=True)
    assert objects("memory://packed") == local
