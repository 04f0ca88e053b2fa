"""Other per-token columns of packs are in the batch, whatever the layout, or are left out by name."""

from __future__ import annotations

import datasets
import numpy as np
import pyarrow as pa
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import packsort
from packs import MAX_LENGTH, packs
from packsort.torch import Batcher, PackedCollator, PackedDataset, PackedLoader, PackedStream
from packsort.torch.layouts import LAYOUTS

TYPES = ("float16", "float32", "float64", "int8", "int16", "int32", "int64", "uint8", "bool")
ROWS = {"input_ids": [[5, 6, 7], [8, 9]], "weights": [[0.5, 1.5, 2.0], [0.25, 3.0]]}
TABLE = pa.table(ROWS)


def spread(given_packs, values, width):
    """Write the values of each pack into a row of `width`, or all of them into one row."""
    if not width:
        return np.concatenate(values)[None]
    rows = np.zeros((len(given_packs), width, *values[0].shape[1:]), values[0].dtype)
    for row, one in zip(rows, values, strict=True):
        row[: len(one)] = one
    return rows


@pytest.mark.parametrize("layout", LAYOUTS)
@given(given_packs=packs(), kind=st.sampled_from(TYPES), shifted=st.booleans(), many=st.booleans())
@settings(max_examples=30, deadline=None)
def test_numbers_of_any_type_stand_at_their_tokens(layout, given_packs, kind, shifted, many):
    random = np.random.default_rng(len(given_packs))
    values = [
        random.integers(0, 100, (len(pack["input_ids"]), 3) if many else len(pack["input_ids"])).astype(kind)
        for pack in given_packs
    ]
    for pack, one in zip(given_packs, values, strict=True):
        pack["teacher"] = one
    options = {"labels": "shifted"} if shifted and layout != "torchtune" else {}
    batch = Batcher(layout, MAX_LENGTH, **options)(given_packs)
    expected = spread(given_packs, values, MAX_LENGTH if layout in ("rows", "torchtune") else 0)
    assert batch["teacher"].dtype == getattr(torch, kind)
    assert np.array_equal(batch["teacher"].numpy(), expected)


def test_static_shapes_pad_with_zeros():
    pack = {"input_ids": [5, 6], "seq_lengths": [2], "weights": np.array([1.0, 2.0], np.float32)}
    batch = Batcher(max_length=4, max_sequences=2)([pack, pack])
    assert batch["weights"].tolist() == [[1, 2, 0, 0, 1, 2, 0, 0]]


@pytest.mark.parametrize("kind", ["uint16", "uint32", "uint64"])
def test_wide_unsigned_integers_become_int64(kind):
    pack = {"input_ids": [5, 6], "seq_lengths": [2], "n": np.array([1, 2], kind)}
    assert Batcher(max_length=4)([pack])["n"].dtype == torch.int64
    if kind == "uint64":
        pack["n"][0] = 2**63
        with pytest.raises(packsort.SourceError, match="`n` must hold integers up to 2"):
            Batcher(max_length=4)([pack])


DOORS = {
    "PackedLoader": lambda table, folder: next(iter(PackedLoader(table, 8, seed=None))),
    "PackedLoader of a directory": lambda table, folder: next(iter(PackedLoader(written(table, folder), seed=None))),
    "PackedCollator": lambda table, folder: PackedCollator(max_length=8)([PackedDataset(table, 8, seed=None)[0]]),
    "Parquet and datasets": lambda table, folder: PackedCollator(max_length=8)(
        [datasets.Dataset.from_parquet(str(written(table, folder, format="parquet") / "*.parquet"))[0]]
    ),
    "PackedStream": lambda table, folder: next(iter(PackedStream(table.to_pylist(), 8))),
}


def written(table, folder, **options):
    packsort.write_shards(table, folder / "packed", 8, seed=None, **options)
    return folder / "packed"


