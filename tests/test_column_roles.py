"""Padding is left out, masks become labels, other lists are left out by name, and empty sequences are counted.

Every way in is tried: packing in memory, shards, loaders, datasets, streams and `packsort.hf`.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import packsort
from packsort.cli import main
from packsort.hf import pack_dataset
from packsort.torch import PackedDataset, PackedLoader, PackedStream
from reference import trained_row
from tiny_tokenizer import built

Rows = list[dict[str, list[Any]]]
FINGERPRINT_OF_0_1 = "f96407f48f8c3c731d4ae85fc75d26b9"  # of lengths 3, 1, 2 at 4


def split_pack(pack: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Give the sequences of a pack as lists, with their id where the pack has ids."""
    ends = np.cumsum(pack["seq_lengths"]).tolist()
    segments = ("seq_lengths", "sequence_ids", "piece_starts")
    for at, (start, end) in enumerate(zip([0, *ends], ends, strict=False)):
        found = {name: list(map(_plain, values[start:end])) for name, values in pack.items() if name not in segments}
        yield found | ({"id": int(pack["sequence_ids"][at])} if "sequence_ids" in pack else {})


def _plain(value: Any) -> Any:
    return value.item() if hasattr(value, "item") else value


def by_pack(table: pa.Table, folder: Path, **options: Any) -> list[dict[str, Any]]:
    return packsort.pack(table, 64, **options).to_pylist()


def by_shards(table: pa.Table, folder: Path, **options: Any) -> list[dict[str, Any]]:
    packsort.write_shards(table, folder, 64, overwrite=True, **options)
    result = packsort.verify(folder, table)
    assert result, str(result)
    return list(map(dict, packsort.open_shards(folder)))


def by_dataset(table: pa.Table, folder: Path, **options: Any) -> list[dict[str, Any]]:
    return [dict(pack) for pack in PackedDataset(table, 64, **options)]


def by_hf(table: pa.Table, folder: Path, **options: Any) -> list[dict[str, Any]]:
    return list(pack_dataset(datasets.Dataset(table), 64, **options))


def by_stream(table: pa.Table, folder: Path, **options: Any) -> list[dict[str, Any]]:
    stream = PackedStream(table.to_pylist(), 64, **options)
    return [pack for packs in stream_packs(stream) for pack in packs]


def stream_packs(stream: PackedStream) -> Iterator[Any]:
    return stream._new_packer().batches()


DOORS: dict[str, Callable[..., list[dict[str, Any]]]] = {
    "pack": by_pack,
    "write_shards": by_shards,
    "PackedDataset": by_dataset,
    "pack_dataset": by_hf,
    "PackedStream": by_stream,
}


