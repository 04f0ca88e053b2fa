"""A stream reads any source again: later passes are whole, a resumed pass continues, or the stream is refused."""

from __future__ import annotations

import datasets
import numpy as np
import pytest
from accelerate import Accelerator
from torch.utils.data import DataLoader, DistributedSampler, IterableDataset
from torchdata.nodes import IterableWrapper, Loader, MapStyleWrapper, Prefetcher
from torchdata.stateful_dataloader import StatefulDataLoader

import packsort
from loading import digest
from packsort.torch import PackedStream
from test_streaming import saved

ROWS = [{"input_ids": [n] * (1 + n % 5), "labels": [n] * (1 + n % 5)} for n in range(1, 61)]


def stream_of(source, **options):
    return PackedStream(source, 16, **{"buffer_size": 6, "prefetch": 0} | options)


def dataset():
    return datasets.Dataset.from_list(ROWS).to_iterable_dataset(num_shards=4)


class Sticky:
    """A source whose passes begin at a loaded state, again and again."""

    def __init__(self):
        self.start = self.at = 0

    def __iter__(self):
        self.at = self.start
        while self.at < len(ROWS):
            self.at += 1
            yield ROWS[self.at - 1]

    def state_dict(self):
        return {"at": self.at}

    def load_state_dict(self, state):
        self.start = state["at"]


class NeedsArguments:
    """A source whose state is that of all ranks, as in MosaicML Streaming; each pass has an order of its own."""

    def __init__(self):
        self.next_epoch = 0

    def __iter__(self):
        epoch = self.next_epoch
        self.next_epoch += 1
        yield from (ROWS[i] for i in np.random.default_rng(epoch).permutation(len(ROWS)))

    def state_dict(self, num_samples, from_beginning):
        assert (num_samples, from_beginning) == (0, True)
        return {"epoch": self.next_epoch - 1}

    def load_state_dict(self, state):
        self.next_epoch = state["epoch"]


def shuffled_numbers():
    """A sampler with another order in each epoch of torchdata."""
    return DistributedSampler(range(60), num_replicas=1, rank=0, shuffle=True)


def arrow_mapped():
    return dataset().with_format("arrow").map(lambda table: table, batched=True, batch_size=7).with_format(None)


SOURCES = {
    "list": lambda: ROWS,
    "function": lambda: lambda: (row for row in ROWS),
    "datasets": dataset,
    "shuffled": lambda: dataset().shuffle(seed=3, buffer_size=20),
    "shuffled shards": lambda: dataset().shuffle(seed=3, buffer_size=1),
    "interleaved": lambda: datasets.interleave_datasets(
        [dataset(), dataset().shuffle(seed=1, buffer_size=5)], seed=1, probabilities=[0.5, 0.5]
    ),
    "batched map": lambda: dataset().map(lambda batch: batch, batched=True, batch_size=7),
    "arrow map": arrow_mapped,
    "nodes": lambda: Prefetcher(IterableWrapper(ROWS), 3),
    "loader of nodes": lambda: Loader(Prefetcher(MapStyleWrapper(ROWS, shuffled_numbers()), 3)),
    "stateful loader": lambda: StatefulDataLoader(ROWS, batch_size=None),
    "sticky": Sticky,
    "needs arguments": NeedsArguments,
}

pytestmark = [
    pytest.mark.filterwarnings("ignore:'set_vital' is deprecated"),
    pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning"),
]


def tokens(batches):
    return sorted(np.concatenate([batch["input_ids"][0] for batch in batches]).tolist())


@pytest.mark.parametrize("kind", SOURCES)
@pytest.mark.parametrize("at", [1, 5])
@pytest.mark.parametrize("epoch", [0, 1])
def test_a_resumed_pass_continues_and_later_passes_are_whole(kind, at, epoch):
    """In a fresh process, as the source made anew stands for it."""

    def passes(stream, first, count):
        for number in range(first, first + count):
            stream.set_epoch(number)
            yield list(stream)

    whole = [list(map(digest, batches)) for batches in passes(stream_of(SOURCES[kind]()), 0, epoch + 2)]
    stream = stream_of(SOURCES[kind]())
    list(passes(stream, 0, epoch))
    stream.set_epoch(epoch)
    batches = iter(stream)
    received = [digest(next(batches)) for _ in range(at)]
    assert received == whole[epoch][:at]
    again = stream_of(SOURCES[kind]())
    again.load_state_dict(saved(stream.state_dict()))
    again.set_epoch(epoch)  # as accelerate does before the pass
    assert received + [digest(batch) for batch in again] == whole[epoch]
    (later,) = passes(again, epoch + 1, 1)
    assert [digest(batch) for batch in later] == whole[epoch + 1]
    if kind != "interleaved":
        assert tokens(later) == sorted(token for row in ROWS for token in row["input_ids"])


