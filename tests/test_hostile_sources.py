"""Damaged token files, and what is no file at all, are refused by name: no crash, no foreign error, no endless wait."""

from __future__ import annotations

import os
import re
import signal
import socket
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import packsort
from faults import trials
from faults.commits import memory
from packsort.errors import DamagedError, LengthError, OptionError, SourceError, TokenizerError
from packsort.torch import PackedLoader

REPEATS = int(os.environ.get("PACKSORT_REPEATS", "1"))
ROWS = 4


def test_changed_files_are_refused_or_read_right(tmp_path: Path) -> None:
    """`trials` tells what it does; `make faults` does it a hundred times as often."""
    folder = tmp_path if memory() is None else memory() / f"packsort-sources-{os.getpid()}"
    folder.mkdir(exist_ok=True)
    try:
        outcomes = list(trials.run(range(200 * REPEATS), folder))
    finally:
        trials.remove(folder)
    counts = Counter("wrong" if outcome.is_wrong else outcome.found for outcome in outcomes)
    assert [outcome for outcome in outcomes if outcome.is_wrong] == []
    assert counts.total() == 200 * REPEATS
    assert counts["taken"] > counts.total() / 10
    assert counts["refused"] > counts.total() / 10


def damaged(kind: str) -> pa.Array:
    """A column that ends a process that trusts it."""
    texts = pa.array(["a", "b", "a", "b"])
    if kind == "offsets of text":
        offsets = pa.py_buffer(np.array([0, 1, 2**30, 2, 3], np.int32))
        return pa.Array.from_buffers(pa.string(), ROWS, [None, offsets, pa.py_buffer(b"aba")])
    if kind == "text that is not UTF-8":
        return pa.Array.from_buffers(pa.string(), ROWS, [None, texts.buffers()[1], pa.py_buffer(b"a\xff\xffb")])
    if kind == "indices":
        return pa.DictionaryArray.from_arrays(pa.array([0, 1, 10**6, 0], pa.int32()), ["a", "b"], safe=False)
    if kind == "offsets of lists":
        offsets = pa.py_buffer(np.array([0, 1, 2**30, 2, 3], np.int32))
        return pa.Array.from_buffers(
            pa.list_(pa.int32()), ROWS, [None, offsets], children=[pa.array([1, 2, 3], pa.int32())]
        )
    if kind == "views of lists":
        return pa.ListViewArray.from_arrays(
            pa.array([0, 1, 2**30, 2], pa.int32()), [1, 1, 1, 1], pa.array([1, 2, 3], pa.int32())
        )
    assert kind == "messages"
    offsets = pa.py_buffer(np.array([0, 1, 2**30, 2, 3], np.int32))
    turns = pa.array([{"role": "user", "content": "?"}] * 3)
    return pa.Array.from_buffers(pa.list_(turns.type), ROWS, [None, offsets], children=[turns])


KINDS = ["offsets of text", "text that is not UTF-8", "indices", "offsets of lists", "views of lists", "messages"]


@pytest.mark.parametrize("kind", KINDS)
def test_columns_that_break_the_rules_of_arrow_are_refused_wherever_they_are_used(kind: str) -> None:
    column = damaged(kind)
    rows = pa.table({"input_ids": [[1, 2], [3], [4], [5]], "given": column})
    doors: list[tuple[Callable[[], Any], str]] = [
        (lambda: packsort.plan([1] * ROWS, 9, groups=column), "groups must be a column of values"),
        (lambda: packsort.plan([1] * ROWS, 9, alone=column), "alone must be a column of values"),
        (lambda: packsort.plan([1] * ROWS, 9, strategy="hybrid", splittable=column), "splittable must be a column"),
        (lambda: packsort.plan([1] * ROWS, 9, piece_starts=column), "piece_starts must be a column of values"),
        (lambda: packsort.compare([1] * ROWS, 9, turns=column), "turns must be a column of integers"),
        (lambda: packsort.plan(column, 9), "lengths must be integers.*damaged"),
        (
            lambda: packsort.pack(rows, 9, groups="given"),
            "row 0 and after: column `given` is damaged|row 1: column `given` is not valid UTF-8",
        ),
        (
            lambda: packsort.pack(rows, 9, keep=["given"]),
            "row 0 and after: column `given` is damaged|row 1: column `given` is not valid UTF-8",
        ),
        (
            lambda: packsort.compare(rows, 9, turns="given"),
            "row 0 and after: column `given` is damaged|row 1: column `given` is not valid UTF-8",
        ),
        (
            lambda: PackedLoader(rows, 9, alone="given"),
            "row 0 and after: column `given` is damaged|row 1: column `given` is not valid UTF-8",
        ),
    ]
    for call, words in doors:
        with pytest.raises((OptionError, SourceError, LengthError), match=words):
            call()


