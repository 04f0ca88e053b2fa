"""Packing within a memory limit: the same bytes as without one, the same errors, and refusals that name the way out."""

from __future__ import annotations

import os
import resource
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.ipc as ipc
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

import packsort
from packsort._checks import byte_size
from packsort._options.memory import available_memory, in_units
from packsort.shards import prepare, token_input
from packsort.shards.memory import MemoryUse
from token_rows import token_table

RUN = 3_000  # bytes, so that small sources take several runs


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture
def limited(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Return a `write_shards` that takes the way of sources bigger than memory, with runs of a few thousand bytes."""

    def write(source: Any, out: Path, *args: Any, run: int = RUN, shards: int = 2, **options: Any) -> packsort.Manifest:
        with monkeypatch.context() as small:
            small.setattr(token_input, "fits_in_memory", lambda *_: False)
            small.setattr(token_input, "most_token_bytes", lambda *_: run)
            small.setattr(prepare, "memory_use", lambda *_: MemoryUse(run, shards))
            return packsort.write_shards(source, out, *args, **options)

    return write


@st.composite
def sources(draw: st.DrawFn) -> list[pa.Table]:
    """Tables of several files: lists of several types, masks, padding, and columns that are not per token."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    kind = draw(st.sampled_from([pa.int32(), pa.int64(), pa.uint16()]))
    make_list = draw(st.sampled_from([pa.list_, pa.large_list]))
    extras = draw(st.sets(st.sampled_from(["labels", "weights", "answer", "padding", "mask", "turns", "length"])))
    tables = []
    for _ in range(draw(st.integers(1, 4))):
        lengths = rng.integers(1, draw(st.integers(2, 60)), draw(st.integers(1, 60)))
        flat = [rng.integers(0, 60_000, n) for n in lengths]
        columns: dict[str, Any] = {
            "input_ids": pa.array([row.tolist() for row in flat], make_list(kind)),
            "source": [f"s{i % 3}" for i in range(len(flat))],
            "alone": rng.random(len(flat)) < 0.1,
        }
        trained = [rng.random(len(row)) < 0.5 for row in flat]
        if "labels" in extras:
            rows = [np.where(t, row, -100).tolist() for t, row in zip(trained, flat, strict=True)]
            columns["labels"] = pa.array(rows, pa.list_(pa.int64()))
        elif "mask" in extras:
            columns["completion_mask"] = [t.astype(int).tolist() for t in trained]
        if "weights" in extras:
            columns["weights"] = pa.array([rng.random(len(row)).tolist() for row in flat], pa.list_(pa.float32()))
        if "answer" in extras:
            columns["answer"] = [t.tolist() for t in trained]
        if "padding" in extras:
            kept = [int(rng.integers(1, len(row) + 1)) for row in flat]
            columns["attention_mask"] = [[1] * k + [0] * (len(row) - k) for k, row in zip(kept, flat, strict=True)]
        if "turns" in extras:
            columns["turns"] = [[1, 2, 3]] * len(flat)
        if "length" in extras:
            columns["length"] = [len(row) for row in flat]
        tables.append(pa.table(columns))
    return tables


def write_source(tables: list[pa.Table], folder: Path, format: str, rows: int) -> None:
    folder.mkdir()
    for index, table in enumerate(tables):
        if format == "parquet":
            pq.write_table(table, folder / f"{index}.parquet", row_group_size=rows)
        else:
            with ipc.new_file(folder / f"{index}.arrow", table.schema) as writer:
                writer.write_table(table, max_chunksize=rows)


@given(
    sources(),
    st.sampled_from(["parquet", "arrow"]),
    st.sampled_from(["parquet", "arrow"]),
    st.integers(1, 40),
    st.integers(100, 20_000),
    st.fixed_dictionaries(
        {"overlong": st.sampled_from(["drop", "truncate", "split"]), "seed": st.sampled_from([None, 0, 7])},
        optional={
            "truncation_side": st.just("left"),
            "separator": st.just(5),
            "pad_to_multiple_of": st.sampled_from([4, 8]),
            "keep": st.just(["source", "alone"]),
            "groups": st.just("source"),
            "alone": st.just("alone"),
            "num_packs_multiple_of": st.just(3),
            "strategy": st.sampled_from(["bfd", "random", "padding", "hybrid"]),
        },
    ),
)
@pytest.mark.filterwarnings("ignore::UserWarning")  # of what is left out
@settings(
    max_examples=60,
    deadline=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_a_limit_changes_no_byte(
    limited: Any,
    tmp_path: Path,
    tables: list[pa.Table],
    stored: str,
    format: str,
    rows: int,
    run: int,
    options: dict[str, Any],
) -> None:
    shutil.rmtree(tmp_path)
    tmp_path.mkdir()
    if options["overlong"] != "truncate":
        options.pop("truncation_side", None)
    if options.get("strategy") in ("random", "hybrid"):
        options = {"strategy": options["strategy"], "seed": options["seed"]}
        if options["strategy"] == "hybrid":
            options["splittable"] = "alone"
            options["overlong"] = "drop"
    write_source(tables, tmp_path / "source", stored, rows)
    options |= {"format": format, "shard_size": "2kB"}
    found = [
        outcome(packsort.write_shards, tmp_path / "source", tmp_path / "free", 32, **options),
        outcome(limited, tmp_path / "source", tmp_path / "bound", 32, run=run, **options),
    ]
    assert found[0] == found[1]
    if not isinstance(found[0], str):
        assert files(tmp_path / "bound") == files(tmp_path / "free")
    assert {path.name for path in tmp_path.iterdir()} <= {"bound", "free", "source"}


def outcome(write: Any, *args: Any, **options: Any) -> packsort.Manifest | str:
    """Return the manifest of a call, or the words of its error."""
    try:
        manifest: packsort.Manifest = write(*args, **options)
    except packsort.PacksortError as error:
        return f"{type(error).__name__}: {error}"
    return manifest


@pytest.mark.parametrize("overlong", ["drop", "split", "split_turns"])
def test_text_is_tokenized_within_a_limit(limited: Any, tmp_path: Path, tokenizer_folder: Path, overlong: Any) -> None:
    turns = [{"role": "user", "content": "a b c"}, {"role": "assistant", "content": "d e f"}]
    table = pa.table({"messages": [turns * (1 + row % 7) for row in range(300)]})
    (tmp_path / "source").mkdir()
    pq.write_table(table, tmp_path / "source" / "chats.parquet")
    call = {"tokenizer": tokenizer_folder, "overlong": overlong, "shard_size": "4kB"}
    free = packsort.write_shards(tmp_path / "source", tmp_path / "free", 64, **call)
    bound = limited(tmp_path / "source", tmp_path / "bound", 64, **call)
    assert bound == free
    assert files(tmp_path / "bound") == files(tmp_path / "free")
    assert {path.name for path in tmp_path.iterdir()} == {"source", "free", "bound"}


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        (
            "input_ids",
            [1, -3],
            r"row 7: column `input_ids` must hold values from 0 to 2\*\*31 - 1, got -3",
        ),
        ("input_ids", [1, None], r"`.*1\.parquet` row 7: column `input_ids` has a null at position 1"),
        ("input_ids", None, r"`.*1\.parquet` row 7: column `input_ids` is null"),
        ("input_ids", [], r"`.*1\.parquet` row 7: column `input_ids` is empty.*empty='drop'"),
        ("labels", [1], r"`.*1\.parquet` row 7: column `labels` has 1 values, but `input_ids` has 2"),
        ("position_ids", [0, 0], r"`.*1\.parquet` row 7: column `position_ids` starts anew"),
        ("attention_mask", [0, 2], r"`.*1\.parquet` row 7: column `attention_mask` must hold 0 and 1, got 2"),
        ("completion_mask", [0, 5], r"`.*1\.parquet` row 7: column `completion_mask` must hold 0 and 1, got 5"),
    ],
)
def test_a_wrong_value_is_named_as_without_a_limit(
    limited: Any, tmp_path: Path, column: str, value: Any, message: str
) -> None:
    (tmp_path / "source").mkdir()
    for file in range(3):
        rows: dict[str, list[Any]] = {"input_ids": [[1, 2]] * 20, "labels": [[1, 2]] * 20}
        rows.setdefault(column, [[1, 1] if "mask" in column else [0, 1]] * 20)
        if file == 1:
            rows[column] = [*rows[column][:7], value, *rows[column][8:]]
            if value == []:
                rows["labels"] = rows[column]
        pq.write_table(pa.table(rows), tmp_path / "source" / f"{file}.parquet", row_group_size=4)
    found = [outcome(write, tmp_path / "source", tmp_path / "out", 8) for write in (packsort.write_shards, limited)]
    assert found[0] == found[1]
    with pytest.raises(packsort.SourceError, match=message):
        limited(tmp_path / "source", tmp_path / "out", 8)
    assert [path.name for path in tmp_path.iterdir()] == ["source"]