@pytest.mark.parametrize("door", DOORS)
def test_every_door_gives_the_columns(door, tmp_path):
    table = TABLE.append_column("token_type_ids", pa.array([[0, 0, 1], [1, 0]], pa.list_(pa.int8())))
    batch = DOORS[door](table, tmp_path)
    assert batch["weights"].tolist() == [[0.5, 1.5, 2.0, 0.25, 3.0]]
    assert batch["token_type_ids"].tolist() == [[0, 0, 1, 1, 0]]
    assert batch["token_type_ids"].dtype == torch.int64


def test_columns_are_left_out_by_name():
    assert "weights" not in next(iter(PackedLoader(TABLE, 8, drop_columns="weights")))
    assert "weights" not in next(iter(PackedStream(TABLE.to_pylist(), 8, drop_columns=["weights"])))
    with pytest.raises(packsort.OptionError, match=r"drop_columns='weight' names no column.*`weights`"):
        PackedLoader(TABLE, 8, drop_columns=["weight"])
    with pytest.raises(packsort.OptionError, match="drop_columns must name columns that batches can do without"):
        PackedLoader(TABLE, 8, drop_columns=["input_ids"])
    with pytest.raises(packsort.OptionError, match="drop_columns must name each column once"):
        Batcher(max_length=8, drop_columns=["a", "a"])


@pytest.mark.parametrize(
    ("layout", "name"),
    [("flat", "seq_idx"), ("flat", "max_length_q"), ("rows", "segment_ids"), ("megatron", "tokens")],
)
def test_names_of_the_batch_are_refused_with_the_way_out(layout, name):
    table = pa.table({"input_ids": [[5, 6, 7]], name: [[1, 2, 3]]})
    with pytest.raises(packsort.SourceError, match=rf"`{name}`.*layout '{layout}'.*drop_columns=\['{name}'\]"):
        PackedLoader(table, 8, layout=layout)
    assert next(iter(PackedLoader(table, 8, layout=layout, drop_columns=[name])))["labels"] is not None


def test_positions_that_count_up_are_the_batchs_own_and_others_are_refused():
    table = pa.table({"input_ids": [[5, 6, 7], [8, 9]], "position_ids": [[0, 1, 2], [4, 5]]})
    batch = next(iter(PackedLoader(table, 12, seed=None, pad_to_multiple_of=4)))
    assert batch["position_ids"].tolist() == [[0, 1, 2, 0, 0, 1, 0, 1]]
    apart = pa.table({"input_ids": [[5, 6, 7]], "position_ids": [[0, 1, 5]]})
    with pytest.raises(packsort.SourceError, match=r"goes from 1 to 5 at token 2.*drop_columns"):
        next(iter(PackedLoader(apart, 8)))
    assert next(iter(PackedLoader(apart, 8, drop_columns="position_ids")))["position_ids"].tolist() == [[0, 1, 2]]


@pytest.mark.parametrize("wrong", [[1.0, 2.0, 3.0], ["a", "b"], 7, [[1], [2, 3]]])
def test_a_column_without_a_number_for_each_token_is_refused(wrong):
    pack = {"input_ids": [5, 6], "seq_lengths": [2], "other": wrong}
    with pytest.raises(packsort.SourceError, match=r"`other` has no number for each of 2 tokens.*drop_columns"):
        Batcher(max_length=4)([pack])
    with pytest.raises(packsort.SourceError, match="pack 1 of the batch has a column `more`, but pack 0 has none"):
        Batcher(max_length=4)(
            [
                {"input_ids": [5, 6], "seq_lengths": [2]},
                {"input_ids": [5, 6], "seq_lengths": [2], "more": [1, 2]},
            ]
        )


def test_lists_of_lists_are_left_out_with_a_word():
    table = TABLE.append_column("top", pa.array([[[0.1, 0.2]] * 3, [[0.3, 0.4]] * 2]))
    for call in (packsort.pack, PackedLoader):
        with pytest.warns(UserWarning, match="column `top` is left out: it holds lists of lists of numbers"):
            call(table, 8)
    with pytest.warns(UserWarning, match="column `top` is left out: it holds lists of lists of numbers"):
        list(PackedStream(table.to_pylist(), 8))
