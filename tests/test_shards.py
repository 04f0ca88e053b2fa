"""Packing in memory and to shards, reading back, and the proof."""

from __future__ import annotations

import json
import pickle
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import packsort
import tiny_tokenizer
from packsort._checksum import checksum
from packsort.shards.sealed_json import seal
from reference import first_fit_decreasing, gather
from token_rows import token_table, write_parts

PER_TOKEN = ["input_ids", "labels", "weights", "answer"]


@st.composite
def tables(draw: st.DrawFn) -> tuple[list[list[int]], pa.Table]:
    rows = draw(st.lists(st.lists(st.integers(0, 2**31 - 1), min_size=1, max_size=12), min_size=1, max_size=40))
    kind = draw(st.sampled_from([pa.list_(pa.int32()), pa.large_list(pa.int64()), pa.list_(pa.uint32())]))
    cut = draw(st.integers(0, len(rows)))
    column = pa.chunked_array([pa.array(rows[:cut], kind), pa.array([*rows[:1], *rows[cut:]], kind).slice(1)])
    flags = pa.chunked_array([[[token % 2 == 0 for token in row] for row in rows]])
    small = pa.chunked_array([pa.array([[token % 100 for token in row] for row in rows], pa.list_(pa.int8()))])
    return rows, pa.table({"input_ids": column, "even": flags, "small": small})


@given(tables(), st.integers(12, 40))
@settings(max_examples=80, deadline=None)
def test_packs_hold_the_textbooks_tokens(case: tuple[list[list[int]], pa.Table], max_length: int) -> None:
    rows, table = case
    packs = first_fit_decreasing([len(row) for row in rows], max_length)
    packed = packsort.pack(table, max_length, seed=None)
    assert packed["input_ids"].to_pylist() == gather(rows, packs, max_length)
    assert packed["even"].to_pylist() == [[t % 2 == 0 for t in pack] for pack in gather(rows, packs, max_length)]
    assert packed["small"].to_pylist() == [[t % 100 for t in pack] for pack in gather(rows, packs, max_length)]
    assert packed["sequence_ids"].to_pylist() == packs
    assert packed["seq_lengths"].to_pylist() == [[len(rows[i]) for i in pack] for pack in packs]
    assert packed.schema.field("input_ids").type == pa.list_(pa.int32())
    assert packed.schema.field("small").type.value_type == pa.int8()
    assert packed.schema.field("sequence_ids").type.value_type == pa.int64()


@given(tables(), st.integers(1, 11))
@settings(max_examples=60, deadline=None)
def test_truncated_packs_hold_the_first_tokens(case: tuple[list[list[int]], pa.Table], max_length: int) -> None:
    rows, table = case
    packs = first_fit_decreasing([min(len(row), max_length) for row in rows], max_length)
    packed = packsort.pack(table, max_length, seed=None, overlong="truncate")
    assert packed["input_ids"].to_pylist() == gather(rows, packs, max_length)


@pytest.mark.parametrize("format", ["arrow", "parquet"])
def test_shards_hold_what_packing_in_memory_gives(tmp_path: Path, format: str) -> None:
    table = token_table()
    sources = write_parts(table, tmp_path / "tokens")
    manifest = packsort.write_shards(tmp_path / "tokens", tmp_path / "packed", 128, format=format, shard_size="20kB")
    expected = packsort.pack(table, 128)
    shards = packsort.open_shards(tmp_path / "packed")
    assert len(manifest.shards) > 3
    assert sorted(p.name for p in (tmp_path / "packed").iterdir()) == sorted(
        ["manifest.json", *(shard.name for shard in manifest.shards)]
    )
    assert manifest.shards[1].name == f"train-00001-of-{len(manifest.shards):05}.{format}"
    assert len(shards) == expected.num_rows == manifest.counts.packs
    for name in [*PER_TOKEN, "seq_lengths", "sequence_ids"]:
        assert [pack[name].tolist() for pack in shards] == expected[name].to_pylist()
    assert [source["path"] for source in manifest.sources] == [str(path) for path in sources]
    assert manifest.left_out == ("source",)
    assert shards.manifest == manifest
    result = shards.verify(sources)
    assert result.ok, result.problems
    assert (result.packs, result.sequences, result.tokens) == (len(shards), 500, manifest.counts.tokens)


