"""`PackedStream` gives every sequence once, fills packs nearly as well as a plan, and resumes where it was."""

from __future__ import annotations

import io
import pickle
import threading
import time

import datasets
import numpy as np
import psutil
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchdata.stateful_dataloader import StatefulDataLoader

import packsort
from loading import digest
from packed_rows import rows
from packsort.torch import PackedLoader, PackedStream
from packsort.torch._stream.buffer import PackBuffer

TABLE = rows(150)
ITEMS = TABLE.to_pylist()


def plain_packs(lengths, max_length, buffer_size):
    """Pack a stream straight from the definition: of a full buffer the oldest, then the longest that fits."""
    coming, waiting, packs = list(enumerate(lengths)), [], []
    while coming or waiting:
        while coming and len(waiting) < buffer_size:
            waiting.append(coming.pop(0))
        ended = len(waiting) < buffer_size  # the source has ended
        pack = [] if ended else [waiting.pop(0)]
        while fits := [one for one in waiting if one[1] <= max_length - sum(length for _, length in pack)]:
            pack.append(max(fits, key=lambda one: (one[1], -one[0])))
            waiting.remove(pack[-1])
        packs.append([number for number, _ in pack])
    return packs


def stream_of(source=ITEMS, **options):
    return PackedStream(source, **{"max_length": 64, "buffer_size": 12} | options)


def packs_of(stream):
    """Return the tokens of each sequence, pack by pack."""
    return [
        [tuple(one) for one in np.split(batch["input_ids"][0].numpy(), batch["cu_seq_lens_q"][1:-1].numpy())]
        for batch in stream
    ]


def saved(state):
    """Save a state to a checkpoint and load it."""
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


@settings(max_examples=80, deadline=None)
@given(lengths=st.lists(st.integers(1, 20), max_size=60), buffer_size=st.integers(1, 15))
def test_packs_are_those_of_the_definition(lengths, buffer_size):
    numbers = PackedStream([[n] * length for n, length in enumerate(lengths)], 20, buffer_size=buffer_size)
    found = [[one[0] for one in pack] for pack in packs_of(numbers)]
    assert found == plain_packs(lengths, 20, buffer_size)


def test_every_sequence_comes_once_with_its_labels():
    seen = {}
    for batch in stream_of(batch_size=2):
        cuts = batch["cu_seq_lens_q"][1:-1].tolist()
        pairs = zip(np.split(batch["input_ids"][0], cuts), np.split(batch["labels"][0], cuts), strict=True)
        for ids, labels in pairs:
            seen.setdefault(tuple(ids.tolist()), []).append(labels.tolist())
    expected = {}
    for one in ITEMS:
        expected.setdefault(tuple(one["input_ids"]), []).append([-100, *one["labels"][1:]])
    assert {key: sorted(value) for key, value in seen.items()} == {k: sorted(v) for k, v in expected.items()}


def test_a_buffer_of_10_000_loses_less_than_a_tenth_of_a_percent():
    rng = np.random.default_rng(0)
    lengths = np.clip(np.exp(rng.standard_normal(100_000)) * 350, 1, 8192).astype(int).tolist()
    buffer, packs = PackBuffer(8192, 10_000), 0
    coming = iter(enumerate(lengths))
    ended = False
    while not ended or len(buffer):
        while not ended and not buffer.is_full:
            one = next(coming, None)
            ended = one is None
            if one is not None:
                buffer.add(*one)
        packs += bool(buffer.take(ended=ended))
    assert packs <= packsort.plan(lengths, 8192).num_packs * 1.001


@settings(max_examples=100, deadline=None)
@given(lengths=st.lists(st.integers(1, 30), min_size=1, max_size=80), buffer_size=st.integers(1, 10))
def test_no_sequence_waits_for_more_packs_than_the_buffer_has_sequences(lengths, buffer_size):
    buffer, came, number, packs = PackBuffer(30, buffer_size), {}, 0, 0
    while number < len(lengths):
        while number < len(lengths) and not buffer.is_full:
            buffer.add(number, lengths[number])
            came[number] = packs
            number += 1
        packs += 1
        assert all(packs - came[one] <= buffer_size for one in buffer.take())


SOURCES = {
    "list": lambda: ITEMS,
    "datasets": lambda: datasets.Dataset(TABLE).to_iterable_dataset(num_shards=3),
    "mapped": lambda: datasets.Dataset(TABLE).to_iterable_dataset().map(lambda row: {**row, "n": 1}),
}


@pytest.mark.parametrize("kind", SOURCES)
@pytest.mark.parametrize("prefetch", [0, 3])
@settings(max_examples=15, deadline=None)
@given(at=st.integers(0, 18), batch_size=st.sampled_from([1, 2]))
def test_goes_on_at_any_step_batch_for_batch(kind, prefetch, at, batch_size):
    make = lambda: stream_of(SOURCES[kind](), prefetch=prefetch, batch_size=batch_size)  # noqa: E731
    expected = [digest(batch) for batch in make()]
    stream = make()
    batches = iter(stream)
    received = [digest(batch) for _, batch in zip(range(at), batches, strict=False)]
    if len(received) < at:
        return
    again = make()
    again.load_state_dict(saved(stream.state_dict()))
    assert stream.state_dict()["taken"] >= again.state_dict()["taken"]
    assert received + [digest(batch) for batch in again] == expected
    assert again.counts["tokens"] == sum(len(one["input_ids"]) for one in ITEMS)


def test_a_state_of_another_stream_is_refused():
    state = stream_of().state_dict()
    with pytest.raises(packsort.OptionError, match="with max_length=64, this one has max_length=65"):
        stream_of(max_length=65).load_state_dict(state)
    with pytest.raises(packsort.OptionError, match="state must be one that `state_dict` returned: it has no 'version'"):
        stream_of().load_state_dict({})


