"""Loops around a loader: what would batch or share out its batches again is refused, and what leaves them alone works.

Two ranks are in `test_accelerate.py`.
"""

from __future__ import annotations

import functools
import re

import pytest
import torch
from accelerate import Accelerator
from accelerate.utils import DataLoaderConfiguration
from torch.utils.data import DataLoader, IterableDataset, default_collate
from torchdata.stateful_dataloader import StatefulDataLoader
from transformers import Trainer, TrainingArguments

import packsort
from loading import digest, digests
from packed_rows import MAX_LENGTH, VOCABULARY, rows
from packsort.torch import PackedCollator, PackedLoader, PackedStream
from tiny_models import llama

TABLE = rows()

pytestmark = pytest.mark.filterwarnings(
    "ignore:This process .* is multi-threaded:DeprecationWarning", "ignore:'set_vital' is deprecated"
)


def loader():
    return PackedLoader(TABLE, MAX_LENGTH)


def stream():
    return PackedStream(TABLE.to_pylist(), MAX_LENGTH)


def first(batches):
    (batch,) = batches
    return batch


class Passed(IterableDataset):
    """A user's data set around a loader, whose items are not batches."""

    def __init__(self, inner):
        self.inner = inner

    def __iter__(self):
        return (batch["input_ids"].sum() for batch in self.inner)


@pytest.mark.parametrize("make", [loader, stream])
@pytest.mark.parametrize("kind", [DataLoader, StatefulDataLoader])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"batch_size": 2},
        {"collate_fn": functools.partial(default_collate)},
        {"collate_fn": PackedCollator(max_length=MAX_LENGTH)},
    ],
    ids=["default", "two", "partial", "packed"],
)
def test_a_dataloader_that_batches_batches_is_refused(make, kind, options):
    inner = make()
    message = f"a {type(inner).__name__} gives whole batches, which this `DataLoader` would put into batches again"
    with pytest.raises(packsort.OptionError, match=f"{message}: pass `DataLoader\\(loader, batch_size=None\\)`"):
        next(iter(kind(inner, **options)))


@pytest.mark.parametrize("make", [loader, stream])
@pytest.mark.parametrize("kind", [DataLoader, StatefulDataLoader])
@pytest.mark.parametrize(
    "options", [{"batch_size": None}, {"batch_size": None, "num_workers": 1}, {"collate_fn": first}]
)
def test_a_dataloader_that_hands_batches_on_is_left_alone(make, kind, options):
    assert digests(kind(make(), **options)) == digests(make())


def test_a_data_set_around_a_loader_may_be_batched():
    found = torch.cat(list(DataLoader(Passed(loader()), batch_size=3)))
    assert found.tolist() == [int(batch["input_ids"].sum()) for batch in loader()]


@pytest.mark.parametrize("options", [{"batch_size": None}, {}, {"collate_fn": first}])
def test_accelerate_that_would_cut_batches_is_refused(options):
    data = Accelerator(cpu=True).prepare(DataLoader(loader(), **options))
    message = "accelerate's DataLoaderDispatcher would share them out again: iterate the PackedLoader itself"
    with pytest.raises(packsort.OptionError, match=message):
        next(iter(data))


@pytest.mark.parametrize("workers", [0, 1])
def test_a_dispatcher_of_one_process_leaves_the_batches_of_a_stream_whole(workers):
    data = Accelerator(cpu=True).prepare(DataLoader(stream(), batch_size=None, num_workers=workers))
    assert type(data).__name__ == "DataLoaderDispatcher"
    assert digests(data) == digests(stream())


def test_accelerate_that_would_cut_batches_of_workers_is_refused():
    data = Accelerator(cpu=True).prepare(DataLoader(loader(), batch_size=None, num_workers=1))
    with pytest.raises(packsort.OptionError, match="DataLoaderDispatcher would share them out again"):
        next(iter(data))