def write_tokens(folder: Path, table: pa.Table | None = None) -> Path:
    folder.mkdir()
    pq.write_table(token_table() if table is None else table, folder / "tokens.parquet", row_group_size=50)
    return folder / "tokens.parquet"


def killing(stage_name: str, at: int) -> Any:
    """Return a progress reporter that ends the process, as a kill does, at a step of a stage."""
    left = at

    @contextmanager
    def stage(name: str, *, total: int | None = None, unit: str = "") -> Iterator[Any]:
        def advance(done: int, note: str = "") -> None:
            nonlocal left
            left -= name == stage_name
            if not left:
                os._exit(9)

        yield advance

    return stage


@pytest.mark.parametrize(("stage", "at", "reused"), [("reading", 2, 0), ("packing", 3, 3)])
def test_a_killed_run_goes_on(limited: Any, tmp_path: Path, stage: str, at: int, reused: int) -> None:
    source = write_tokens(tmp_path / "source")
    call: dict[str, Any] = {"shard_size": "20kB"}
    packsort.write_shards(source, tmp_path / "free", 128, **call)
    child = os.fork()
    if not child:
        limited(source, tmp_path / "out", 128, stage=killing(stage, at), **call)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
    unfinished = tmp_path / ".out.packsort-unfinished"
    before = {path.name: path.stat().st_mtime_ns for path in unfinished.glob("train-*")}
    limited(source, tmp_path / "out", 128, **call)
    assert files(tmp_path / "out") == files(tmp_path / "free")
    after = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "out").glob("train-*")}
    assert sum(before[name] == after[name] for name in before) >= reused
    assert {path.name for path in tmp_path.iterdir()} == {"source", "free", "out"}