@pytest.mark.parametrize("name", ["messages", "prompt", "text"])
def test_rows_to_tokenize_are_checked_before_they_are_rendered(name: str, tokenizer: object) -> None:
    column = damaged("messages" if name == "messages" else "offsets of text")
    rows = pa.table({name: column, **({"completion": ["a"] * ROWS} if name == "prompt" else {})})
    for call in (
        lambda *given: list(packsort.tokenize(*given)),
        lambda rows, tokenizer: packsort.pack(rows, 9, tokenizer=tokenizer),
    ):
        with pytest.raises(SourceError, match=f"`<table>` row 0 and after: column `{name}` is damaged"):
            call(rows, tokenizer)


def test_rows_that_a_dataset_selects_are_checked_before_they_are_taken() -> None:
    import datasets

    rows = pa.table({"input_ids": [[1, 2], [3], [4], [5]], "given": damaged("offsets of text")})
    whole = datasets.Dataset(datasets.table.InMemoryTable(rows), fingerprint="0")
    numbers = datasets.table.InMemoryTable(pa.table({"indices": pa.array([3, 0], pa.uint64())}))
    chosen = datasets.Dataset(whole.data, indices_table=numbers, fingerprint="1")
    with pytest.raises(SourceError, match="column `given` is damaged"):
        packsort.pack(chosen, 9, groups="given")
    assert packsort.pack(chosen, 9).num_rows == 1
    numbers = datasets.table.InMemoryTable(pa.table({"indices": pa.array([3, 10**9], pa.uint64())}))
    with pytest.raises(SourceError, match="selects rows up to 1,000,000,000 of a table with 4 rows"):
        packsort.pack(datasets.Dataset(whole.data, indices_table=numbers, fingerprint="2"), 9)


def tokens(path: Path) -> Path:
    """Write token rows, and return the file."""
    table = pa.table({"input_ids": pa.array([[1, 2], [3], [4, 5, 6]], pa.list_(pa.int32())), "kind": ["a", "b", "c"]})
    if path.suffix == ".parquet":
        pq.write_table(table, path)
    else:
        with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, table.schema) as writer:
            writer.write_table(table)
    return path


@pytest.mark.parametrize("suffix", ["arrow", "parquet"])
@pytest.mark.parametrize("name", [b"item", b"element", b"input_ids", b"kind"])
def test_names_that_are_not_utf8_are_refused(suffix: str, name: bytes, tmp_path: Path) -> None:
    path = tokens(tmp_path / f"rows.{suffix}")
    content = path.read_bytes()
    if name not in content:
        assert {name, suffix.encode()} in ({b"item", b"parquet"}, {b"element", b"arrow"})
        return
    path.write_bytes(content.replace(name, b"\xff" + name[1:]))
    for call in (packsort.pack, packsort.compare, PackedLoader):
        with pytest.raises(
            SourceError, match=r"rows\.\w+` is not a readable (Arrow|Parquet) file: a name .* not UTF-8"
        ):
            call(path, 9)