def test_accelerate_leaves_alone_what_it_does_not_share_out():
    inner = loader()
    assert Accelerator(cpu=True).prepare(inner) is inner
    accelerator = Accelerator(cpu=True, dataloader_config=DataLoaderConfiguration(dispatch_batches=False))
    assert digests(accelerator.prepare(DataLoader(loader(), batch_size=None))) == digests(loader())


@pytest.mark.parametrize("make", [loader, stream])
@pytest.mark.parametrize("options", [{}, {"accelerator_config": {"dispatch_batches": False}}])
def test_trainer_over_batches_names_the_data_set_to_pass(tmp_path, make, options):
    arguments = TrainingArguments(
        str(tmp_path), use_cpu=True, report_to="none", save_strategy="no", disable_tqdm=True, max_steps=1, **options
    )
    way_out = re.escape("pass `Trainer(..., train_dataset=PackedDataset(...), data_collator=PackedCollator(...))`")
    with pytest.raises(packsort.OptionError, match=f"a {type(make()).__name__} gives .* again: {way_out}"):
        Trainer(llama(VOCABULARY), arguments, train_dataset=make()).train()


class OwnLoader(Trainer):
    """A trainer whose user brings the loader."""

    def get_train_dataloader(self):
        return self.make()

    def get_eval_dataloader(self, eval_dataset=None):
        return DataLoader(loader(), batch_size=None)


def own_loader(folder, make, epochs=2):
    arguments = TrainingArguments(
        str(folder),
        use_cpu=True,
        report_to="none",
        save_strategy="no",
        disable_tqdm=True,
        num_train_epochs=epochs,
        remove_unused_columns=False,
    )
    trainer = OwnLoader(llama(VOCABULARY), arguments)
    trainer.make = make
    return trainer


@pytest.mark.parametrize("kind", [DataLoader, StatefulDataLoader])
def test_a_trainer_over_a_dataloader_that_hands_no_epoch_on_is_refused(tmp_path, kind):
    trainer = own_loader(tmp_path, lambda: kind(loader(), batch_size=None))
    with pytest.raises(packsort.OptionError, match=r"which epoch begins.*train_dataset=PackedDataset"):
        trainer.train()
    assert trainer.evaluate()["eval_loss"] > 0  # evaluation has no epochs


def test_a_trainer_tells_a_loader_and_what_accelerate_makes_of_it_the_epoch(tmp_path):
    config = DataLoaderConfiguration(dispatch_batches=False)
    prepare = Accelerator(cpu=True, dataloader_config=config).prepare
    twice = loader()
    expected = [batch["input_ids"].tolist() for _ in range(2) for batch in twice]
    for make in (loader, lambda: prepare(DataLoader(loader(), batch_size=None))):
        trainer, seen = own_loader(tmp_path, make), []
        note = lambda model, args, batch, seen=seen: seen.append(batch["input_ids"].tolist())  # noqa: E731
        trainer.model.register_forward_pre_hook(note, with_kwargs=True)
        trainer.train()
        assert seen == expected


@pytest.mark.parametrize("asks_for_more", [True, False])
def test_epochs_go_on_in_loops_that_count_batches(asks_for_more):
    inner = loader()
    expected = [digests(inner) for _ in range(2)]
    again = loader()
    for epoch in expected:
        batches = iter(again)
        assert [digest(next(batches)) for _ in range(len(again))] == epoch
        assert not asks_for_more or next(batches, None) is None
    again.set_epoch(1)
    assert digests(again) == expected[1]


def test_a_state_at_the_end_of_an_epoch_has_no_batches_left():
    whole, resumed = loader(), loader()
    batches = iter(whole)
    for _ in range(len(whole)):
        next(batches)
    resumed.load_state_dict(whole.state_dict())
    assert digests(resumed) == []
    assert digests(resumed) == digests(whole)


def test_the_epoch_may_be_chosen_before_the_first_batch():
    chosen, second = loader(), loader()
    second.set_epoch(1)
    batches = iter(chosen)
    chosen.set_epoch(1)
    assert digests(batches) == digests(second)
