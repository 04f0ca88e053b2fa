"""Index-only directories give the packs and batches that shards give, from files that stay where they are."""

from __future__ import annotations

import json
import os
import random
import shutil
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from torch.utils.data import DataLoader

import packsort
from loading import digests
from packsort.errors import DamagedError, LengthError, OptionError, SourceError
from packsort.shards import index_prepare
from packsort.sources.tokens.blocks import TokenBlocks
from packsort.torch import PackedCollator, PackedDataset, PackedLoader

pytestmark = pytest.mark.filterwarnings(
    "ignore:.*(are|is) left out:UserWarning", r"ignore:`model\(\*\*batch\)` fails:UserWarning"
)
REPEATS = int(os.environ.get("PACKSORT_REPEATS", "1"))  # how often as many cases as in the short run are tried
WIDTH = 48


def rows(count: int, seed: int = 0, *, longest: int = 40) -> pa.Table:
    """Rows with every kind of column: masks, weights, flags, padding, and values to keep."""
    draw = np.random.default_rng(seed)
    lengths = draw.integers(1, longest, count)
    ids = [draw.integers(1, 90, n).tolist() for n in lengths]
    left = [int(draw.integers(0, 3)) for _ in ids]
    padded = [[0] * before + one + [0] * (before % 2) for before, one in zip(left, ids, strict=True)]
    return pa.table(
        {
            "input_ids": pa.array(padded, pa.large_list(pa.int64()) if seed % 2 else pa.list_(pa.int32())),
            "attention_mask": [
                [0] * before + [1] * len(one) + [0] * (before % 2) for before, one in zip(left, ids, strict=True)
            ],
            "completion_mask": [draw.integers(0, 2, len(one)).tolist() for one in padded],
            "weights": pa.array([draw.random(len(one)).tolist() for one in padded], pa.list_(pa.float32())),
            "flags": [(draw.random(len(one)) < 0.5).tolist() for one in padded],
            "turns": [[1, 2]] * count,
            "source": [f"s{n % 3}" for n in range(count)],
            "reward": draw.random(count),
            "short": lengths < longest / 2,
        }
    )


def labelled(count: int, seed: int = 0) -> pa.Table:
    """The same rows with labels in place of masks of the loss, so that batches are written of the files."""
    table = rows(count, seed).drop_columns(["completion_mask"])
    draw = np.random.default_rng(seed)
    labels = [[-100 if draw.random() < 0.4 else token for token in one] for one in table["input_ids"].to_pylist()]
    return table.append_column("labels", pa.array(labels, pa.list_(pa.int64() if seed % 3 else pa.int32())))


def plain(count: int, seed: int = 0, *, longest: int = 40) -> pa.Table:
    draw = np.random.default_rng(seed)
    ids = [draw.integers(1, 90, n).tolist() for n in draw.integers(1, longest, count)]
    return pa.table({"input_ids": pa.array(ids, pa.list_(pa.int32()))})


def write(table: pa.Table, folder: Path, kind: str, group: int = 16) -> Path:
    """Write a table as two files of a format."""
    folder.mkdir(parents=True)
    half = table.num_rows // 3
    for name, part in (("a", table.slice(0, half)), ("b", table.slice(half))):
        if kind == "parquet":
            pq.write_table(part, folder / f"{name}.parquet", row_group_size=group)
            continue
        new = pa.ipc.new_file if kind == "arrow" else pa.ipc.new_stream
        with pa.OSFile(str(folder / f"{name}.arrow"), "wb") as file, new(file, part.schema) as writer:
            writer.write_table(part, max_chunksize=11)
    return folder


def assert_same_packs(one: Any, other: Any) -> None:
    assert len(one) == len(other)
    for number in range(len(one)):
        first, second = one[number], other[number]
        assert list(first) == list(second)
        for name in first:
            assert first[name].dtype == second[name].dtype
            assert np.array_equal(first[name], second[name], equal_nan=first[name].dtype.kind == "f")