def test_packs_are_views_of_the_mapped_file(tmp_path: Path) -> None:
    packsort.write_shards(token_table(), tmp_path / "packed", 128)
    shards = packsort.open_shards(tmp_path / "packed")
    first, again = shards[0]["input_ids"], shards[0]["input_ids"]
    assert first.ctypes.data == again.ctypes.data
    assert not first.flags.owndata
    assert not first.flags.writeable
    assert first.dtype == np.int32
    assert shards[-1]["sequence_ids"].dtype == np.int64
    maps = Path("/proc/self/maps")
    if maps.exists():
        assert "train-00000-of-00001.arrow" in maps.read_text()
    assert [p["input_ids"].tolist() for p in pickle.loads(pickle.dumps(shards))][3] == shards[3]["input_ids"].tolist()
    with pytest.raises(IndexError, match=r"has .* packs"):
        shards[len(shards)]
    for index in (1.5, True, "0", None):
        with pytest.raises(TypeError, match=f"pack indices must be integers or slices, got {index!r}"):
            shards[index]  # type: ignore[call-overload]


def test_slices_are_lists_of_packs(tmp_path: Path) -> None:
    packsort.write_shards(token_table(), tmp_path / "packed", 128, shard_size="20kB")
    shards = packsort.open_shards(tmp_path / "packed")
    ids = [pack["sequence_ids"].tolist() for pack in shards]
    for part in (slice(0, 2), slice(-3, None), slice(None, None, 7), slice(5, 2), slice(2, None, -1)):
        assert [pack["sequence_ids"].tolist() for pack in shards[part]] == ids[part]
    assert shards[np.int64(2)]["sequence_ids"].tolist() == ids[2]


@pytest.mark.parametrize("format", ["arrow", "parquet"])
def test_segment_lengths_are_read_without_tokens(tmp_path: Path, format: str) -> None:
    options = {"shard_size": "20kB", "separator": 1, "pad_to_multiple_of": 4}
    packsort.write_shards(token_table(), tmp_path / "packed", 128, format=format, **options)  # type: ignore[arg-type]
    shards = packsort.open_shards(tmp_path / "packed")
    found = []
    for index in range(len(shards.manifest.shards)):
        offsets, lengths = shards.segment_lengths(index)
        assert (offsets.dtype, lengths.dtype) == (np.int64, np.int32)
        found += [part.tolist() for part in np.split(lengths, offsets[1:-1])]
    assert found == [pack["seq_lengths"].tolist() for pack in shards]


def test_files_that_change_while_open_are_named(packed: tuple[Path, pa.Table]) -> None:
    folder, _ = packed
    shards = packsort.open_shards(folder)
    shard = folder / shards.manifest.shards[1].name
    whole = shard.read_bytes()
    shard.write_bytes(whole)
    shards.check_unchanged()
    shard.write_bytes(whole[:-1] + b"x")
    with pytest.raises(packsort.DamagedError, match=f"`{shard}` was changed while the packed directory was open"):
        shards.check_unchanged()
    shard.write_bytes(whole)
    shards.check_unchanged()
    (folder / "manifest.json").unlink()
    with pytest.raises(packsort.DamagedError, match=r"manifest\.json` is gone while the packed directory was open"):
        shards.check_unchanged()


def test_the_same_call_writes_the_same_bytes(tmp_path: Path) -> None:
    table = token_table()
    for name in ("a", "b"):
        packsort.write_shards(table, tmp_path / name, 128, shard_size="20kB")
    files = sorted(p.name for p in (tmp_path / "a").iterdir())
    assert all((tmp_path / "a" / f).read_bytes() == (tmp_path / "b" / f).read_bytes() for f in files)


@pytest.fixture
def packed(tmp_path: Path) -> tuple[Path, pa.Table]:
    table = token_table()
    packsort.write_shards(table, tmp_path / "packed", 128, shard_size="40kB")
    return tmp_path / "packed", table


def reseal(folder: Path, index: int, table: pa.Table) -> None:
    """Writes a shard anew and makes the manifest say so: damage that no checksum finds."""
    manifest = json.loads((folder / "manifest.json").read_text())
    shard = manifest["shards"][index]
    path = folder / shard["name"]
    with pa.ipc.new_file(folder / "new", table.schema) as writer:
        writer.write_table(table)
    (folder / "new").replace(path)  # the old one may still be mapped
    shard["bytes"], shard["checksum"], shard["packs"] = path.stat().st_size, checksum(path), table.num_rows
    manifest["counts"]["packs"] = sum(one["packs"] for one in manifest["shards"])
    (folder / "manifest.json").write_text(json.dumps(seal(manifest)))


