"""A fault in the tokens is told in the same words by every callable that takes tokens."""

from __future__ import annotations

import re

import datasets
import pyarrow as pa
import pytest

import packsort
from packsort.hf import pack_dataset
from packsort.torch import PackedLoader, PackedStream

DOORS = {
    "pack": lambda table: packsort.pack(table, 8),
    "PackedLoader": lambda table: list(PackedLoader(table, max_length=8)),
    "PackedStream": lambda table: list(PackedStream(table.to_pylist(), 8)),
    "pack_dataset": lambda table: pack_dataset(datasets.Dataset(table), 8),
}

# Columns whose row 1 is wrong, and the words after its place.
FAULTS = {
    "null": ({"input_ids": [[1], None]}, "column `input_ids` is null; every sequence needs a list"),
    "null_token": (
        {"input_ids": [[1], [2, None]]},
        "column `input_ids` has a null at position 1; every token needs a value",
    ),
    "empty": (
        {"input_ids": [[1], []]},
        "column `input_ids` is empty; every sequence needs at least one token: pass empty='drop' to leave empty "
        "sequences out",
    ),
    "negative": (
        {"input_ids": [[1], [2, -7]]},
        "column `input_ids` must hold values from 0 to 2**31 - 1, got -7 at position 1",
    ),
    "too_big": (
        {"input_ids": [[1], [2**31]]},
        "column `input_ids` must hold values from 0 to 2**31 - 1, got 2147483648 at position 0",
    ),
    "label_too_small": (
        {"input_ids": [[1], [2]], "labels": [[-100], [-(2**31) - 1]]},
        "column `labels` must hold values from -2**31 to 2**31 - 1, got -2147483649 at position 0",
    ),
    "labels_longer": (
        {"input_ids": [[1], [2]], "labels": [[1], [2, 3]]},
        "column `labels` has 2 values, but `input_ids` has 1; every token needs one value: correct or remove the "
        "column",
    ),
    "labels_null": (
        {"input_ids": [[1], [2]], "labels": [[1], None]},
        "column `labels` is null; every sequence needs a list",
    ),
    "weight_null": (
        {"input_ids": [[1], [2, 3]], "weights": [[0.5], [0.5, None]]},
        "column `weights` has a null at position 1; every token needs a value",
    ),
    "length": ({"input_ids": [[1], [2]], "length": [1, 5]}, "column `length` is 5, but `input_ids` has 1 values"),
}

# Columns that are wrong in every row.
TYPES = {
    "float_labels": (
        {"input_ids": [[1], [2]], "labels": [[0.5], [0.5]]},
        "column `labels` must hold a list of integers, got a list of double",
    ),
    "float_tokens": (
        {"input_ids": [[1.0], [2.0]]},
        "column `input_ids` must hold a list of integers, got a list of double",
    ),
    "packed": (
        {"input_ids": [[1], [2]], "seq_lengths": [[1], [1]]},
        "column `seq_lengths` is one that packing adds: the rows are packed already, or rename it",
    ),
}


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("fault", FAULTS)
def test_a_wrong_row_is_told_in_the_same_words(fault, door):
    columns, words = FAULTS[fault]
    with pytest.raises(packsort.SourceError) as caught:
        DOORS[door](pa.table(columns))
    place = "sequence 1 of the stream" if door == "PackedStream" else "`<table>` row 1"
    assert str(caught.value) == f"{place}: {words}"


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("fault", TYPES)
def test_a_wrong_column_is_told_in_the_same_words(fault, door):
    columns, words = TYPES[fault]
    with pytest.raises(packsort.SourceError) as caught:
        DOORS[door](pa.table(columns))
    assert re.sub(r"^sequence 0 of the stream: ", "", str(caught.value)) == words


@pytest.mark.parametrize("labels", [None, [None]])
def test_labels_that_are_null_in_the_first_sequence_of_a_stream_are_not_left_out(labels):
    items = [{"input_ids": [1], "labels": labels}, {"input_ids": [2], "labels": [2]}]
    with pytest.raises(packsort.SourceError, match="sequence 0 of the stream: column `labels` "):
        list(PackedStream(items, 8))


@pytest.mark.parametrize("door", DOORS)
def test_columns_without_a_value_a_token_are_left_out(door):
    table = pa.table({"input_ids": [[1], [2]], "text": ["a", "b"], "tags": [["x", "y"], ["z", "z"]], "length": [1, 1]})
    packed = DOORS[door](table)
    assert not {"text", "tags", "length"} & set(packed[0] if isinstance(packed, list) else packed.column_names)