def drawn_options(draw: random.Random) -> dict[str, Any]:
    some: dict[str, Any] = {"seed": draw.choice([0, None, 7]), "epoch": draw.choice([0, 3])}
    some |= draw.choice([{}, {"separator": 91}, {"pad_to_multiple_of": 4, "pad_token_id": 5}])
    some |= draw.choice([{}, {"keep": ["source"]}, {"keep": ["reward", "source", "short"]}])
    some |= draw.choice([{}, {"groups": "source"}, {"alone": "short"}, {"max_sequences": 2}])
    if "alone" not in some and "separator" not in some:
        some |= draw.choice([{}, {"strategy": "bfd"}, {"strategy": "hybrid", "splittable": "short"}])
    some |= draw.choice(
        [{"overlong": "truncate", "truncation_side": "left"}, {"overlong": "split"}, {"overlong": "drop"}]
    )
    return some


def assert_same_batches(folder: Path, **options: Any) -> None:
    one, other = (PackedLoader(folder / name, seed=5, **options) for name in ("shards", "index"))
    assert digests(one) == digests(other), options


@pytest.mark.parametrize("kind", ["arrow", "stream", "parquet"])
@pytest.mark.parametrize("number", range(3 * REPEATS))
def test_packs_batches_and_counts_equal_those_of_shards(kind: str, number: int, tmp_path: Path) -> None:
    draw = random.Random(f"{kind} {number}")
    source = write(rows(80, number), tmp_path / "data", kind)
    options = drawn_options(draw)
    width = draw.choice([24, WIDTH])
    shards = {"format": "parquet" if kind == "parquet" else "arrow"}  # whose order an epoch has
    written = packsort.write_shards(source, tmp_path / "shards", width, **shards, **options)
    index = packsort.write_shards(source, tmp_path / "index", width, index_only=True, **options)
    for name in ("counts", "columns", "plan", "sources", "left_out", "masks", "uneven", "dictionaries"):
        assert getattr(index, name) == getattr(written, name)
    assert_same_packs(packsort.open_shards(tmp_path / "shards"), packsort.open_shards(tmp_path / "index"))
    found = packsort.verify(tmp_path / "index", source)
    assert found, found
    for layout in ("flat", "rows"):
        assert_same_batches(tmp_path, batch_size=3, layout=layout)
    again = packsort.write_shards(tmp_path / "index", tmp_path / "again", width, **options)
    assert (again.counts, again.columns) == (written.counts, written.columns)
    assert_same_packs(packsort.open_shards(tmp_path / "shards"), packsort.open_shards(tmp_path / "again"))


LAYOUTS: list[dict[str, Any]] = [
    {"layout": "flat"},
    {"layout": "flat", "labels": "shifted", "attention": "pack", "drop_columns": ["weights", "flags"]},
    {"layout": "flat", "pad_batch_to_multiple_of": 16, "loss_weights": "token", "weight_column": "weights"},
    {"layout": "rows", "padding": "last", "loss_weights": "sample"},
    {"layout": "rows", "loss_weights": "sqrt", "weight_column": "weights"},
    {"layout": "megatron", "loss_weights": "sqrt"},
    {"layout": "torchtune"},
]


@pytest.mark.parametrize("kind", ["arrow", "stream", "parquet"])
@pytest.mark.parametrize("number", range(6 * REPEATS))
def test_batches_of_every_layout_are_those_of_shards(kind: str, number: int, tmp_path: Path) -> None:
    draw = random.Random(f"{kind} {number}")
    table = labelled(60, number) if draw.random() < 0.7 else plain(60, number)
    options = drawn_options(draw) if "source" in table.column_names else {"separator": 91, "overlong": "split"}
    source = write(table, tmp_path / "data", kind)
    written = packsort.write_shards(
        source, tmp_path / "shards", 24, format="parquet" if kind == "parquet" else "arrow", **options
    )
    index = packsort.write_shards(source, tmp_path / "index", 24, index_only=True, **options)
    assert index.counts == written.counts
    assert_same_packs(packsort.open_shards(tmp_path / "shards"), packsort.open_shards(tmp_path / "index"))
    for layout in LAYOUTS:
        names = [*([layout["weight_column"]] if "weight_column" in layout else []), *layout.get("drop_columns", ())]
        if set(names) <= set(table.column_names):
            assert_same_batches(tmp_path, batch_size=draw.choice([1, 3]), **layout)