def changed(table: pa.Table, column: str, row: int, change: object) -> pa.Table:
    rows = table[column].to_pylist()
    rows[row] = change(rows[row])  # type: ignore[operator]
    field = table.schema.field(column)
    return table.set_column(table.schema.get_field_index(column), field, pa.array(rows, field.type))


def test_every_changed_byte_is_found(packed: tuple[Path, pa.Table]) -> None:
    folder, _ = packed
    path = folder / packsort.open_shards(folder).manifest.shards[1].name
    whole = path.read_bytes()
    for at in range(0, len(whole), len(whole) // 23):
        damaged = bytearray(whole)
        damaged[at] ^= 4
        path.write_bytes(damaged)
        result = packsort.verify(folder)
        assert not result
        assert not result.ok
        assert any(path.name in problem and "checksum" in problem for problem in result.problems)


@pytest.mark.parametrize("column", ["input_ids", "labels", "weights", "answer"])
def test_a_changed_value_is_found_and_named(packed: tuple[Path, pa.Table], column: str) -> None:
    folder, table = packed
    shards = packsort.open_shards(folder)
    row = int(shards.table(1)["sequence_ids"][2].as_py()[0])
    other = changed(
        shards.table(1), column, 2, lambda values: [not values[0] if column == "answer" else 7, *values[1:]]
    )
    reseal(folder, 1, other)
    assert packsort.open_shards(folder).verify().ok
    result = packsort.open_shards(folder).verify(table)
    (problem,) = result.problems
    assert str(result).splitlines()[1:] == [problem]
    assert problem.startswith(
        f"`{shards.manifest.shards[1].name}` pack 2, sequence 0 (`<table>` row {row}): `{column}` is "
    )
    assert "at token 0, in the source" in problem


def test_swapped_lost_and_doubled_sequences_are_found(packed: tuple[Path, pa.Table]) -> None:
    folder, table = packed
    shard = packsort.open_shards(folder).table(0)
    lost = int(shard["sequence_ids"][0].as_py()[0])
    twice = int(shard["sequence_ids"][1].as_py()[0])
    reseal(folder, 0, changed(shard, "sequence_ids", 0, lambda ids: [twice, *ids[1:]]))
    problems = "\n".join(packsort.open_shards(folder).verify(table).problems)
    assert "it is in more than one place" in problems
    assert f"there are 1 sequences in no pack (first: [{lost}]), the manifest says 0" in problems
    reseal(folder, 0, changed(shard, "sequence_ids", 0, lambda ids: [10_000, *ids[1:]]))
    assert "sequence id 10000 is no row of the source" in "\n".join(packsort.open_shards(folder).verify(table).problems)


def test_a_moved_boundary_is_found(packed: tuple[Path, pa.Table]) -> None:
    folder, table = packed
    shard = packsort.open_shards(folder).table(0)
    pack = next(i for i, lengths in enumerate(shard["seq_lengths"].to_pylist()) if len(lengths) > 1)
    reseal(folder, 0, changed(shard, "seq_lengths", pack, lambda n: [n[0] + 1, n[1] - 1, *n[2:]]))
    assert any("tokens, its source" in problem for problem in packsort.open_shards(folder).verify(table).problems)
    reseal(folder, 0, changed(shard, "seq_lengths", pack, lambda n: [n[0] + 1, *n[1:]]))
    assert any("do not add up" in problem for problem in packsort.open_shards(folder).verify().problems)


def test_another_source_is_found(packed: tuple[Path, pa.Table]) -> None:
    folder, table = packed
    assert "the source has 499 rows, 500 were packed" in packsort.open_shards(folder).verify(table.slice(1)).problems[0]
    assert not packsort.open_shards(folder).verify(table.take(np.arange(499, -1, -1))).ok
    without = packsort.open_shards(folder).verify(table.drop_columns("labels"))
    assert without.problems == ("column `labels` is in the packs only",) * len(without.problems)


def test_dropped_and_truncated_sequences_are_proven_too(tmp_path: Path) -> None:
    table = token_table(longest=300)
    for overlong in ("drop", "truncate"):
        manifest = packsort.write_shards(table, tmp_path / overlong, 64, overlong=overlong)
        assert manifest.counts.dropped + manifest.counts.truncated > 10
        result = packsort.open_shards(tmp_path / overlong).verify(table)
        assert result.ok, result.problems


def test_nan_and_float16_are_moved_bit_for_bit(tmp_path: Path) -> None:
    halves = pa.array([[np.float16(1.5), np.float16("nan")], [np.float16(-0.0)]], pa.list_(pa.float16()))
    table = pa.table({"input_ids": [[1, 2], [3]], "h": halves, "d": [[float("nan"), 1e300], [2.0]]})
    packsort.write_shards(table, tmp_path / "packed", 3)
    assert packsort.open_shards(tmp_path / "packed").verify(table).ok


def test_unfinished_and_damaged_directories_are_refused(packed: tuple[Path, pa.Table], tmp_path: Path) -> None:
    folder, _ = packed
    with pytest.raises(packsort.SourceNotFoundError, match="no packed directory `"):
        packsort.open_shards(tmp_path / "none")
    (tmp_path / "empty").mkdir()
    with pytest.raises(packsort.DamagedError, match=r"has no manifest\.json: it is no packed directory, or"):
        packsort.open_shards(tmp_path / "empty")
    shard = folder / packsort.open_shards(folder).manifest.shards[0].name
    whole = shard.read_bytes()
    shard.write_bytes(whole[:-9])
    with pytest.raises(packsort.DamagedError, match=f"has {len(whole) - 9} bytes, the manifest says"):
        packsort.open_shards(folder)
    shard.unlink()
    with pytest.raises(packsort.DamagedError, match="is missing"):
        packsort.open_shards(folder)
    for text, said in [("{", "is not JSON"), ("{}", "not a packsort manifest"), ("[]", "not a packsort manifest")]:
        (folder / "manifest.json").write_text(text)
        with pytest.raises(packsort.DamagedError, match=said):
            packsort.open_shards(folder)


@pytest.mark.parametrize("source", [".", "train-00000-of-00001.parquet", "../rows/*.parquet"])
def test_shards_never_take_the_place_of_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str) -> None:
    (tmp_path / "rows").mkdir()
    monkeypatch.chdir(tmp_path / "rows")
    pq.write_table(pa.table({"input_ids": [[1, 2]]}), "train-00000-of-00001.parquet")
    for out in (".", tmp_path / "rows"):
        with pytest.raises(packsort.OptionError, match=r"holds a file of the source.*choose another folder"):
            packsort.write_shards(source, out, 8, format="parquet", overwrite=True)
    assert pq.read_table("train-00000-of-00001.parquet").to_pydict() == {"input_ids": [[1, 2]]}
    packsort.write_shards(source, "packed", 8)
    assert packsort.verify("packed", source=source).ok