def change_date(path: Path) -> None:
    os.utime(path, ns=(1, 1))


def lose_rows(path: Path) -> None:
    pq.write_table(pq.read_table(path).slice(0, 400), path)


def move_tokens(path: Path) -> None:
    table = pq.read_table(path)
    pq.write_table(table.take(list(range(table.num_rows))[::-1]), path, row_group_size=50)


@pytest.mark.parametrize("change", [change_date, lose_rows, move_tokens])
def test_a_source_that_changes_between_the_passes_is_named(limited: Any, tmp_path: Path, change: Any) -> None:
    source = write_tokens(tmp_path / "source")

    @contextmanager
    def stage(name: str, *, total: int | None = None, unit: str = "") -> Iterator[Any]:
        if name == "planning":
            change(source)
        yield lambda done, note="": None

    with pytest.raises(packsort.SourceError, match=r"`.*tokens\.parquet` was changed while it was read"):
        limited(source, tmp_path / "out", 128, stage=stage)
    assert [path.name for path in tmp_path.iterdir()] == ["source"]


def write_in_place(path: Path, table: pa.Table) -> None:
    """Change the bytes of a file that others have mapped; it does not become shorter."""
    with ipc.new_file(path.with_suffix(".new"), table.schema) as writer:
        writer.write_table(table)
    with path.open("r+b") as file:
        file.write(path.with_suffix(".new").read_bytes())
    path.with_suffix(".new").unlink()


