"""Sources and options that `PackedLoader` takes and refuses, and packed directories that change while it reads."""

from __future__ import annotations

import os
import re
import shutil

import datasets
import numpy as np
import polars
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import packsort
from loading import digests
from packed_rows import MAX_LENGTH, packed, rows
from packsort.torch import PackedDataset, PackedLoader
from packsort.torch._packs.open_packs import open_packs
from packsort.torch._packs.packing_options import PackingOptions
from token_rows import token_table

TABLE = rows(80)
EXPECTED = packsort.pack(TABLE, MAX_LENGTH, seed=0)


def arrow_file(path, table, rows_a_batch=7):
    with pa.ipc.new_file(path, table.schema) as writer:
        for batch in table.to_batches(max_chunksize=rows_a_batch):
            writer.write_batch(batch)
    return path


def arrow_stream(path, table):
    with pa.ipc.new_stream(path, table.schema) as writer:
        writer.write_table(table, 9)
    return path


def folder(path):
    path.mkdir()
    pq.write_table(TABLE.slice(0, 30), path / "a.parquet")
    arrow_file(path / "b.arrow", TABLE.slice(30))
    return path


def with_type(kind):
    fields = [pa.field(name, kind) for name in TABLE.column_names]
    return TABLE.cast(pa.schema(fields))


def with_views():
    columns = {}
    for name, column in zip(TABLE.column_names, TABLE.columns, strict=True):
        lists = column.combine_chunks()
        sizes = pc.list_value_length(lists)
        columns[name] = pa.ListViewArray.from_arrays(lists.offsets[:-1], sizes, lists.values)
    return pa.table(columns)


SOURCES = {
    "table": lambda path: TABLE,
    "sliced table": lambda path: pa.concat_tables([TABLE.slice(0, 20), TABLE]).slice(20),
    "reader": lambda path: TABLE.to_reader(max_chunksize=11),
    "parquet": lambda path: pq.write_table(TABLE, path / "a.parquet") or path / "a.parquet",
    "arrow": lambda path: arrow_file(path / "a.arrow", TABLE),
    "arrow stream": lambda path: arrow_stream(path / "a.arrow", TABLE),
    "paths": lambda path: [arrow_file(path / "a", TABLE.slice(0, 9)), arrow_file(path / "b", TABLE.slice(9))],
    "folder": lambda path: folder(path / "tokens"),
    "glob": lambda path: f"{folder(path / 'tokens')}/*",
    "dataset": lambda path: datasets.Dataset(TABLE),
    "selected dataset": lambda path: datasets.Dataset(pa.concat_tables([TABLE, TABLE])).select(range(80, 160)),
    "polars": lambda path: polars.from_arrow(TABLE),
    "int64": lambda path: with_type(pa.list_(pa.int64())),
    "large lists": lambda path: with_type(pa.large_list(pa.int16())),
    "list views": lambda path: with_views(),
    "with lengths": lambda path: TABLE.append_column("length", pc.list_value_length(TABLE["input_ids"])),
}


@pytest.mark.parametrize("kind", SOURCES)
def test_all_sources_give_the_packs_of_pack(tmp_path, kind):
    loader = PackedLoader(SOURCES[kind](tmp_path), max_length=MAX_LENGTH)
    batches = list(loader)
    assert [batch["input_ids"][0].tolist() for batch in batches] == EXPECTED["input_ids"].to_pylist()
    labels = [np.array(one) for one in EXPECTED["labels"].to_pylist()]
    for batch, expected in zip(batches, labels, strict=True):
        expected[batch["cu_seq_lens_q"][:-1].numpy()] = -100
        assert batch["labels"][0].tolist() == expected.tolist()


@settings(max_examples=30, deadline=None)
@given(data=st.data(), overlong=st.sampled_from(["drop", "truncate", "split"]), seed=st.sampled_from([None, 5]))
def test_any_packs_are_the_rows_of_pack(data, overlong, seed):
    table = token_table(60, 90)
    options = {"overlong": overlong, "seed": seed}
    expected = packsort.pack(table, 64, **options).to_pylist()
    packs = open_packs(table, PackingOptions.check("PackedLoader", 64, {"overlong": overlong}, seed))
    numbers = data.draw(st.lists(st.integers(0, len(packs) - 1), min_size=1, max_size=6))
    assert packs.columns == tuple(expected[0])
    for number, pack in zip(numbers, packs.in_epoch(0).take(numbers), strict=True):
        assert {name: values.tolist() for name, values in pack.items()} == expected[number]
    assert packs.in_epoch(0).take(numbers)[0]["answer"].dtype == np.bool_


def test_options_of_a_plan_are_handed_on():
    table = token_table(100, 60)
    loader = PackedLoader(table, max_length=64, groups="source", max_sequences=3, strategy="bfd")
    sources = table["source"].to_pylist()
    for pack in loader._identity.packs.in_epoch(0).take(range(loader.num_packs)):
        assert len({sources[row] for row in pack["sequence_ids"]}) == 1
        assert len(pack["sequence_ids"]) <= 3