def test_what_is_there_is_not_touched_without_overwrite(packed: tuple[Path, pa.Table]) -> None:
    folder, table = packed
    before = {p.name: p.read_bytes() for p in folder.iterdir()}
    with pytest.raises(packsort.OutputExistsError, match="not empty; pass overwrite=True"):
        packsort.write_shards(table, folder, 64, overlong="truncate")
    assert {p.name: p.read_bytes() for p in folder.iterdir()} == before
    with pytest.raises(packsort.LengthError):
        packsort.write_shards(table, folder, 64, overwrite=True)
    assert {p.name: p.read_bytes() for p in folder.iterdir()} == before


def test_overwriting_replaces_what_packsort_wrote_and_nothing_else(packed: tuple[Path, pa.Table]) -> None:
    folder, table = packed
    (folder / "notes.txt").write_text("mine")
    before = {p.name: p.read_bytes() for p in folder.iterdir()}
    with pytest.raises(packsort.OutputError, match=r"holds `notes.txt`, which packsort did not write: .* move it away"):
        packsort.write_shards(table, folder, 256, overwrite=True)
    assert {p.name: p.read_bytes() for p in folder.iterdir()} == before
    (folder / "notes.txt").unlink()
    packsort.write_shards(table, folder, 256, overwrite=True)
    assert sorted(p.name for p in folder.iterdir()) == ["manifest.json", "train-00000-of-00001.arrow"]
    assert packsort.open_shards(folder).verify(table).ok


