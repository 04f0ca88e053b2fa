"""The columns of a stream are decided by its first sequence, in any state of the stream."""

from __future__ import annotations

import io
import warnings
from typing import Any

import datasets
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import packsort
from packsort.torch import PackedStream
from reference import trained_row


def stream_of(rows: Any, **options: Any) -> PackedStream:
    return PackedStream(rows, 16, **{"buffer_size": 4, "prefetch": 0, "empty": "drop"} | options)


def batches(stream: PackedStream, most: int | None = None) -> list[dict[str, list[int]]]:
    """Tokens and labels of the next batches, with tensors as lists."""
    found = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for batch in stream:
            found.append({name: batch[name].tolist() for name in ("input_ids", "labels", "position_ids")})
            if len(found) == most:
                break
    return found


def saved(state: Any) -> Any:
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


@st.composite
def streams(draw: Any) -> list[dict[str, list[int]]]:
    """Draw padded rows with masks and lists about something else; some are empty."""
    rows = []
    for number in range(draw(st.integers(1, 25))):
        left, kept, right = draw(st.integers(0, 2)), draw(st.integers(0, 8)), draw(st.integers(0, 2))
        size = left + kept + right
        rows.append(
            {
                "input_ids": [10 * number + at for at in range(size)],
                "attention_mask": [0] * left + [1] * kept + [0] * right,
                "assistant_masks": draw(st.lists(st.integers(0, 1), min_size=size, max_size=size)),
                "turns": [1] * 20,
            }
        )
    return rows


@settings(max_examples=60, deadline=None)
@given(rows=streams(), stop=st.integers(1, 5), data=st.data())
def test_a_stream_that_stops_anywhere_goes_on_with_the_same_batches(rows, stop, data):
    whole = batches(stream_of(rows))
    tokens = [trained_row({name: row[name] for name in row if name != "turns"}) for row in rows]
    found = sorted(token for batch in whole for token in batch["input_ids"][0])
    assert found == sorted(token for row in tokens for token in row["input_ids"])
    labels = sorted(label for batch in whole for label in batch["labels"][0] if label != -100)
    assert labels == sorted(label for row in tokens for label in row["labels"][1:] if label != -100)
    first = stream_of(rows)
    before = batches(first, stop)
    state = saved(first.state_dict())
    other = stream_of(rows)
    other.load_state_dict(state)
    assert before + batches(other) == whole
    padded = [row for row in rows if 0 in row["attention_mask"]]
    counts = {
        "empty": sum(1 not in row["attention_mask"] for row in rows),
        "padded": len(padded),
        "padding_left_out": sum(row["attention_mask"].count(0) for row in padded),
    }
    assert {name: other.counts[name] for name in counts} == counts


@pytest.mark.parametrize("start", [0, 3])
@pytest.mark.parametrize("name", ["labels", "weights", "assistant_masks", "attention_mask"])
def test_a_column_that_appears_or_goes_missing_is_refused_by_row(name, start):
    without = [{"input_ids": [1, 2]}] * 5
    with_it = [{"input_ids": [1, 2], name: [1, 1]}] * 5
    with pytest.raises(packsort.SourceError, match=f"sequence 5 of the stream: column `{name}` appears, which"):
        batches(stream_of(without + with_it))
    with pytest.raises(packsort.SourceError, match=f"sequence 5 of the stream: no column `{name}`; there are"):
        batches(stream_of(with_it + without))


def test_columns_that_are_not_packed_may_come_and_go():
    rows = [{"input_ids": [1, 2]}, {"input_ids": [3], "text": "a", "score": 0.5, "labels": None, "tags": ["a"]}]
    assert len(batches(stream_of(rows))) == 1
    with pytest.warns(UserWarning, match="sequence 1 of the stream: column `sizes` is left out"):
        list(stream_of([{"input_ids": [1, 2]}, {"input_ids": [3], "sizes": [640, 480]}]))


def test_what_is_left_out_stays_so_after_a_restart():
    """A list about something else may have one value for each token by chance."""
    rows = [{"input_ids": [1] * 8, "turns": [1]}] * 6 + [{"input_ids": [1] * 8, "turns": [1] * 8}] * 6
    first = stream_of(rows)
    before = batches(first, 1)
    other = stream_of(rows)
    other.load_state_dict(saved(first.state_dict()))
    assert before + batches(other) == batches(stream_of(rows))


def test_padding_is_said_once_and_counted():
    rows = [{"input_ids": [1, 2, 0], "attention_mask": torch.tensor([1, 1, 0])}] * 3
    stream = stream_of(rows)
    with pytest.warns(UserWarning, match="sequence 0 of the stream is padded") as caught:
        list(stream)
    assert len(caught) == 1
    assert (stream.counts["padded"], stream.counts["padding_left_out"]) == (3, 3)


@pytest.mark.parametrize("value", [[[1, 0]], "1 0", 1, {"a": 1}])
@pytest.mark.parametrize("name", ["labels", "attention_mask", "completion_mask"])
def test_labels_and_masks_of_another_kind_are_refused(name, value):
    with pytest.raises(packsort.SourceError, match=f"sequence 0 of the stream: column `{name}` "):
        batches(stream_of([{"input_ids": [1, 2], name: value}]))


@pytest.mark.parametrize("kind", [np.int64, np.float32, np.bool_])
def test_lists_of_numpy_numbers_are_columns(kind):
    rows = [{"input_ids": [1, 2], "weights": [kind(1), kind(0)]}]
    ((pack,),) = stream_of(rows)._new_packer().batches()
    assert pack["weights"].tolist() == [1, 0]


def test_rows_of_a_streaming_dataset_are_read_alike():
    rows = [{"input_ids": [1, 2, 0], "attention_mask": [1, 1, 0], "assistant_masks": [0, 1, 0]}] * 4
    stream = stream_of(datasets.Dataset.from_list(rows).to_iterable_dataset())
    (batch,) = batches(stream)
    assert batch["input_ids"] == [[1, 2] * 4]
    assert batch["labels"] == [[-100, 2] * 4]


def test_states_of_version_0_1_are_loaded():
    """It kept masks as columns, and did not store which columns are read."""
    rows = [{"input_ids": [n, n, 0], "attention_mask": [1, 1, 0]} for n in range(1, 9)]
    waiting = {name: torch.tensor([row[name] for row in rows[:4]]).flatten() for name in rows[0]}
    state = {
        "version": 1,
        **{"max_length": 16, "buffer_size": 4, "overlong": "error", "taken": 4, "ended": False, "source": None},
        "counts": dict.fromkeys(("packs", "sequences", "tokens", "dropped", "truncated"), 0),
        "waiting": {"numbers": [0, 1, 2, 3], "lengths": torch.tensor([3] * 4), **waiting},
        "packs": [],
    }
    stream = stream_of(rows)
    stream.load_state_dict(state)
    assert batches(stream) == batches(stream_of(rows))