def test_static_shapes_are_those_of_max_sequences(tmp_path):
    for loader in (
        PackedLoader(TABLE, max_length=MAX_LENGTH, max_sequences=5, static_shapes=True),
        PackedLoader(packed(tmp_path, TABLE, max_sequences=5), static_shapes=True),
    ):
        shapes = {tuple(batch[name].shape for name in ("input_ids", "cu_seq_lens_q")) for batch in loader}
        assert len(shapes) == 1
    with pytest.raises(
        packsort.OptionError, match="static_shapes=True needs the most sequences of a pack: pack `<table>` with max_seq"
    ):
        PackedLoader(TABLE, max_length=MAX_LENGTH, static_shapes=True)


@pytest.mark.parametrize("layout", ["flat", "megatron"])
@pytest.mark.parametrize(
    "filled", [{"separator": 0}, {"pad_to_multiple_of": 8}, {"separator": 0, "pad_to_multiple_of": 8}]
)
def test_static_shapes_have_room_for_separators_and_padding(tmp_path, layout, filled):
    options = {"layout": layout, "static_shapes": True, "batch_size": 2}
    packs = {"max_length": MAX_LENGTH, "max_sequences": 5, **filled}
    for loader in (
        PackedLoader(TABLE, **packs, **options),
        PackedLoader(packed(tmp_path, TABLE, **packs), pad_batch_to_multiple_of=104, **options),
    ):
        found = [{name: v.shape if isinstance(v, torch.Tensor) else v for name, v in batch.items()} for batch in loader]
        assert len(found) > 1
        assert all(shapes == found[0] for shapes in found)
        starts = found[0]["cu_seq_lens_q" if layout == "flat" else "cu_seqlens_q_padded"][0]
        fillers = 4 * ("separator" in filled) + 5 * ("pad_to_multiple_of" in filled)
        tail = loader._batcher.config.pad_batch_to_multiple_of > 1
        assert starts == 2 * (5 + fillers + 1) + 1 + tail if layout == "flat" else starts == 2 * 5 + 1


def test_loss_weights_are_over_the_packs_of_all_ranks_and_accumulation():
    options = {"max_length": MAX_LENGTH, "world_size": 2, "batch_size": 2, "accumulation": 3, "loss_weights": "sample"}
    ranks = [[batch["loss_weights"].sum().item() for batch in PackedLoader(TABLE, rank=r, **options)] for r in range(2)]
    steps = np.array(ranks).reshape(2, -1, 3).sum((0, 2))
    assert len(steps) > 1
    assert steps == pytest.approx(np.ones(len(steps)), abs=1e-5)


# Refused


def refused(message, source, error=packsort.OptionError, **options):
    with pytest.raises(error, match=re.escape(message)):
        list(PackedLoader(source, **options))


def test_options_that_are_not_allowed_are_named(tmp_path):
    path = packed(tmp_path, TABLE)
    refused("rank must be between 0 and 1 (world_size is 2), got 2", path, rank=2, world_size=2)
    refused("rank must be between 0 and 0 (world_size is 1), got 1", path, rank=1)
    refused("rank must be between 0 and 0 (world_size is 1), got -1", path, rank=-1)
    refused("world_size must be at least 1, got 0", path, world_size=0)
    refused("accumulation must be an integer, got 1.5", path, accumulation=1.5)
    refused("tail must be one of 'pad', 'drop', got 'keep'", path, tail="keep")
    refused("balance must be True, False or a CostModel, got 3", path, balance=3)
    refused("prefetch must be at least 0, got -1", path, prefetch=-1)
    refused("seed must be between 0 and 2**64 - 1, got -1", path, seed=-1)
    refused("seed must be an integer, got 'x'", path, seed="x")
    refused("strategy does not go with `", path, strategy="bfd")
    refused("pad_token_id does not go with `", path, pad_token_id=3)
    refused("max_length must be between 1 and", TABLE, max_length=0)
    refused("strategy must be one of 'ffd', ", TABLE, max_length=64, strategy="best")
    packs = len(packsort.open_shards(path))
    refused(f"tail='drop' leaves no step: `{path}` has {packs} packs, and a step of", path, world_size=99, tail="drop")
    with pytest.raises(packsort.OptionError, match="epoch must be between 0 and"):
        PackedLoader(path).set_epoch(-1)
    with pytest.raises(IndexError, match="batch 999 is not in the epoch, which has"):
        PackedLoader(path).packs_of(999)


@pytest.mark.parametrize("device", ["cuda", "cuda:1", "mps", "nowhere", 3.5])
def test_a_device_that_is_not_there_is_named(tmp_path, device):
    if str(device).startswith("cuda") and torch.cuda.is_available():
        device = "cuda:99"
    refused(f"device must be 'auto' or one that PyTorch has here, got {str(device)!r}", packed(tmp_path), device=device)


def test_sequences_too_long_are_named():
    refused(
        "1 of 80 sequences (1.2 %) is longer than 63 tokens; it has 64 (`<table>` row 0)",
        TABLE,
        packsort.LengthError,
        max_length=63,
    )