def test_a_long_sequence_is_named_with_its_file_and_row(tmp_path: Path) -> None:
    table = token_table(rows=30, longest=20)
    long = pa.table({"input_ids": pa.array([[1] * 50], pa.list_(pa.int32()))})
    paths = write_parts(table.select(["input_ids"]), tmp_path / "tokens", 2)
    pq.write_table(pa.concat_tables([table.select(["input_ids"]).slice(0, 4), long]), tmp_path / "tokens" / "z.parquet")
    with pytest.raises(packsort.LengthError) as caught:
        packsort.write_shards(tmp_path / "tokens", tmp_path / "out", 40)
    assert str(caught.value) == (
        f"1 of 35 sequences (2.9 %) is longer than 40 tokens; it has 50 (`{tmp_path}/tokens/z.parquet` row 4): "
        "pass overlong='drop', 'truncate' or 'split'"
    )
    assert not (tmp_path / "out").exists()
    assert len(paths) == 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"format": "csv"}, "format must be one of 'arrow', 'parquet', got 'csv'"),
        (
            {"shard_size": "big"},
            "shard_size must be a number of bytes, such as 256000000, '256MB' or '1GiB', got 'big'",
        ),
        ({"shard_size": 0}, "shard_size must be at least 1, or text such as '256MB', got 0"),
        ({"shard_size": 1.5}, "shard_size must be an integer, or text such as '256MB', got 1.5"),
        ({"shard_size": True}, "shard_size must be an integer, or text such as '256MB', got True"),
        ({"max_length": 0}, "max_length must be between 1 and 2**31 - 1, got 0"),
    ],
)
def test_wrong_options_write_nothing(tmp_path: Path, options: dict[str, object], message: str) -> None:
    with pytest.raises(packsort.OptionError) as caught:
        packsort.write_shards(token_table(), tmp_path / "out", **{"max_length": 128, **options})  # type: ignore[arg-type]
    assert str(caught.value) == message
    assert not (tmp_path / "out").exists()


def test_a_run_goes_on_from_its_finished_shards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from packsort.shards import shard_writer as writing

    table = token_table()
    write_parts(table, tmp_path / "tokens")
    call = (tmp_path / "tokens", tmp_path / "packed", 128)
    names = [shard.name for shard in packsort.write_shards(*call, shard_size="40kB").shards]
    whole = {p.name: p.read_bytes() for p in (tmp_path / "packed").iterdir()}
    # as a kill leaves it: finished shards in the work folder, no manifest
    work = tmp_path / ".packed.packsort-unfinished"
    written: list[str] = []
    finish = writing.ShardWriter._finish

    def stop_at_third(self: object, file: Any, shard: Any) -> object:
        if shard.name == names[2]:
            shutil.copytree(work, tmp_path / "left", dirs_exist_ok=True)
        written.append(shard.name)
        return finish(self, file, shard)  # type: ignore[arg-type]

    monkeypatch.setattr(writing.ShardWriter, "_finish", stop_at_third)
    shutil.rmtree(tmp_path / "packed")
    packsort.write_shards(*call, shard_size="40kB")
    shutil.rmtree(tmp_path / "packed")
    shutil.copytree(tmp_path / "left", work)
    with pytest.raises(packsort.OutputExistsError, match=r"a run of another source or other options .* is unfinished"):
        packsort.write_shards(*call, shard_size="50kB")
    assert (work / names[0]).exists()
    (work / names[1]).write_bytes(b"torn")
    written.clear()
    packsort.write_shards(*call, shard_size="40kB")
    assert names[0] not in written
    assert names[1] in written
    assert {p.name: p.read_bytes() for p in (tmp_path / "packed").iterdir()} == whole


def test_an_empty_plan_makes_an_empty_directory_that_opens(tmp_path: Path) -> None:
    table = pa.table({"input_ids": [[1, 2, 3]]})
    manifest = packsort.write_shards(table, tmp_path / "packed", 2, overlong="drop")
    assert (manifest.counts.packs, manifest.counts.dropped) == (0, 1)
    shards = packsort.open_shards(tmp_path / "packed")
    assert list(shards) == []
    assert shards.verify(table).ok


def test_packed_directories_inside_a_source_are_not_packed_again(tmp_path: Path) -> None:
    write_parts(token_table(), tmp_path / "tokens")
    for _ in range(2):
        manifest = packsort.write_shards(tmp_path / "tokens", tmp_path / "tokens" / "packed", 128, overwrite=True)
        assert manifest.counts.rows == 500
    with pytest.raises(packsort.SourceError, match="column `seq_lengths` is one that packing adds"):
        packsort.write_shards(tmp_path / "tokens" / "packed", tmp_path / "again", 128)


