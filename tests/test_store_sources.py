"""Rows in object stores: found, read by ranges, and never short in silence."""

from __future__ import annotations

import gzip
import io
import json
import pickle
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fsspec.registry import _registry

import packsort
from commands import Run
from fake_hub import hub
from packsort._options.input import InputConfig
from packsort._stores import Store
from packsort.errors import OptionError, SourceError, SourceNotFoundError
from packsort.sources.source import open_source
from packsort.torch import PackedDataset, PackedLoader
from s3_server import Fault, FaultyServer, of, only_own_retries, started

ROWS = 500


@pytest.fixture(scope="module")
def server() -> Iterator[FaultyServer]:
    with started(bucket="rows") as running:
        for name, content in _objects().items():
            Store().put(f"s3://rows/{name}", content)
        yield running


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    only_own_retries(monkeypatch)


def _table(width: int = 20) -> pa.Table:
    ids = [[(7 * row + token) % 1000 for token in range(1 + row % 50)] for row in range(ROWS)]
    return pa.table({"input_ids": ids, "notes": [f"{row:0>{width}}" for row in range(ROWS)]})


def _objects() -> dict[str, bytes]:
    table = _table()
    parquet, arrow, stream = io.BytesIO(), io.BytesIO(), io.BytesIO()
    pq.write_table(table, parquet, compression="none", use_dictionary=False, row_group_size=200)
    with pa.ipc.new_file(arrow, table.schema) as writer:
        writer.write_table(table, max_chunksize=200)
    with pa.ipc.new_stream(stream, table.schema) as writer:
        writer.write_table(table, max_chunksize=200)
    lines = b"".join(json.dumps({"input_ids": row}).encode() + b"\n" for row in table["input_ids"].to_pylist())
    return {
        "a.parquet": parquet.getvalue(),
        "a.arrow": arrow.getvalue(),
        "a.arrows": stream.getvalue(),
        "a.jsonl": lines,
        "a.jsonl.gz": gzip.compress(lines, 1),
        "text/a.csv": b"text\nhello\nworld\n",
        "set/data/train-00000-of-00002.parquet": parquet.getvalue(),
        "set/data/train-00001-of-00002.parquet": parquet.getvalue(),
        "set/data/test-00000-of-00001.parquet": parquet.getvalue(),
        "set/README.md": b"# A data set\n",
        "set/.cache/x.parquet": b"",
        "set/_SUCCESS": b"",
        "delta/_delta_log/0.json": b"{}",
        "delta/part.parquet": parquet.getvalue(),
        "double//a.jsonl": b"{}",
    }


@pytest.fixture(scope="module")
def expected() -> pa.Table:
    return packsort.pack(_table(), 512)


@pytest.mark.parametrize("name", ["a.parquet", "a.arrow", "a.arrows", "a.jsonl", "a.jsonl.gz"])
def test_every_format_gives_the_packs_of_the_same_rows_in_memory(
    server: FaultyServer, expected: pa.Table, name: str
) -> None:
    assert packsort.pack(f"s3://rows/{name}", 512).equals(expected)


def test_folders_and_patterns_follow_the_rules_of_a_disk(server: FaultyServer, tmp_path: Path) -> None:
    for name, content in _objects().items():
        if name.startswith("set/"):
            target = tmp_path / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)
    for end, split in (("set", "train"), ("set", "all"), ("set/data/*.parquet", "test"), ("set/**/train*", None)):
        config = InputConfig(split=split)
        here, there = (open_source(f"{top}/{end}", config) for top in (tmp_path, "s3://rows"))
        assert [(one.path.replace("s3://rows", str(tmp_path)), one.rows, one.split) for one in there.files] == [
            (one.path, one.rows, one.split) for one in here.files
        ]
        skipped = {(one.path.replace("s3://rows", str(tmp_path)), one.reason) for one in there.skipped}
        assert {one for one in skipped if not one[0].endswith("/")} == {
            (one.path, one.reason) for one in here.skipped if not one.path.endswith("/")
        }
    with pytest.raises(SourceError, match=r"`s3://rows/set` has the splits `train` \(1,000 rows\), `test` \(500 rows"):
        open_source("s3://rows/set")