def lists(*values, kind=None):
    return pa.array(list(values), pa.list_(kind or pa.int32()))


@pytest.mark.parametrize("rows_a_batch", [1, 100])
@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (
            {"input_ids": lists([1], [2, 3], [-1])},
            "row 2: column `input_ids` must hold values from 0 to 2**31 - 1, got -1 at position 0",
        ),
        (
            {"input_ids": lists([1], [2, 2**31], kind=pa.int64())},
            "row 1: column `input_ids` must hold values from 0 to 2**31 - 1, got 2147483648 at position 1",
        ),
        ({"input_ids": lists([1], None)}, "row 1: column `input_ids` is null"),
        ({"input_ids": lists([1], [2, None])}, "row 1: column `input_ids` has a null at position 1"),
        ({"input_ids": lists([1], [])}, "row 1: column `input_ids` is empty; every sequence needs at least one token"),
        (
            {"input_ids": lists([1], [2]), "labels": lists([1], [2, 3])},
            "row 1: column `labels` has 2 values, but `input_ids` has 1",
        ),
        (
            {"input_ids": lists([1], [2]), "length": pa.array([1, 2])},
            "row 1: column `length` is 2, but `input_ids` has 1 values",
        ),
        ({"text": pa.array(["a"])}, "no usable column: there are `text`: string"),
        ({"input_ids": lists([1]), "seq_lengths": lists([1])}, "column `seq_lengths` is one that packing adds"),
    ],
)
def test_wrong_columns_are_named(tmp_path, columns, message, rows_a_batch):
    path = arrow_file(tmp_path / "a.arrow", pa.table(columns), rows_a_batch)
    where = f"`{path}` {message}" if message.startswith("row") else message
    refused(where, path, packsort.SourceError, max_length=8)


def test_nulls_outside_a_slice_do_not_count():
    table = pa.table({"input_ids": lists([None], [1, 2], None)}).slice(1, 1)
    assert [batch["input_ids"].tolist() for batch in PackedLoader(table, max_length=4)] == [[[1, 2]]]


# Directories that change


def changed(path, name):
    return re.escape(f"`{path / name}` was changed while the packed directory was open")


def test_a_directory_that_was_packed_anew_is_found_out(tmp_path):
    path = packed(tmp_path, TABLE)
    loader = PackedLoader(path)
    list(loader)
    packsort.write_shards(rows(70, seed=3), path, MAX_LENGTH, overwrite=True)
    with pytest.raises(packsort.DamagedError, match=changed(path, "manifest.json")):
        iter(loader)


@pytest.mark.parametrize("format", ["arrow", "parquet"])
def test_a_shard_that_was_replaced_is_found_out_amid_a_pass(tmp_path, monkeypatch, format):
    monkeypatch.setattr("packsort.torch._packs.directory._CHECK_SECONDS", 0.0)
    path = packed(tmp_path, TABLE, format=format)
    (shard,) = packsort.open_shards(path).manifest.shards
    batches = iter(PackedLoader(path, prefetch=1))
    next(batches)
    other = packed(tmp_path / "other", rows(80, seed=9), format=format)
    os.replace(other / packsort.open_shards(other).manifest.shards[0].name, path / shard.name)
    with pytest.raises(packsort.DamagedError, match=changed(path, shard.name)):
        list(batches)


def test_a_shard_that_is_gone_is_named(tmp_path):
    path = packed(tmp_path, TABLE)
    loader = PackedLoader(path)
    (shard,) = loader.shards.manifest.shards
    (path / shard.name).unlink()
    with pytest.raises(packsort.DamagedError, match=re.escape(f"`{path / shard.name}` is gone while")):
        iter(loader)


def test_files_that_were_only_touched_or_copied_are_no_change(tmp_path):
    path = packed(tmp_path, TABLE)
    loader = PackedLoader(path)
    expected = digests(loader)
    for file in path.iterdir():
        shutil.copyfile(file, tmp_path / "copy")
        os.replace(tmp_path / "copy", file)
    loader.set_epoch(0)
    assert digests(loader) == expected


def test_separators_and_padding_on_the_fly_are_those_of_shards(tmp_path):
    rng = np.random.default_rng(0)
    table = pa.table({"input_ids": [rng.integers(10, 99, n).tolist() for n in rng.integers(1, 60, 300)]})
    options = {"pad_to_multiple_of": 8, "pad_token_id": 3, "separator": 5}
    packsort.write_shards(table, tmp_path / "packed", 64, **options)

    def batches(loader):
        return sorted((b["input_ids"].tolist(), b["labels"].tolist(), b["cu_seq_lens_q"].tolist()) for b in loader)

    expected = batches(PackedLoader(tmp_path / "packed"))
    assert batches(PackedLoader(table, max_length=64, **options)) == expected
    packs = PackedDataset(table, 64, **options)
    assert sorted(pack["input_ids"].tolist() for pack in packs) == [ids[0] for ids, _, _ in expected]
    filler = sum(label == -100 for _, labels, _ in expected for label in labels[0])
    assert filler > 300  # the first token of each sequence, and what is between them