def test_another_chat_template_is_found(tmp_path: Path, tokenizer_folder: Path) -> None:
    chat = [{"role": "user", "content": "where is the boat"}, {"role": "assistant", "content": "at Port Hale"}]
    table = pa.table({"messages": [chat, chat * 2]})
    packsort.write_shards(table, tmp_path / "packed", 256, tokenizer=tokenizer_folder)
    shards = packsort.open_shards(tmp_path / "packed")
    assert shards.verify(table, tokenizer=str(tokenizer_folder)).ok
    with pytest.raises(packsort.OptionError, match="tokenizer must be given"):
        shards.verify(table)
    other = tiny_tokenizer.build(tmp_path / "other", template=tiny_tokenizer.UNMARKED_TEMPLATE)
    problems = shards.verify(table, tokenizer=other).problems
    assert any("the tokenizer has chat_template" in problem for problem in problems)
    assert any("`labels` is" in problem for problem in problems)


def test_groups_and_alone_are_columns_of_the_source(tmp_path: Path) -> None:
    table = token_table().append_column("long", [[n > 60 for n in map(len, token_table()["input_ids"].to_pylist())]])
    write_parts(table, tmp_path / "tokens")
    options = {"groups": "source", "alone": "long", "max_sequences": 4, "strategy": "bfd"}
    manifest = packsort.write_shards(tmp_path / "tokens", tmp_path / "packed", 128, **options)
    assert {name: manifest.options[name] for name in options} == options
    shards = packsort.open_shards(tmp_path / "packed")
    sources, long = table["source"].to_pylist(), table["long"].to_pylist()
    for pack in shards:
        ids = pack["sequence_ids"].tolist()
        assert len({sources[i] for i in ids}) == 1 or len(ids) == 1
        assert len(ids) <= 4
        assert len(ids) == 1 or not any(long[i] for i in ids)
    assert shards.verify(table).ok
    missing = pa.table({"input_ids": [[1], [2]], "kind": ["a", None]})
    with pytest.raises(packsort.SourceError, match="`<table>` row 1: column `kind` is null; groups needs a value"):
        packsort.pack(missing, 8, groups="kind")
    with pytest.raises(packsort.SourceError, match="groups='other' names no column of the source"):
        packsort.pack(missing, 8, groups="other")


@pytest.mark.parametrize("overlong", ["error", "drop", "truncate", "split"])
def test_cut_sequences_are_proven_piece_by_piece(tmp_path: Path, overlong: str) -> None:
    table = token_table(longest=300)
    strategy = "ffd" if overlong == "split" else "random"
    manifest = packsort.write_shards(
        table, tmp_path / "packed", 64, strategy=strategy, overlong=overlong, shard_size="10kB"
    )
    assert manifest.counts.split > 20
    shards = packsort.open_shards(tmp_path / "packed")
    result = shards.verify(table)
    assert result.ok, result.problems
    shard = shards.table(1)
    reseal(tmp_path / "packed", 1, changed(shard, "piece_starts", 0, lambda starts: [starts[0] + 1, *starts[1:]]))
    problems = packsort.open_shards(tmp_path / "packed").verify().problems
    assert any("a piece begins at token" in problem for problem in problems)
    reseal(tmp_path / "packed", 1, changed(shard, "labels", 0, lambda labels: [7, *labels[1:]]))
    problems = packsort.open_shards(tmp_path / "packed").verify(table).problems
    start = shard["piece_starts"][0].as_py()[0]
    assert any(f"`labels` is 7 at token {start}, in the source" in problem for problem in problems)


def test_a_lost_piece_is_found(tmp_path: Path) -> None:
    table = pa.table({"input_ids": [[1, 2, 3, 4, 5], [6, 7, 8]]})
    packsort.write_shards(table, tmp_path / "packed", 4, strategy="random", seed=None)
    shard = packsort.open_shards(tmp_path / "packed").table(0)
    assert shard["piece_starts"].to_pylist() == [[0], [4, 0]]
    reseal(tmp_path / "packed", 0, shard.slice(0, 1))
    problems = "\n".join(packsort.open_shards(tmp_path / "packed").verify(table).problems)
    assert "row 0: its pieces end at token 4, it has 5" in problems
    assert "there are 1 sequences in no pack (first: [1])" in problems