def test_parquet_and_arrow_read_the_columns_that_are_needed(server: FaultyServer) -> None:
    table = _table(10_000)
    parquet, arrow = io.BytesIO(), io.BytesIO()
    pq.write_table(table, parquet, compression="none", use_dictionary=False, row_group_size=200)
    with pa.ipc.new_file(arrow, table.schema) as writer:
        writer.write_table(table, max_chunksize=200)
    for name, file in (("wide.parquet", parquet), ("wide.arrow", arrow)):
        Store().put(f"s3://rows/{name}", file.getvalue())
        with server.faulty():
            packsort.pack(f"s3://rows/{name}", 512)
        assert server.read(of=name) < 0.15 * len(file.getvalue()), name
        assert sum(name in request.path for request in server.log) < 20, name


@pytest.mark.parametrize(
    ("kind", "value"), [("status", 500), ("status", 503), ("reset", 0), ("truncated", 10), ("short", 1), ("slow", 0.1)]
)
@pytest.mark.parametrize("name", ["a.parquet", "a.jsonl.gz"])
def test_a_fault_in_passing_is_tried_again(
    server: FaultyServer, expected: pa.Table, kind: str, value: float, name: str
) -> None:
    with server.faulty(Fault(of("GET", name), kind, value, times=2), Fault(of("HEAD", name), "status", 503)):
        assert packsort.pack(f"s3://rows/{name}", 512).equals(expected)
        assert not server.faults


@pytest.mark.parametrize(
    ("method", "kind", "value", "words"),
    [
        ("GET", "status", 403, "cannot be read: permission denied"),
        ("GET", "status", 503, "cannot be read"),
        ("GET", "truncated", 10, "cannot be read"),
        ("GET", "short", 1, r"the store sent [\d,]+ bytes for the [\d,]+ from byte"),
        ("HEAD", "status", 403, "cannot be read: permission denied"),
    ],
)
@pytest.mark.parametrize("name", ["a.parquet", "a.arrows", "a.jsonl"])
def test_a_fault_that_stays_is_an_error_that_names_the_object(
    server: FaultyServer, method: str, kind: str, value: int, words: str, name: str
) -> None:
    stays = server.faulty(Fault(of(method, name), kind, value, times=1000))
    with stays, pytest.raises(SourceError, match=f"`s3://rows/{name}`.*{words}"):
        packsort.pack(f"s3://rows/{name}", 512)


@pytest.mark.parametrize("lie", [-100, 100])
@pytest.mark.parametrize("name", ["a.parquet", "a.arrow", "a.arrows", "a.jsonl", "a.jsonl.gz"])
def test_a_store_that_lies_about_a_size_gives_no_short_rows(server: FaultyServer, name: str, lie: int) -> None:
    lies = server.faulty(Fault(of("HEAD", name), "lie", lie, times=1000))
    with lies, pytest.raises(SourceError, match=f"`s3://rows/{name}`"):
        packsort.pack(f"s3://rows/{name}", 512)


@pytest.mark.parametrize("name", ["changed.parquet", "changed.jsonl", "changed.arrow"])
def test_an_object_that_changes_while_it_is_read_is_an_error(server: FaultyServer, name: str) -> None:
    content = _objects()[name.replace("changed", "a")]
    Store().put(f"s3://rows/{name}", content)
    middle = len(content) // 2
    other = content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]
    fault = Fault(of("GET", name), "call", lambda: Store().put(f"s3://rows/{name}", other))
    with server.faulty(fault), pytest.raises(SourceError, match=name):
        open_source(f"s3://rows/{name}").read(["input_ids"])


def test_what_is_not_there_is_named(server: FaultyServer) -> None:
    with pytest.raises(SourceNotFoundError, match="no object or folder `s3://rows/none`"):
        open_source("s3://rows/none")
    with pytest.raises(SourceNotFoundError, match=r"no file matches `s3://rows/none\*`"):
        open_source("s3://rows/none*")
    with pytest.raises(SourceNotFoundError, match="no bucket `nothing-here`"):
        open_source("s3://nothing-here/a.parquet")
    with pytest.raises(SourceError, match="is a Delta table"):
        open_source("s3://rows/delta")
    with pytest.raises(SourceError, match="an empty part or a dot"):
        open_source("s3://rows/double")
    with pytest.raises(SourceError, match="no library reads `nfs4://`"):
        open_source("nfs4://host/a.parquet")
    with pytest.raises(OptionError, match=r"a URL must be a str, got a PosixPath.*'s3://rows/a.parquet'"):
        open_source(Path("s3://rows/a.parquet"))