def test_less_than_no_rows_are_refused(tmp_path: Path) -> None:
    table = pa.table({"input_ids": pa.array([[1]] * 77, pa.list_(pa.int32()))})
    path = tmp_path / "rows.arrow"
    with pa.ipc.new_file(path, table.schema) as writer:
        writer.write_table(table)
    content, said = path.read_bytes(), []
    for at in (one.start() for one in re.finditer(re.escape((77).to_bytes(8, "little")), content)):
        path.write_bytes(content[:at] + (-5).to_bytes(8, "little", signed=True) + content[at + 8 :])
        with pytest.raises(SourceError, match=r"rows\.arrow`") as refused:
            packsort.pack(path, 9)
        said.append(str(refused.value))
    assert any("is damaged: it says that it has -5 rows" in one for one in said), said


def test_a_wrong_number_of_rows_is_noticed(tmp_path: Path) -> None:
    table = pa.table({"input_ids": pa.array([[1]] * 77, pa.list_(pa.int32()))})
    pq.write_table(table, tmp_path / "rows.parquet", store_schema=False)
    content = (tmp_path / "rows.parquet").read_bytes()
    seen = 0
    for at in (one.start() for one in re.finditer(re.escape(b"\x16\x9a\x01"), content)):  # 77, as Thrift writes it
        (tmp_path / "rows.parquet").write_bytes(content[:at] + b"\x16\x9c\x01" + content[at + 3 :])
        if pq.ParquetFile(tmp_path / "rows.parquet").metadata.num_rows == 77:
            continue
        seen += 1
        for call in (packsort.pack, packsort.compare, PackedLoader):
            with pytest.raises(SourceError, match=r"rows\.parquet`"):
                call(tmp_path / "rows.parquet", 9)
    assert seen


def test_compare_takes_no_memory_by_a_length(tmp_path: Path) -> None:
    for length in (2**50, 2**63 + 5):
        pq.write_table(pa.table({"length": pa.array([3, length], pa.uint64())}), tmp_path / "rows.parquet")
        for overlong in ("truncate", "drop"):
            with pytest.raises(LengthError, match=rf"rows\.parquet` row 1 has length {length:,}, more than"):
                packsort.compare(tmp_path / "rows.parquet", 16, overlong=overlong)
    assert packsort.compare([2**20, 3], 16, batch_size=1, world_size=1)[16]["random"].rows == 2**16 + 1


@pytest.mark.parametrize("suffix", ["arrow", "parquet"])
def test_errors_about_columns_name_the_file(suffix: str, tmp_path: Path, run: Any) -> None:
    path = tokens(tmp_path / f"rows.{suffix}")
    for call in (
        lambda: packsort.pack(path, 9, keep=["none"]),
        lambda: packsort.pack(path, 9, groups="none"),
        lambda: packsort.pack(path, 9, alone="kind"),
        lambda: packsort.pack(path, 9, columns={"tokens": "input_ids"}),
        lambda: packsort.compare(path, 9, turns="none"),
        lambda: packsort.compare(path, 9, columns={"tokens": "input_ids"}),
        lambda: PackedLoader(path, 9, columns={"tokens": "input_ids"}),
    ):
        with pytest.raises((SourceError, OptionError), match=re.escape(f"`{path}`: ")):
            call()
    assert f"`{path}`: " in run("plan", path, "--max-length", 9, "--columns", "tokens=input_ids").stderr


@pytest.fixture
def deadline() -> Iterator[None]:
    """Ends what waits for ever."""

    def late(*_: object) -> None:
        raise TimeoutError("nobody ever writes into the pipe")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(20)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def pipe(path: Path) -> None:
    path.unlink(missing_ok=True)
    os.mkfifo(path)


def listener(path: Path) -> None:
    path.unlink(missing_ok=True)
    here = os.getcwd()
    os.chdir(path.parent)  # the path of a socket may be short only
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(path.name)
    os.chdir(here)