@pytest.mark.parametrize("format", ["parquet", "arrow"])
@pytest.mark.parametrize("when", ["reading", "planning", "packing"])
def test_a_source_that_changes_in_memory_is_named(tmp_path: Path, format: str, when: str) -> None:
    """Mapped tokens change with their file; those that were read are not what the file's stamp stands for."""
    table = pa.table({"input_ids": pa.array([[row % 99] * 5 for row in range(400)], pa.list_(pa.int32()))})
    source = tmp_path / "source" / f"tokens.{format}"
    source.parent.mkdir()

    def write(rows: pa.Table) -> None:
        if format == "parquet":
            pq.write_table(rows, source)
        elif source.exists():
            write_in_place(source, rows)
        else:
            with ipc.new_file(source, rows.schema) as writer:
                writer.write_table(rows)

    write(table)

    @contextmanager
    def stage(name: str, *, total: int | None = None, unit: str = "") -> Iterator[Any]:
        if name == when:
            write(table.take(list(range(table.num_rows))[::-1]))
        yield lambda done, note="": None

    with pytest.raises(packsort.SourceError, match=rf"`.*tokens\.{format}` was changed"):
        packsort.write_shards(source, tmp_path / "out", 128, stage=stage)
    assert [path.name for path in tmp_path.iterdir()] == ["source"]


@pytest.mark.parametrize("room", ["spool", "shard"])
def test_a_full_disk_is_named_and_leaves_nothing(limited: Any, tmp_path: Path, room: str) -> None:
    source = write_tokens(tmp_path / "source", token_table().select(["input_ids"]))
    tokens = 4 * len(pq.read_table(source)["input_ids"].combine_chunks().values)
    limit = 20_000 if room == "spool" else tokens + 1_000  # a shard also has lengths and ids
    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, old[1]))
    try:
        with pytest.raises(packsort.OutputError, match=r"cannot write `.*`: file too large"):
            limited(source, tmp_path / "out", 128)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old)
    assert [path.name for path in tmp_path.iterdir()] == ["source"]


def test_too_small_a_limit_is_refused_with_the_least_that_would_do(tmp_path: Path) -> None:
    source = write_tokens(tmp_path / "source")
    with pytest.raises(
        packsort.OptionError, match=r"memory_limit must be at least .*[MG]B for 500 rows .* got 1MB: raise"
    ):
        packsort.write_shards(source, tmp_path / "out", 128, memory_limit="1MB")
    assert [path.name for path in tmp_path.iterdir()] == ["source"]


def test_sizes() -> None:
    assert [byte_size("memory_limit", one) for one in (5, "5", "2 kB", "1.5MB", "1GiB")] == [
        5,
        5,
        2000,
        1_500_000,
        2**30,
    ]
    for wrong in ("", "5 lots", "-1", 0, -5, 1.5, True, "0"):
        with pytest.raises(packsort.OptionError, match=r"^memory_limit must be"):
            byte_size("memory_limit", wrong)
    for size in (1, 999, 1000, 1001, 123_456, 999_999_999, 10**12):
        assert size <= byte_size("size", in_units(size)) <= 1.01 * size


@pytest.mark.parametrize("version", [1, 2])
def test_the_limit_of_a_control_group_counts(tmp_path: Path, version: int) -> None:
    process, mount = tmp_path / "self", tmp_path / "mount"
    (mount / "a" / "b").mkdir(parents=True)
    process.mkdir()
    name = "memory.limit_in_bytes" if version == 1 else "memory.max"
    unlimited = str(2**63 - 4096) if version == 1 else "max"
    (mount / "a" / "b" / name).write_text(unlimited)
    kind, options, line = ("cgroup", "rw,memory", "4:memory:/a/b") if version == 1 else ("cgroup2", "rw", "0::/a/b")
    (process / "cgroup").write_text(f"7:cpu:/elsewhere\n{line}\n")
    (process / "mountinfo").write_text(f"35 31 0:32 / {mount} rw - {kind} {kind} {options}\n")
    free = available_memory(process)
    (mount / "a" / name).write_text("123456")  # of the group above
    assert available_memory(process) == 123_456 < free
    # In a container the mount is the group itself, whatever path the process is told.
    (process / "mountinfo").write_text(f"35 31 0:32 /docker/1 {mount / 'a'} rw - {kind} {kind} {options}\n")
    assert available_memory(process) == 123_456