def test_storage_options_are_those_of_fsspec_and_are_not_shown(
    server: FaultyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_ENDPOINT_URL", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    options = {"key": "a-key", "secret": "a-secret", "endpoint_url": server.url}
    config = InputConfig(storage_options=options)
    source = open_source("s3://rows/a.parquet", config)
    assert source.num_rows == ROWS
    assert pickle.loads(pickle.dumps(source)).read(["input_ids"]).num_rows == ROWS
    assert "secret" not in repr(config)
    assert packsort.pack("s3://rows/a.parquet", 512, storage_options=options).num_rows
    with pytest.raises(OptionError, match="storage_options must map names"):
        InputConfig(storage_options=[])  # type: ignore[arg-type]


def test_commands_take_urls(server: FaultyServer, run: Run, tmp_path: Path) -> None:
    done = run("pack", "s3://rows/set", "--split", "train", "-o", tmp_path / "packed", "--max-length", 512)
    assert done.returncode == 0, done.stderr
    checked = run("verify", tmp_path / "packed", "--source", "s3://rows/set")
    assert checked.returncode == 0, checked.stderr
    assert run("plan", "s3://rows/a.parquet", "--max-length", 512).returncode == 0
    assert run("compare", "s3://rows/a.parquet", "--max-length", 512).returncode == 0
    shown = run("inspect", "--rows", "s3://rows/a.parquet")
    assert shown.returncode == 0, shown.stderr
    assert run("pack", "s3://rows/none", "-o", tmp_path / "x", "--max-length", 8).returncode == 1


def test_loaders_and_datasets_pack_rows_of_a_store_on_the_fly(server: FaultyServer) -> None:
    for source in ("s3://rows/a.parquet", "s3://rows/a*.parquet", "s3://rows/set/data/train*"):
        table = open_source(source).read(["input_ids"])
        there, here = (PackedLoader(one, max_length=512, batch_size=8) for one in (source, table))
        for one, other in zip(there, here, strict=True):
            assert one["input_ids"].tolist() == other["input_ids"].tolist()
    dataset = PackedDataset("s3://rows/a.parquet", 512)
    assert len(pickle.loads(pickle.dumps(dataset))) == len(dataset)


def test_text_of_a_store_is_tokenized(server: FaultyServer, tokenizer_folder: Path) -> None:
    here, there = (
        pa.concat_tables(packsort.tokenize(source, tokenizer_folder))
        for source in (pa.table({"text": ["hello", "world"]}), "s3://rows/text/a.csv")
    )
    assert here.equals(there)


def test_other_stores_are_read_through_fsspec(tmp_path: Path) -> None:
    for name, content in _objects().items():
        if name.startswith("set/"):
            Store().put(f"memory://{name}", content)
    assert open_source("memory://set", InputConfig(split="train")).num_rows == 2 * ROWS
    file = tmp_path / "a b.jsonl"
    file.write_bytes(_objects()["a.jsonl"])
    assert open_source(f"file://{tmp_path}/a%20b.jsonl").num_rows == ROWS


def test_files_of_the_hub_are_read_by_ranges() -> None:
    files = {name.removeprefix("set/"): content for name, content in _objects().items() if name.startswith("set/")}
    with hub(files) as (address, ranges):
        options = {"endpoint": address}
        for end, split, rows in (
            ("data/train-00000-of-00002.parquet", None, ROWS),
            ("data/test*", None, ROWS),
            ("", "train", 2 * ROWS),
        ):
            config = InputConfig(split=split, storage_options=options)
            source = open_source(f"hf://datasets/owner/name/{end}", config)
            assert source.read(["input_ids"]).num_rows == source.num_rows == rows
        assert "bytes=0-4095" in ranges
        for missing in ("datasets/owner/none/a.parquet", "datasets/owner/name/none"):
            with pytest.raises(SourceNotFoundError, match=f"no object or folder `hf://{missing}`"):
                open_source(f"hf://{missing}", InputConfig(storage_options=options))


@pytest.mark.parametrize(
    ("url", "package"), [("gs://bucket/a.parquet", "gcsfs"), ("abfs://box@account.dfs.core.windows.net/a", "adlfs")]
)
def test_stores_without_their_package_say_which_one(url: str, package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, package, None)  # as if it were not installed
    monkeypatch.delitem(_registry, url.partition("://")[0], raising=False)
    with pytest.raises(SourceError, match=f"needs {package}.*pip install {package}"):
        open_source(url)


def test_local_paths_import_no_fsspec(tmp_path: Path) -> None:
    file = tmp_path / "a.jsonl"
    file.write_text('{"input_ids": [1]}\n')
    code = f"import sys, packsort; packsort.pack({str(file)!r}, 8); assert 'fsspec' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