def sequences(door: str, table: pa.Table, folder: Path, **options: Any) -> list[dict[str, Any]]:
    """Pack through a door, and return the sequences in the order of the source where that is known."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        packs = DOORS[door](table, folder / "packed", **options)
    found = [one for pack in packs for one in split_pack(pack)]
    return sorted(found, key=lambda one: (one.pop("id", 0), one["input_ids"]))


def expected(rows: Rows, door: str) -> list[dict[str, Any]]:
    numbered = [(number, trained_row(row)) for number, row in enumerate(rows)]
    kept = [(number, row) for number, row in numbered if row["input_ids"]]
    if door == "pack_dataset":  # its packs have no ids
        kept = [(0, row) for _, row in kept]
    return [row for _, row in sorted(kept, key=lambda pair: (pair[0], pair[1]["input_ids"]))]


@st.composite
def padded_rows(draw: Any) -> Rows:
    """Draw rows with padding at both ends, masks, labels and weights; some are empty, some are padding only."""
    names = draw(st.sets(st.sampled_from(["completion_mask", "assistant_masks", "labels", "weights"])))
    rows = []
    for number in range(draw(st.integers(1, 6))):
        left, kept, right = (draw(st.integers(0, most)) for most in (3, 6, 3))
        size = left + kept + right
        bits = st.lists(st.integers(0, 1), min_size=size, max_size=size)
        row = {
            "input_ids": [100 * number + at for at in range(size)],
            "attention_mask": [0] * left + [1] * kept + [0] * right,
        }
        masks = {name: draw(bits) for name in ("completion_mask", "assistant_masks") if name in names}
        row |= masks
        if "labels" in names:  # they agree with the masks, except where padding is
            trained = [all(mask[at] for mask in masks.values()) for at in range(size)]
            inside = [bool(one) for one in row["attention_mask"]]
            row["labels"] = [
                -100 if ok and not loss else 7 * at for at, (ok, loss) in enumerate(zip(inside, trained, strict=True))
            ]
        if "weights" in names:
            row["weights"] = [at / 4 for at in range(size)]
        rows.append(row)
    return rows


@pytest.mark.parametrize("door", DOORS)
@settings(max_examples=25, deadline=None)
@given(rows=padded_rows())
def test_packs_hold_what_the_reference_trains_on(door, rows, tmp_path_factory):
    columns = {name: [row[name] for row in rows] for name in rows[0]}
    lists = {"weights": pa.list_(pa.float64())}
    table = pa.table(
        {name: pa.array(values, lists.get(name, pa.list_(pa.int64()))) for name, values in columns.items()}
    )
    folder = tmp_path_factory.mktemp("packed")
    want = expected(rows, door)
    if not want and door in ("pack_dataset", "PackedDataset"):
        return  # a dataset of no packs has no columns to compare
    assert sequences(door, table, folder, empty="drop") == want


@pytest.mark.parametrize("make", [pa.list_, pa.large_list, pa.list_view])
@pytest.mark.parametrize(("number", "value"), [(int, pa.int8()), (bool, pa.bool_()), (float, pa.float32())])
def test_padding_is_found_in_every_type_of_mask(make, number, value, tmp_path):
    mask = pa.array([list(map(number, one)) for one in ([0, 1, 1], [1, 0, 0], [1, 1, 1])], make(value))
    ids = pa.array([[9, 1, 2], [3, 9, 9], [4, 5, 6]], make(pa.int64()))
    table = pa.table({"input_ids": pa.chunked_array([ids.slice(0, 1), ids.slice(1)]), "attention_mask": mask})
    flags = pa.table({"flags": pa.array([[True, False, True]] * 3, make(pa.bool_()))})
    table = table.append_column("flags", flags["flags"])
    for door in ("pack", "write_shards", "PackedDataset"):
        found = sequences(door, table, tmp_path)
        assert [one["input_ids"] for one in found] == [[1, 2], [3], [4, 5, 6]]
        assert [one["flags"] for one in found] == [[False, True], [True], [True, False, True]]


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("make", ["arrow", "parquet", "datasets", "polars", "stream"])
def test_what_a_tokenizer_padded_is_what_it_makes_without(side, make, tmp_path):
    texts = ["a", "two words", "", "and a longer row of letters"]
    tokenizer = built(tmp_path / "tokenizer")
    tokenizer.padding_side = side
    plain = tokenizer(texts)["input_ids"]
    padded = dict(tokenizer(texts, padding=True))
    assert len({len(ids) for ids in padded["input_ids"]}) == 1
    columns = {"input_ids": padded["input_ids"], "attention_mask": padded["attention_mask"]}
    table = pa.table(columns)
    pq.write_table(table, tmp_path / "padded.parquet")
    sources = {
        "arrow": table,
        "parquet": tmp_path / "padded.parquet",
        "datasets": datasets.Dataset.from_dict(columns),
        "polars": pl.DataFrame(columns),
        "stream": table,
    }
    door = "PackedStream" if make == "stream" else "PackedDataset"
    found = sequences(door, sources[make], tmp_path, empty="drop")
    assert [one["input_ids"] for one in found] == [ids for ids in plain if ids]


def test_padding_is_counted_by_file_and_said(tmp_path, capsys):
    rows = {"input_ids": [[1, 2, 0], [0, 0, 3]], "attention_mask": [[1, 1, 0], [0, 0, 1]], "length": [3, 1]}
    pq.write_table(pa.table(rows), tmp_path / "a.parquet")
    pq.write_table(pa.table({"input_ids": [[5]], "attention_mask": [[1]], "length": [1]}), tmp_path / "b.parquet")
    said = "3 tokens of padding, where `attention_mask` is 0, are left out of 2 rows"
    with pytest.warns(UserWarning, match=said) as caught:
        manifest = packsort.write_shards(tmp_path, tmp_path / "packed", 8)
    assert caught[0].filename == __file__
    assert (manifest.counts.padded, manifest.counts.padding_left_out, manifest.counts.tokens) == (2, 3, 4)
    assert [(one.padded, one.padding_left_out) for one in manifest.sources] == [(2, 3), (0, 0)]
    assert manifest.masks == ("attention_mask",)
    assert "attention_mask" not in manifest.columns
    files = [str(tmp_path / name) for name in ("a.parquet", "b.parquet")]
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # the command says it in its summary
        assert main(["pack", *files, "-o", str(tmp_path / "again"), "--max-length", "8"]) == 0
    assert said in " ".join(capsys.readouterr().out.split())
    assert packsort.verify(tmp_path / "packed", files)


@pytest.mark.parametrize("command", ["plan", "compare"])
def test_plans_and_comparisons_count_no_padding(command, tmp_path, capsys):
    padded = pa.table({"input_ids": [[1, 0, 0], [0, 2, 3]], "attention_mask": [[1, 0, 0], [0, 1, 1]], "length": [3, 2]})
    pq.write_table(padded, tmp_path / "padded.parquet")
    pq.write_table(pa.table({"length": [1, 2]}), tmp_path / "lengths.parquet")
    found = []
    for name in ("padded", "lengths"):
        assert main([command, str(tmp_path / f"{name}.parquet"), "--max-length", "4", "--json"]) == 0
        found.append(json.loads(capsys.readouterr().out) | {"seconds": 0, "stages": {}})
    assert found[0] == found[1]


MASKS_REFUSED = {
    "hole": ({"attention_mask": [[1], [1, 0, 1]]}, "is 0 at position 1, between tokens where it is 1"),
    "packed": ({"attention_mask": [[1], [1, 2, 2]]}, "must hold 0 and 1, got 2 at position 1"),
    "additive": ({"attention_mask": [[1.0], [0.0, 0.0, -1e9]]}, "must hold 0 and 1, got -1000000000.0 at position 2"),
    "nan": ({"attention_mask": [[1.0], [1.0, float("nan"), 1.0]]}, "must hold 0 and 1, got nan at position 1"),
    "short": ({"attention_mask": [[1], [1, 1]]}, "column `attention_mask` has 2 values, but `input_ids` has 3"),
    "null": ({"attention_mask": [[1], None]}, "column `attention_mask` is null"),
    "loss": ({"assistant_masks": [[1], [0, 1, 3]]}, "must hold 0 and 1, got 3 at position 2"),
    "short_loss": ({"completion_mask": [[1], [0, 1]]}, "column `completion_mask` has 2 values"),
    "contradiction": (
        {"labels": [[1], [-100, 2, 3]], "completion_mask": [[1], [0, 1, 0]]},
        "column `labels` has loss at position 2, where `completion_mask` is 0",
    ),
    "behind_padding": (
        {"attention_mask": [[1], [0, 1, 1]], "labels": [[1], [9, 2, 3]], "completion_mask": [[1], [0, 1, 0]]},
        "column `labels` has loss at position 2, where `completion_mask` is 0",
    ),
    "labels_unpadded": (
        {"attention_mask": [[1], [1, 1, 0]], "labels": [[1], [2, 3]]},
        "column `labels` has 2 values, but `input_ids` has 3",
    ),
    "length": ({"attention_mask": [[1], [1, 1, 0]], "length": [1, 1]}, "column `length` is 1, but `input_ids` has 3"),
    "weights": ({"token_weights": [[0.5], [0.5]]}, "column `token_weights` has 1 values, but `input_ids` has 3"),
    "several": ({"position_ids": [[0], [0, 1, 0]]}, "`position_ids` starts anew within the row"),
    "several_behind_padding": (
        {"attention_mask": [[1], [0, 1, 1]], "position_ids": [[0], [1, 0, 0]]},
        "`position_ids` starts anew within the row",
    ),
    "all_padding": ({"attention_mask": [[1], [0, 0, 0]]}, "column `attention_mask` is 0 everywhere; every sequence"),
}


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("fault", MASKS_REFUSED)
def test_what_cannot_be_applied_is_refused_by_row(fault, door, tmp_path):
    columns, words = MASKS_REFUSED[fault]
    table = pa.table({"input_ids": [[1], [1, 2, 3]], **columns})
    with pytest.raises(packsort.SourceError) as caught:
        sequences(door, table, tmp_path)
    place = "sequence 1 of the stream" if door == "PackedStream" else "`<table>` row 1"
    assert str(caught.value).startswith(place)
    assert words in str(caught.value)
    assert ": " in str(caught.value).split(words)[1] or fault in ("null", "length")  # the way out


@pytest.mark.parametrize("door", [door for door in DOORS if door != "PackedStream"])
@pytest.mark.parametrize("kind", [pa.string(), pa.list_(pa.list_(pa.int64())), pa.int64()])
def test_masks_of_another_type_are_not_ignored(kind, door, tmp_path):
    table = pa.table({"input_ids": [[1, 2]], "attention_mask": pa.nulls(1, kind)})
    with pytest.raises(packsort.SourceError, match="column `attention_mask` must hold a list of 0 and 1, got"):
        sequences(door, table, tmp_path)


def test_masks_of_any_type_become_the_labels_that_trl_makes(tmp_path):
    """The expression is that of `SFTTrainer`: a token is trained on where every mask is true."""
    rng = np.random.default_rng(0)
    lengths = rng.integers(1, 20, 30)
    rows = [rng.integers(1, 99, n).tolist() for n in lengths]
    masks = {
        "completion_mask": pa.array([rng.random(n) < 0.7 for n in lengths], pa.list_(pa.bool_())),
        "assistant_masks": pa.array([rng.integers(0, 2, n) for n in lengths], pa.list_(pa.int8())),
    }
    want = [
        [token if all(bits) else -100 for token, *bits in zip(ids, *both, strict=True)]
        for ids, *both in zip(rows, *(mask.to_pylist() for mask in masks.values()), strict=True)
    ]
    for door in ("pack", "write_shards", "PackedDataset"):
        found = sequences(door, pa.table({"input_ids": rows, **masks}), tmp_path)
        assert [one["labels"] for one in found] == want
    manifest = packsort.open_shards(tmp_path / "packed").manifest
    assert manifest.masks == ("completion_mask", "assistant_masks")
    assert list(manifest.columns)[:2] == ["input_ids", "labels"]


def test_labels_of_the_loader_follow_the_masks():
    table = pa.table({"input_ids": [[1, 5, 6, 7, 8]], "assistant_masks": [[0, 0, 0, 1, 1]]})
    batch = next(iter(PackedLoader(table, max_length=8)))
    assert batch["labels"].tolist() == [[-100, -100, -100, 7, 8]]


UNEVEN = {"input_ids": [[1, 2, 3], [4, 5]], "turns": [[1, 2], [2]], "sizes": [[640, 480, 3, 1], None]}


@pytest.mark.parametrize("door", DOORS)
def test_lists_about_something_else_are_left_out_by_name(door, tmp_path):
    with pytest.warns(UserWarning, match="is left out") as caught:
        packs = DOORS[door](pa.table(UNEVEN), tmp_path / "packed")
    assert not {"turns", "sizes"} & set(packs[0])
    said = [str(one.message) for one in caught]
    assert any("column `turns` is left out" in one for one in said)
    assert any("column `sizes` is left out" in one for one in said)


def test_the_manifest_says_which_lists_are_left_out_and_how_often_they_differ(tmp_path):
    with pytest.warns(UserWarning, match="in 2 rows it does not have one value for each token"):
        manifest = packsort.write_shards(pa.table({**UNEVEN, "text": ["a", "b"]}), tmp_path / "packed", 8)
    assert manifest.left_out == ("turns", "sizes", "text")
    assert manifest.uneven == {"turns": 2, "sizes": 2}
    assert packsort.open_shards(tmp_path / "packed").manifest == manifest


@pytest.mark.parametrize("other", [{}, {"turns": ["a"]}, {"turns": [1]}])
@pytest.mark.parametrize("door", ["pack", "PackedDataset"])
def test_lists_that_only_some_files_have_are_judged_alike(door, other, tmp_path):
    for turns in ([1], [1, 2, 3]):
        pq.write_table(pa.table({"input_ids": [[1, 2, 3]] * 20, "turns": [turns] * 20}), tmp_path / "a.parquet")
        pq.write_table(pa.table({"input_ids": [[4, 5, 6]], **other}), tmp_path / "b.parquet")
        files: Any = [tmp_path / "a.parquet", tmp_path / "b.parquet"]
        if turns == [1]:
            with pytest.warns(UserWarning, match="`turns` is left out: in 21 rows it does not have one value"):
                assert DOORS[door](files, tmp_path / "packed")
        else:
            with pytest.raises(packsort.SourceError, match=r"column `turns`.*: add it|column `turns` is list"):
                DOORS[door](files, tmp_path / "packed")


@pytest.mark.parametrize("door", [door for door in DOORS if door != "PackedStream"])
def test_a_list_that_fits_most_rows_is_damaged(door, tmp_path):
    """A column that is left out because of one wrong row would change the training."""
    rows = [[1, 2, 3]] * 20
    gains = [[0.5] * 3] * 19 + [[0.5] * 2]
    with pytest.raises(packsort.SourceError, match="row 19: column `gains` has 2 values, but `input_ids` has 3"):
        sequences(door, pa.table({"input_ids": rows, "gains": gains}), tmp_path)


@pytest.mark.parametrize("door", DOORS)
def test_masks_that_are_not_known_are_packed_and_said(door, tmp_path):
    with pytest.warns(UserWarning, match="column `loss_mask` is packed as it is: only `labels` decide the loss"):
        packs = DOORS[door](pa.table({"input_ids": [[1, 2]], "loss_mask": [[0, 1]]}), tmp_path / "packed")
    assert list(packs[0]["loss_mask"]) == [0, 1]


@pytest.mark.parametrize("door", DOORS)
def test_empty_sequences_are_refused_or_dropped(door, tmp_path):
    table = pa.table({"input_ids": pa.array([[], [1, 2], [], [3]], pa.list_(pa.int32())), "length": [0, 2, 0, 1]})
    with pytest.raises(packsort.SourceError, match=r"\b0.*is empty; .*: pass empty='drop'"):
        sequences(door, table, tmp_path)
    assert [one["input_ids"] for one in sequences(door, table, tmp_path, empty="drop")] == [[1, 2], [3]]
    with pytest.raises(packsort.OptionError, match="empty must be one of 'error', 'drop'"):
        sequences(door, table, tmp_path, empty="leave")


def test_dropped_sequences_are_counted_and_proven_empty(tmp_path, capsys):
    ids = pa.list_(pa.int32())
    pq.write_table(pa.table({"input_ids": pa.array([[], [1, 2]], ids)}), tmp_path / "a.parquet")
    pq.write_table(pa.table({"input_ids": pa.array([[], [3], []], ids)}), tmp_path / "b.parquet")
    assert main(["pack", str(tmp_path), "-o", str(tmp_path / "packed"), "--max-length", "4"]) == 1
    assert "hint: use `--empty drop`" in capsys.readouterr().err
    command = ["pack", str(tmp_path), "-o", str(tmp_path / "packed"), "--max-length", "4", "--empty", "drop"]
    assert main(command) == 0
    assert "3 sequences have no tokens and are left out: 2 in" in capsys.readouterr().out
    manifest = packsort.open_shards(tmp_path / "packed").manifest
    assert (manifest.counts.empty, manifest.counts.sequences, manifest.counts.rows) == (3, 2, 5)
    assert [one.empty for one in manifest.sources] == [1, 2]
    files = [tmp_path / "a.parquet", tmp_path / "b.parquet"]
    assert packsort.verify(tmp_path / "packed", files)
    rows = pa.table({"input_ids": pa.array([[], [1, 2], [9], [3], []], ids)})
    result = packsort.verify(tmp_path / "packed", rows)
    assert "row 2: its 1 tokens are in no pack" in str(result)


def test_sequences_keep_their_rows_when_others_are_dropped(tmp_path):
    table = pa.table({"input_ids": pa.array([[], [1, 2], [], [3, 4]], pa.list_(pa.int32()))})
    packs = packsort.pack(table, 2, empty="drop", seed=None).to_pylist()
    assert [pack["sequence_ids"] for pack in packs] == [[1], [3]]


@pytest.mark.parametrize("strategy", ["ffd", "bfd", "padding", "random", "optimal", "hybrid"])
def test_a_plan_that_drops_empty_sequences_is_the_plan_of_the_others(strategy):
    rng = np.random.default_rng(1)
    lengths = np.where(rng.random(300) < 0.3, 0, rng.integers(0, 60, 300))
    kept = np.flatnonzero(lengths)
    options: dict[str, Any] = {"strategy": strategy, "overlong": "truncate"}
    flags = rng.random(300) < 0.5
    more = {"splittable": flags} if strategy == "hybrid" else {}
    plan = packsort.plan(lengths, 50, empty="drop", **options, **more)
    others = packsort.plan(lengths[kept], 50, **options, **{name: one[kept] for name, one in more.items()})
    assert (plan.num_empty, plan.num_rows) == (300 - len(kept), 300)
    assert [ids.tolist() for ids in plan] == [kept[ids].tolist() for ids in others]
    assert plan.lower_bound == others.lower_bound
    with pytest.raises(packsort.LengthError, match=r"has length 0; .*: pass empty='drop' to leave empty"):
        packsort.plan(lengths, 50, **options, **more)


def test_fingerprints_change_only_where_something_is_dropped(tmp_path):
    lengths = [3, 1, 2]
    plan = packsort.plan(lengths, 4)
    assert packsort.plan(lengths, 4, empty="drop").fingerprint == plan.fingerprint == FINGERPRINT_OF_0_1
    dropped = packsort.plan([3, 0, 1, 2], 4, empty="drop")
    dropped.save(tmp_path / "plan.arrow")
    loaded = packsort.load_plan(tmp_path / "plan.arrow")
    assert loaded == dropped
    assert loaded.num_empty == 1
    assert loaded.with_epoch(3).num_empty == 1


def test_comparisons_leave_empty_sequences_out_of_all_methods():
    found = packsort.compare([3, 0, 5, 2], 7, world_size=1, batch_size=1, empty="drop")
    assert found.num_empty == 1
    assert found[7].ffd == packsort.compare([3, 5, 2], 7, world_size=1, batch_size=1)[7].ffd
    with pytest.raises(packsort.LengthError, match="nothing to compare"):
        packsort.compare([0, 0], 7, empty="drop")


def conversation(*contents: str) -> list[dict[str, str]]:
    return [{"role": ("user", "assistant")[at % 2], "content": text} for at, text in enumerate(contents)]


CHATS = [conversation("hi", "yes"), [], conversation("a" * 200, "b"), conversation("one", "two", "three", "four"), []]


@pytest.mark.parametrize("overlong", ["drop", "split_turns"])
def test_conversations_without_messages_are_dropped_and_counted(overlong, tmp_path, capsys):
    pq.write_table(pa.table({"messages": CHATS}), tmp_path / "chats.parquet")
    tokenizer = built(tmp_path / "tokenizer")
    options: dict[str, Any] = {"tokenizer": tokenizer, "overlong": overlong}
    source = tmp_path / "chats.parquet"
    with pytest.raises(packsort.SourceError, match="row 1: column `messages` is an empty conversation: pass empty="):
        packsort.write_shards(source, tmp_path / "packed", 60, **options)
    manifest = packsort.write_shards(source, tmp_path / "packed", 60, empty="drop", **options)
    assert (manifest.counts.empty, manifest.counts.dropped, manifest.counts.sequences) == (2, 1, 2)
    assert manifest.sources[0].empty == 2
    assert packsort.verify(tmp_path / "packed", source, tokenizer=tokenizer)
    ids = np.concatenate([pack["sequence_ids"] for pack in packsort.open_shards(tmp_path / "packed")])
    assert set(ids.tolist()) == {0, 3}


def test_token_files_keep_empty_rows_so_that_rows_keep_their_numbers(tmp_path, capsys):
    pq.write_table(pa.table({"messages": CHATS}), tmp_path / "chats.parquet")
    built(tmp_path / "tokenizer")
    command = ["tokenize", str(tmp_path / "chats.parquet"), "-o", str(tmp_path / "tokens.parquet")]
    assert main([*command, "--tokenizer", str(tmp_path / "tokenizer"), "--empty", "drop"]) == 0
    assert "2 rows have no tokens and stay as empty lists" in capsys.readouterr().out
    assert (np.array(pq.read_table(tmp_path / "tokens.parquet")["length"]) == 0).tolist() == [0, 1, 0, 0, 1]
    assert packsort.pack(tmp_path / "tokens.parquet", 512, empty="drop").num_rows


def test_a_mapped_file_without_masks_is_not_read_when_it_is_opened(tmp_path):
    """Pages that were read would count as resident."""
    psutil = pytest.importorskip("psutil")
    rows = pa.ListArray.from_arrays(np.arange(0, 2**24 + 1, 2**10, np.int32), pa.array(np.ones(2**24, np.int32)))
    table = pa.table({"input_ids": rows, "labels": rows})
    with pa.ipc.new_file(str(tmp_path / "long.arrow"), table.schema) as writer:
        writer.write_table(table)
    del table, rows
    before = psutil.Process().memory_info().rss
    loader = PackedLoader(tmp_path / "long.arrow", max_length=2**10)
    assert psutil.Process().memory_info().rss - before < 2**25
    assert len(loader)