def test_random_packing_of_arrow_is_that_of_shards(tmp_path: Path) -> None:
    source = write(labelled(90), tmp_path / "data", "arrow")
    options: dict[str, Any] = {"strategy": "random", "seed": 4}
    packsort.write_shards(source, tmp_path / "shards", WIDTH, **options)
    packsort.write_shards(source, tmp_path / "index", WIDTH, index_only=True, **options)
    assert_same_packs(packsort.open_shards(tmp_path / "shards"), packsort.open_shards(tmp_path / "index"))
    assert_same_batches(tmp_path, batch_size=2)


@pytest.mark.parametrize("number", range(2 * REPEATS))
def test_stretches_of_row_groups_hold_every_token_once(number: int, tmp_path: Path) -> None:
    draw = random.Random(number)
    source = write(rows(200, number), tmp_path / "data", "parquet", group=draw.randrange(5, 30))
    options = drawn_options(draw)
    index = packsort.write_shards(source, tmp_path / "index", WIDTH, index_only=True, shard_size="9kB", **options)
    assert len(index.shards) > 3
    assert packsort.verify(tmp_path / "index", source)
    shards = packsort.open_shards(tmp_path / "index", cache_size=index.index.block_bytes)
    firsts = np.cumsum([0, *(shard.packs for shard in index.shards)])
    spans = []
    for first, end in pairwise(firsts):
        ids = np.concatenate([shards[pack]["sequence_ids"] for pack in range(first, end)])
        spans.append((ids[ids >= 0].min(), ids.max()))
    assert all(before[1] < after[0] for before, after in pairwise(spans))


def test_an_epoch_reads_each_row_group_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = write(plain(600), tmp_path / "data", "parquet", group=20)
    index = packsort.write_shards(source, tmp_path / "index", WIDTH, index_only=True, shard_size="8kB")
    read: list[Any] = []
    table = TokenBlocks._table
    monkeypatch.setattr(TokenBlocks, "_table", lambda self, key, first: read.append(key) or table(self, key, first))
    shards = packsort.open_shards(tmp_path / "index", cache_size=2 * index.index.block_bytes)
    loader = PackedLoader(shards, batch_size=4, tail="drop")
    for _ in range(2):
        read.clear()
        assert len(digests(loader)) > 20
        assert len(set(read)) == 600 // 20
        assert len(read) <= 600 // 20
        shards.tokens._blocks._view = shards.tokens._blocks._known()  # an epoch of its own