@pytest.mark.usefixtures("deadline")
@pytest.mark.parametrize("make", [pipe, listener])
def test_pipes_and_sockets_are_not_waited_for(
    make: Callable[[Path], None], tmp_path: Path, tokenizer_folder: Path
) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    tokens(folder / "rows.arrow")
    for name in ("manifest.json", "state.json", "README.md", "pipe.arrow", "dataset_info.json"):
        make(folder / name)
    assert packsort.pack(folder, 9).num_rows == 1
    assert packsort.pack(str(folder / "*.arrow"), 9).num_rows == 1
    for call in (packsort.pack, PackedLoader, packsort.compare):
        with pytest.raises(SourceError, match="is a pipe or a device: pass a file"):
            call(folder / "pipe.arrow", 9)
    make(tmp_path / "plan.arrow")
    with pytest.raises(DamagedError, match=r"plan\.arrow` is not a saved plan: it is no regular file"):
        packsort.load_plan(tmp_path / "plan.arrow")
    copy = tmp_path / "tokenizer"
    copy.mkdir()
    for file in tokenizer_folder.iterdir():
        (copy / file.name).write_bytes(file.read_bytes())
    make(copy / "tokenizer.json")
    with pytest.raises(TokenizerError, match=r"tokenizer\.json` is no regular file"):
        packsort.pack(pa.table({"text": ["a"]}), 9, tokenizer=copy)


@pytest.mark.usefixtures("deadline")
@pytest.mark.parametrize("format", ["arrow", "parquet"])
def test_pipes_among_shards_and_outputs_are_not_waited_for(format: Any, tmp_path: Path) -> None:
    packsort.write_shards(tokens(tmp_path / "rows.arrow"), tmp_path / "packed", 9, format=format)
    shard = tmp_path / "packed" / f"train-00000-of-00001.{format}"
    pipe(shard)
    with pytest.raises(DamagedError, match=f"`{shard}` is missing"):
        packsort.open_shards(tmp_path / "packed")
    (tmp_path / "packed" / "manifest.json").unlink()
    with pytest.raises(packsort.OutputError, match="packed"):
        packsort.write_shards(tmp_path / "rows.arrow", tmp_path / "packed", 9, format=format, overwrite=True)
    (tmp_path / "exported").mkdir()
    pipe(tmp_path / "exported" / "train-00000-of-00001.parquet")
    packsort.write_shards(tmp_path / "rows.arrow", tmp_path / "again", 9)
    with pytest.raises(packsort.OutputError, match="exported"):
        packsort.export(tmp_path / "again", tmp_path / "exported", format="trl", overwrite=True)


@pytest.mark.parametrize(
    "text",
    [b"[" * 10**6, b'{"_data_files": [{"filename": 3}, {"filename": "a"}]}', b'{"_data_files": [{"filename": []}]}'],
)
def test_hostile_json_beside_data_is_nobodys_dataset(text: bytes, tmp_path: Path) -> None:
    tokens(tmp_path / "rows.arrow")
    for name in ("manifest.json", "state.json"):
        (tmp_path / name).write_bytes(text)
    assert packsort.pack(tmp_path, 9).num_rows == 1


def test_hostile_yaml_in_a_readme_is_refused(tmp_path: Path) -> None:
    tokens(tmp_path / "rows.arrow")
    bomb = "a0: &a0 [x, x]\n" + "".join(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]\n" for n in range(1, 40))
    for header in (
        bomb + "configs: [{config_name: *a39, data_files: rows.arrow}]",
        bomb + "configs: [{config_name: one, data_dir: *a39}]",
        "configs: [{config_name: 2024-99-99, data_files: rows.arrow}]",
        "data_files: " + "[" * 500,
    ):
        (tmp_path / "README.md").write_text(f"---\n{header}\n---\n")
        with pytest.raises(SourceError, match=r"README\.md` does not declare its files as the Hub wants it"):
            packsort.pack(tmp_path, 9)