def test_a_state_at_the_end_leaves_nothing():
    for kind, make in SOURCES.items():
        stream = stream_of(make())
        count = len(list(stream))
        for left in (0, 1):
            stream, again = stream_of(make()), stream_of(make())
            batches = iter(stream)
            for _ in range(count - left):
                next(batches)
            again.load_state_dict(saved(stream.state_dict()))
            assert len(list(again)) == left, kind


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ((row for row in ROWS), "generator"),
        (iter(ROWS), "list_iterator"),
        (map(dict, ROWS), "map"),
        (zip(ROWS, ROWS, strict=True), "zip"),
    ],
)
def test_a_source_that_can_be_read_once_is_refused(source, name):
    with pytest.raises(packsort.OptionError, match=f"iterable more than once, got a {name}, .*: pass the function"):
        stream_of(source)


def test_a_source_whose_state_nobody_knows_is_refused():
    class Source(NeedsArguments):
        def state_dict(self, rank, cursor):
            return {}

    source = Source()
    with pytest.raises(packsort.OptionError, match="got one that needs rank, cursor: pass a function that returns"):
        stream_of(source)
    assert tokens(stream_of(lambda: source)) == tokens(stream_of(ROWS))


@pytest.mark.parametrize("source", [3, "rows", {"input_ids": [1]}, dict, None])
def test_what_is_no_source_is_refused(source):
    with pytest.raises(packsort.OptionError, match="source must be an iterable of sequences, got a "):
        stream_of(source)


def test_a_source_that_does_not_repeat_itself_is_refused_on_resuming():
    def resumed(first, second):
        stream, again = stream_of(first), stream_of(second)
        next(iter(stream))
        again.load_state_dict(stream.state_dict())
        return list(again)

    message = r"does not repeat its sequences: sequence \d+ is not the one that the state was taken with"
    for other in (ROWS[::-1], [[1] * 40] * 60, [{"text": "x"}] * 60):
        with pytest.raises(packsort.SourceError, match=message):
            resumed(ROWS, other)
    unseeded = [datasets.Dataset.from_list(ROWS).to_iterable_dataset().shuffle(buffer_size=40) for _ in range(2)]
    with pytest.raises(packsort.SourceError, match=message):
        resumed(*unseeded)
    with pytest.raises(
        packsort.SourceError, match="ended after 2 sequences, but the state is of a stream that had read"
    ):
        resumed(ROWS, ROWS[:2])


def test_text_that_does_not_repeat_itself_is_refused_on_resuming(tokenizer):
    rows = [{"text": f"the harbour {n} " * (n % 4 + 1)} for n in range(40)]
    options = {"tokenizer": tokenizer, "prefetch": 0, "buffer_size": 1}
    stream = PackedStream(rows, 96, **options)
    next(iter(stream))
    state = stream.state_dict()
    for source in (rows, rows[::-1]):
        again = PackedStream(source, 96, **options)
        again.load_state_dict(state)
        if source is rows:
            list(again)
        else:
            with pytest.raises(packsort.SourceError, match="does not repeat its sequences"):
                list(again)


def test_another_epoch_begins_anew():
    stream = stream_of(dataset().shuffle(seed=0, buffer_size=30))
    epochs = []
    for epoch in range(3):
        stream.set_epoch(epoch)
        epochs.append([digest(batch) for batch in stream])
    assert len({tuple(epoch) for epoch in epochs}) == 3
    stream.set_epoch(1)
    next(iter(stream))
    state = stream.state_dict()
    again = stream_of(dataset().shuffle(seed=0, buffer_size=30))
    again.load_state_dict(state)
    assert again.epoch == 1
    again.set_epoch(2)
    assert [digest(batch) for batch in again] == epochs[2]
    for epoch in (-1, 1.5, "x"):
        with pytest.raises(packsort.OptionError, match="epoch must be"):
            again.set_epoch(epoch)


class Epochs(IterableDataset):
    """Sequences of the epoch's number."""

    def __init__(self):
        self.epoch = 0

    def set_epoch(self, epoch):
        self.epoch = epoch

    def __iter__(self):
        return iter([[self.epoch] * 4] * 8)


@pytest.mark.parametrize("source", [Epochs, lambda: dataset().shuffle(seed=0, buffer_size=30)])
@pytest.mark.parametrize("options", [{}, {"num_workers": 2, "persistent_workers": True}])
def test_the_epoch_of_accelerate_reaches_the_source_in_workers_too(source, options):
    loader = Accelerator(cpu=True).prepare(DataLoader(stream_of(source()), batch_size=None, **options))
    epochs = [sorted(str(batch["input_ids"].tolist()) for batch in loader) for _ in range(2)]
    assert epochs[0] != epochs[1]
    assert len({tuple(epoch) for epoch in epochs}) == 2