# torchdata 0.11 calls a function that torch 2.15 deprecates.
@pytest.mark.filterwarnings("ignore:'set_vital' is deprecated")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
@pytest.mark.parametrize("num_workers", [0, 1])
def test_stateful_dataloader_keeps_it(num_workers):
    expected = [digest(batch) for batch in stream_of()]
    make = lambda: StatefulDataLoader(stream_of(), batch_size=None, num_workers=num_workers)  # noqa: E731
    loader = make()
    batches = iter(loader)
    received = [digest(next(batches)) for _ in range(5)]
    state = loader.state_dict()
    again = make()
    again.load_state_dict(state)
    assert received + [digest(batch) for batch in again] == expected


def test_more_workers_take_only_sources_that_share_out():
    stream = stream_of(SOURCES["datasets"]())
    tokens = [batch["input_ids"].numel() for batch in torch.utils.data.DataLoader(stream, None, num_workers=2)]
    assert sum(tokens) == sum(len(one["input_ids"]) for one in ITEMS)
    with pytest.raises(ValueError, match="num_workers must be 0 or 1 for this source, got 2"):
        next(iter(torch.utils.data.DataLoader(stream_of(), None, num_workers=2)))


def test_too_long_sequences_are_refused_dropped_or_truncated():
    items = [[1] * 70, [2] * 3]
    with pytest.raises(packsort.LengthError, match="sequence 0 of the stream has 70 tokens, more than max_length 64"):
        next(iter(stream_of(items)))
    dropping, truncating = stream_of(items, overlong="drop"), stream_of(items, overlong="truncate")
    assert packs_of(dropping) == [[(2, 2, 2)]]
    assert dropping.counts.items() >= {"packs": 1, "sequences": 1, "tokens": 3, "dropped": 1, "truncated": 0}.items()
    assert [len(pack[0]) for pack in packs_of(truncating)] == [64, 3]
    assert truncating.counts["truncated"] == 1


@pytest.mark.parametrize(
    ("item", "message"),
    [
        ([], "sequence 1 of the stream: column `input_ids` is empty; every sequence needs at least one token"),
        (
            [1, -5],
            r"sequence 1 of the stream: column `input_ids` must hold values from 0 to .*, got -5 at position 1",
        ),
        ([1, 2**31], "sequence 1 of the stream: column `input_ids` must hold .*, got 2147483648 at position 1"),
        ([1.5], "sequence 1 of the stream: column `input_ids` must hold a list of integers, got a list of double"),
        ([[1]], r"column `input_ids` must hold a list of integers, got an array of shape \(1, 1\)"),
        ({"labels": [1]}, "sequence 1 of the stream: no column `input_ids`; there are `labels`"),
        ({"input_ids": [1]}, "sequence 1 of the stream: no column `labels`; there are `input_ids`"),
        (
            {"input_ids": [1], "labels": [1, 2]},
            "sequence 1 of the stream: column `labels` has 2 values, but `input_ids` has 1",
        ),
    ],
)
def test_wrong_sequences_are_named(item, message):
    first = {"input_ids": [1], "labels": [1]} if isinstance(item, dict) else [1]
    with pytest.raises(packsort.SourceError, match=message):
        next(iter(stream_of([first, item])))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"source": 3}, "source must be an iterable of sequences, got a int"),
        ({"buffer_size": 0}, "buffer_size must be at least 1, or None, got 0"),
        ({"batch_size": 1.5}, "batch_size must be an integer, got 1.5"),
        ({"prefetch": -1}, "prefetch must be at least 0, got -1"),
        ({"max_length": 0}, "max_length must be between 1 and"),
        ({"overlong": "cut"}, "overlong must be one of 'error', 'drop', 'truncate', got 'cut'"),
        ({"layout": "flat_"}, "layout must be one of 'flat', 'rows', 'megatron', 'torchtune', got 'flat_'"),
        ({"loss_weights": "token"}, "loss_weights='token' does not go with `PackedStream`"),
    ],
)
def test_options_that_are_not_allowed_are_named(options, message):
    with pytest.raises(packsort.OptionError, match=message):
        stream_of(**options)


def test_arrays_tensors_and_lists_are_sequences():
    items = [[1, 2], np.array([3], np.uint8), torch.tensor([4, 5, 6]), {"input_ids": (7,), "text": "seven"}]
    assert packs_of(stream_of(items)) == [[(4, 5, 6), (1, 2), (3,), (7,)]]
    assert packs_of(PackedLoader(TABLE, max_length=64)) != packs_of(stream_of())


def test_pickled_streams_go_on(tmp_path):
    expected = [digest(batch) for batch in stream_of()]
    stream = stream_of()
    batches = iter(stream)
    received = [digest(next(batches)) for _ in range(4)]
    assert received + [digest(batch) for batch in pickle.loads(pickle.dumps(stream))] == expected


def test_an_endless_stream_takes_no_more_memory_and_no_thread_is_left():
    def endless():
        rng = np.random.default_rng(0)
        while True:
            yield rng.integers(0, 99, rng.integers(1, 300), np.int32)

    before = threading.active_count()
    batches = iter(PackedStream(endless, 1024, buffer_size=500))
    process = psutil.Process()
    for _ in range(1000):
        next(batches)
    held = process.memory_info().rss
    for _ in range(3000):
        next(batches)
    assert process.memory_info().rss - held < 8 << 20
    del batches
    end = time.monotonic() + 10
    while threading.active_count() > before:
        assert time.monotonic() < end
        time.sleep(0.01)