@pytest.mark.parametrize("kind", ["arrow", "parquet"])
def test_packs_are_looked_up_together_within_a_stretch(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = write(plain(600), tmp_path / "data", kind, group=20)
    manifest = packsort.write_shards(source, tmp_path / "index", WIDTH, index_only=True, shard_size="8kB")
    looked_up: list[int] = []
    find = TokenBlocks.find_packs
    monkeypatch.setattr(
        TokenBlocks, "find_packs", lambda self, packs: looked_up.append(len(packs[0])) or find(self, packs)
    )
    loader, shards = PackedLoader(tmp_path / "index", batch_size=1), packsort.open_shards(tmp_path / "index")
    numbers = [number for index in range(len(loader)) for number in loader.packs_of(index)]
    for number, batch in zip(numbers, loader, strict=True):
        assert batch["input_ids"].tolist() == [shards[number]["input_ids"].tolist()]
    assert sum(looked_up) == len(shards) > 200
    stretches = len(manifest.shards) if kind == "parquet" else 0
    assert stretches != 1
    assert len(looked_up) <= len(shards) // 64 + 1 + stretches


@pytest.mark.parametrize("stretches", [1, 2])
def test_the_next_stretch_is_decoded_ahead_if_the_cache_holds_it(stretches: int, tmp_path: Path) -> None:
    source = write(plain(300), tmp_path / "data", "parquet", group=10)
    index = packsort.write_shards(source, tmp_path / "index", WIDTH, index_only=True, shard_size="4kB")
    limit = stretches * index.index.block_bytes
    shards = packsort.open_shards(tmp_path / "index", cache_size=limit)
    blocks = shards.tokens._blocks
    following = shards._columns(1)["sequence_ids"][1].min()
    found = digests(PackedLoader(tmp_path / "index", batch_size=1, seed=None))
    ahead = []
    for number, batch in enumerate(PackedLoader(shards, batch_size=1, seed=None)):
        assert digests([batch]) == found[number : number + 1]
        view, waiting = blocks._view, blocks._reads.waiting
        held = [at for at, key in enumerate(view.keys) if key in waiting or view.base[at] >= 0]
        assert view.bytes[held].sum() <= limit
        ahead.append(bool(waiting) and bool(view.starts[held].max() >= following))
    assert ahead[0] == (stretches == 2)
    assert not blocks._reads.waiting


def test_the_cache_is_bounded_in_any_order(tmp_path: Path) -> None:
    source = write(plain(300), tmp_path / "data", "parquet", group=10)
    index = packsort.write_shards(source, tmp_path / "index", WIDTH, index_only=True, shard_size="4kB")
    least = index.index.block_bytes
    with pytest.raises(OptionError, match=f"cache_size must be at least {least:,}.*, got {least - 1:,}"):
        packsort.open_shards(tmp_path / "index", cache_size=least - 1)
    shards, all_kept = (
        packsort.open_shards(tmp_path / "index", cache_size=least),
        packsort.open_shards(tmp_path / "index"),
    )
    blocks = shards.tokens._blocks
    for pack in np.random.default_rng(1).permutation(len(shards)):
        assert np.array_equal(shards[pack]["input_ids"], all_kept[pack]["input_ids"])
        assert blocks._view.bytes[blocks._view.base >= 0].sum() <= least
    assert [pack["input_ids"].tolist() for pack in shards.take(range(len(shards)))] == [  # more than the cache holds
        pack["input_ids"].tolist() for pack in all_kept
    ]
    assert blocks._view.bytes[blocks._view.base >= 0].sum() <= least


def test_an_index_is_planned_again_without_its_tokens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = write(rows(120), tmp_path / "data", "parquet")
    packsort.write_shards(source, tmp_path / "index", 64, index_only=True)
    expected = packsort.write_shards(source, tmp_path / "expected", 96, index_only=True, seed=3, separator=1)

    def refuse(*_: object) -> None:
        raise AssertionError("tokens are read")

    monkeypatch.setattr(index_prepare, "survey_tokens", refuse)
    monkeypatch.setattr(TokenBlocks, "_table", refuse)
    found = packsort.write_shards(tmp_path / "index", tmp_path / "other", 96, index_only=True, seed=3, separator=1)
    monkeypatch.undo()
    assert found == expected
    same = [path.name for path in (tmp_path / "expected").iterdir()]
    assert all((tmp_path / "expected" / name).read_bytes() == (tmp_path / "other" / name).read_bytes() for name in same)
    # An index replaces itself.
    packsort.write_shards(tmp_path / "other", tmp_path / "other", 50, index_only=True, overwrite=True)
    assert packsort.verify(tmp_path / "other", source)
    with pytest.raises(LengthError, match=r"longer than 20 tokens"):
        packsort.write_shards(tmp_path / "index", tmp_path / "short", 20, index_only=True)
    with pytest.raises(OptionError, match=r"columns does not go with .*which has chosen its rows and columns"):
        packsort.write_shards(tmp_path / "index", tmp_path / "short", 96, columns={"input_ids": "text"})


def test_renamed_columns_and_splits_are_those_of_packing(tmp_path: Path) -> None:
    table = plain(60).rename_columns(["tokens"])
    source = write(table, tmp_path / "data" / "train", "parquet")
    write(plain(20, 1).rename_columns(["tokens"]), tmp_path / "data" / "test", "parquet")
    options: dict[str, Any] = {"columns": {"input_ids": "tokens"}, "split": "train"}
    packsort.write_shards(tmp_path / "data", tmp_path / "shards", WIDTH, **options)
    packsort.write_shards(tmp_path / "data", tmp_path / "index", WIDTH, index_only=True, **options)
    packsort.write_shards(tmp_path / "index", tmp_path / "again", WIDTH, index_only=True)
    for name in ("index", "again"):
        assert_same_packs(packsort.open_shards(tmp_path / "shards"), packsort.open_shards(tmp_path / name))
        assert packsort.verify(tmp_path / name, source)


def _touch(path: Path) -> None:
    os.utime(path)


def _other_content(path: Path) -> None:
    """Replace bytes in the middle and keep size and time, as a tool that sets times does."""
    before = path.stat()
    content = bytearray(path.read_bytes())
    for at in range(len(content) // 3, len(content) // 2):
        content[at] ^= 255
    path.write_bytes(content)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


CHANGES = {
    "gone": (Path.unlink, "is gone"),
    "shorter": (lambda path: os.truncate(path, 100), "was changed .*it has 100 bytes"),
    "touched": (_touch, r"was changed .*its time of change .*`cp -p`"),
    "other content": (_other_content, "was changed .*its content differs"),
    "a pipe": (lambda path: (path.unlink(), os.mkfifo(path)), "is no regular file"),
    "a folder": (lambda path: (path.unlink(), path.mkdir()), "is no regular file"),
}


@pytest.mark.parametrize("kind", ["arrow", "parquet"])
@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_file_is_refused_by_name_when_the_index_is_opened(change: str, kind: str, tmp_path: Path) -> None:
    source = write(plain(60), tmp_path / "data", kind)
    packsort.write_shards(source, tmp_path / "index", WIDTH, index_only=True)
    alter, words = CHANGES[change]
    alter(source / f"b.{kind}")
    where = rf"`{source / f'b.{kind}'}` {words}"
    with pytest.raises(DamagedError, match=where):
        list(packsort.open_shards(tmp_path / "index"))
    with pytest.raises(DamagedError, match=where):
        packsort.write_shards(tmp_path / "index", tmp_path / "again", 64, index_only=True)
    assert not (tmp_path / "again").exists()


@pytest.mark.parametrize("kind", ["arrow", "parquet"])
@pytest.mark.parametrize("change", ["gone", "touched"])
def test_a_file_that_changes_while_a_loader_reads_is_refused(
    change: str, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from packsort.torch._packs import directory

    monkeypatch.setattr(directory, "_CHECK_SECONDS", 0)
    source = write(plain(200), tmp_path / "data", kind)
    packsort.write_shards(source, tmp_path / "index", WIDTH, index_only=True, shard_size="4kB")
    loader = PackedLoader(tmp_path / "index", prefetch=0)
    batches = iter(loader)
    next(batches)
    alter, words = CHANGES[change]
    alter(source / f"b.{kind}")
    with pytest.raises(DamagedError, match=rf"batch 1, packs .*b\.{kind}` {words}"):
        list(batches)


def test_a_row_group_is_not_read_of_a_file_that_was_changed(tmp_path: Path) -> None:
    source = write(plain(200), tmp_path / "data", "parquet", group=5)
    packsort.write_shards(source, tmp_path / "index", WIDTH, index_only=True, shard_size="2kB")
    shards = packsort.open_shards(tmp_path / "index", cache_size=10_000)
    assert len(shards[0]["input_ids"])
    pq.write_table(plain(200 // 3, 9), source / "a.parquet", row_group_size=5)
    with pytest.raises(DamagedError, match=r"a\.parquet` was changed since it was packed"):
        list(shards)


def test_a_source_that_changes_while_it_is_packed_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = write(plain(60), tmp_path / "data", "parquet")
    survey = index_prepare.survey_tokens

    def slow(*args: Any) -> Any:
        found = survey(*args)
        _touch(source / "a.parquet")
        return found

    monkeypatch.setattr(index_prepare, "survey_tokens", slow)
    with pytest.raises(DamagedError, match=r"a\.parquet` was changed"):
        packsort.write_shards(source, tmp_path / "index", WIDTH, index_only=True)
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


def test_index_and_files_move_together_and_the_index_alone(tmp_path: Path) -> None:
    source = write(plain(60), tmp_path / "here" / "data", "arrow")
    packsort.write_shards(source, tmp_path / "here" / "index", WIDTH, index_only=True)
    expected = [pack["input_ids"].tolist() for pack in packsort.open_shards(tmp_path / "here" / "index")]
    (tmp_path / "far" / "away").mkdir(parents=True)
    shutil.move(tmp_path / "here" / "index", tmp_path / "far" / "away" / "index")
    found = packsort.open_shards(tmp_path / "far" / "away" / "index")
    assert [pack["input_ids"].tolist() for pack in found] == expected
    shutil.move(tmp_path / "far" / "away" / "index", tmp_path / "here" / "index")
    shutil.move(tmp_path / "here", tmp_path / "there")
    (tmp_path / "link").symlink_to(tmp_path / "there" / "index")
    for name in ("there/index", "link"):
        assert [pack["input_ids"].tolist() for pack in packsort.open_shards(tmp_path / name)] == expected


@pytest.mark.parametrize("kind", ["arrow", "parquet"])
@pytest.mark.parametrize("start", ["fork", "spawn"])
def test_workers_give_what_one_process_gives(start: str, kind: str, tmp_path: Path) -> None:
    source = write(rows(80), tmp_path / "data", kind)
    packsort.write_shards(source, tmp_path / "index", WIDTH, index_only=True, keep=["source"])
    dataset = PackedDataset(tmp_path / "index")
    assert len(dataset[0]["input_ids"])  # what was read before the fork stays readable
    collate = PackedCollator("rows", WIDTH, keep=["source"])
    one, several = (
        DataLoader(dataset, batch_size=4, collate_fn=collate, **more)
        for more in ({}, {"num_workers": 2, "multiprocessing_context": start})
    )
    assert digests(one) == digests(several)


def test_two_ranks_share_an_epoch_and_resume_it(tmp_path: Path) -> None:
    source = write(plain(200), tmp_path / "data", "parquet")
    for name, width in (("index", WIDTH), ("other", 64)):
        packsort.write_shards(source, tmp_path / name, width, index_only=True, shard_size="4kB")

    def loader(rank: int = 0, world_size: int = 2, name: str = "index") -> PackedLoader:
        return PackedLoader(tmp_path / name, batch_size=2, rank=rank, world_size=world_size)

    whole = digests(loader(world_size=1))
    ranks = [digests(loader(rank)) for rank in (0, 1)]
    assert [one for pair in zip(*ranks, strict=True) for one in pair][: len(whole)] == whole
    batches = iter(first := loader(1))
    for _ in range(3):
        next(batches)
    state = first.state_dict()
    resumed = loader(1)
    resumed.load_state_dict(state)
    assert digests(resumed) == ranks[1][3:]
    with pytest.raises(OptionError):
        loader(1, name="other").load_state_dict(state)
    # The same plan of other tokens is another index.
    write(
        pa.table({"input_ids": [[one + 1 for one in ids] for ids in plain(200)["input_ids"].to_pylist()]}),
        tmp_path / "new",
        "parquet",
    )
    packsort.write_shards(tmp_path / "new", tmp_path / "changed", WIDTH, index_only=True, shard_size="4kB")
    with pytest.raises(OptionError):
        loader(1, name="changed").load_state_dict(state)


def test_loaders_and_hugging_face_read_an_index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    from packsort.hf import load

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path / "cache"))
    source = write(rows(60), tmp_path / "data", "arrow")
    for name, only in (("shards", False), ("index", True)):
        packsort.write_shards(source, tmp_path / name, WIDTH, keep=["source"], separator=2, index_only=only)
    one, other = load(tmp_path / "shards"), load(tmp_path / "index")
    assert one.features == other.features
    assert one.to_list() == other.to_list()
    assert list(load(tmp_path / "index", streaming=True)) == list(load(tmp_path / "shards", streaming=True))


@pytest.mark.parametrize("format", ["megatron", "trl"])
def test_exports_equal_those_of_shards(format: Any, tmp_path: Path) -> None:
    source = write(plain(90), tmp_path / "data", "arrow")
    packsort.write_shards(source, tmp_path / "shards", WIDTH, shard_size="3kB")
    packsort.write_shards(source, tmp_path / "index", WIDTH, shard_size="3kB", index_only=True)
    files = packsort.export(tmp_path / "shards", tmp_path / "one", format=format)
    others = packsort.export(tmp_path / "index", tmp_path / "other", format=format)
    assert len(files) > 1
    assert [pq.read_table(file) for file in files] == [pq.read_table(file) for file in others]


def test_what_cannot_stay_where_it_is_is_refused(tmp_path: Path, tokenizer_folder: Path) -> None:
    def refused(source: Any, words: str, **options: Any) -> None:
        with pytest.raises((OptionError, SourceError), match=words):
            packsort.write_shards(source, tmp_path / "index", WIDTH, index_only=True, **options)
        assert not (tmp_path / "index").exists()

    refused(plain(9), "`<table>` is none: write its rows to a Parquet or Arrow file")
    (tmp_path / "rows.jsonl").write_text('{"input_ids": [1, 2]}\n')
    refused(
        tmp_path / "rows.jsonl", "rows.jsonl` cannot be read in any order: write the rows to a Parquet or Arrow file"
    )
    options = pa.ipc.IpcWriteOptions(compression="zstd")
    with pa.ipc.new_file(str(tmp_path / "zipped.arrow"), plain(400).schema, options=options) as writer:
        writer.write_table(plain(400))
    refused(tmp_path / "zipped.arrow", "is compressed Arrow, which cannot be mapped: write it without compression")
    source = write(plain(90), tmp_path / "data", "parquet")
    refused(source, "a tokenizer: an index refers to tokens that are in files", tokenizer=str(tokenizer_folder))
    refused(source, "format='parquet': an index is Arrow", format="parquet")
    refused(source, "overlong='split_turns'", overlong="split_turns")
    refused(source, "strategy='random' does not go with index_only=True", strategy="random", shard_size="1kB")
    pq.write_table(pa.table({"input_ids": [[1, 2], [-3]]}), tmp_path / "wrong.parquet")
    refused(tmp_path / "wrong.parquet", r"wrong.parquet` row 1: column `input_ids` must hold values from 0")


def test_the_commands_speak_of_the_files(tmp_path: Path, run: Any) -> None:
    source = write(plain(60), tmp_path / "data", "parquet")
    out = tmp_path / "index"
    call = ("pack", source, "-o", out, "--max-length", WIDTH, "--index-only")
    dry = run(*call, "--dry-run")
    assert "nothing; 1 shard without --dry-run" in dry.stdout
    assert not out.exists()
    done = run(*call)
    assert done.returncode == 0, done.stderr
    assert f"tokens in   `{source / 'a.parquet'}`, `{source / 'b.parquet'}`, read by row group" in done.stdout
    again = run("pack", out, "-o", tmp_path / "other", "--max-length", 64, "--index-only", "--json")
    assert json.loads(again.stdout)["index"]["files"][0]["path"] == "../data/a.parquet"
    shown = run("inspect", out)
    assert f"tokens in  `{source / 'a.parquet'}`" in shown.stdout
    assert json.loads(run("inspect", out, "--json").stdout)["tokens_in"] == [
        f"{source}/a.parquet",
        f"{source}/b.parquet",
    ]
    assert run("verify", out, "--source", source).returncode == 0
    assert run("check", out, "--help").returncode == 0


def test_nothing_of_an_index_is_mapped_where_it_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = write(plain(60), tmp_path / "data", "arrow")
    packsort.write_shards(source, tmp_path / "index", WIDTH, index_only=True)
    expected = digests(PackedLoader(tmp_path / "index"))

    def refuse(path: str) -> None:
        raise AssertionError(f"{path} is mapped")

    monkeypatch.setattr(pa, "memory_map", refuse)
    loader = PackedLoader(tmp_path / "index", memory_map=False)
    assert digests(loader) == expected
    packsort.write_shards(source, tmp_path / "again", WIDTH, index_only=True, memory_map=False)


def test_batches_of_an_index_are_those_that_a_model_needs(tmp_path: Path) -> None:
    """Tokens of a batch are writable copies, and arrays of a pack are read-only, as those of shards."""
    source = write(plain(60), tmp_path / "data", "arrow")
    packsort.write_shards(source, tmp_path / "index", WIDTH, index_only=True)
    pack = packsort.open_shards(tmp_path / "index")[0]
    with pytest.raises(ValueError, match="read-only"):
        pack["input_ids"][0] = 1
    assert next(iter(PackedLoader(tmp_path / "index")))["input_ids"].dtype == torch.int64
