"""`PackedDataset` and `PackedCollator` in `torch.utils.data.DataLoader`, with workers forked and spawned."""

from __future__ import annotations

import contextlib
import pickle

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from torch.utils.data import DataLoader

import packsort
from packed_rows import MAX_LENGTH, VOCABULARY, packed, rows
from packsort.torch import PackedCollator, PackedDataset
from test_layouts import check
from tiny_models import assert_shifted_once, assert_unseen, llama

KINDS = ["arrow", "parquet", "table", "path"]


@pytest.fixture(scope="module", params=KINDS)
def dataset(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    if request.param == "table":
        return PackedDataset(rows(), MAX_LENGTH, max_sequences=9)
    if request.param == "path":
        pq.write_table(rows(), folder / "rows.parquet")
        return PackedDataset(folder / "rows.parquet", MAX_LENGTH)
    return PackedDataset(packed(folder, format=request.param))


def load(dataset, workers=0, start=None, **options):
    collate = PackedCollator(max_length=dataset.max_length, **options)
    return DataLoader(
        dataset,
        batch_size=2,
        collate_fn=collate,
        num_workers=workers,
        multiprocessing_context=start,
        timeout=60 * (workers > 0),
    )


# Python 3.12 and later warn of forks in a process with threads.
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
@pytest.mark.parametrize(
    ("dataset", "start"),
    # A spawned worker imports torch again: a directory and rows in memory stand for the rest, which is pickled below.
    [*((kind, "fork") for kind in KINDS), ("arrow", "spawn"), ("table", "spawn")],
    indirect=["dataset"],
)
def test_workers_give_the_batches_that_one_process_gives(dataset, start):
    expected = list(load(dataset, block_mask="full"))
    found = list(load(dataset, 2 if start == "fork" else 1, start, block_mask="full"))
    assert len(found) == len(expected) == -(-len(dataset) // 2)
    for one, other in zip(found, expected, strict=True):
        assert torch.equal(one.pop("attention_mask").to_dense(), other.pop("attention_mask").to_dense())
        check(one, other)


def test_batches_train_on_sequences_that_do_not_see_each_other(dataset):
    batches = list(load(dataset))
    for batch in batches:
        assert_shifted_once(batch)
        assert torch.equal((batch["position_ids"][0] == 0).nonzero().flatten().int(), batch["cu_seq_lens_q"][:-1])
    assert_unseen(llama(VOCABULARY), batches[0])


def test_dataset_is_pickled_by_what_it_was_made_of(dataset):
    dataset[0]
    data = pickle.dumps(dataset)
    assert len(data) < 1000 or dataset._arguments[0] == rows()
    again = pickle.loads(data)
    assert len(again) == len(dataset)
    assert again[1]["input_ids"].tolist() == dataset[1]["input_ids"].tolist()
    assert again.max_length == dataset.max_length == MAX_LENGTH


def test_packs_on_the_fly_are_those_that_are_written(tmp_path):
    written = PackedDataset(packed(tmp_path, strategy="bfd", seed=5))
    planned = PackedDataset(rows(), MAX_LENGTH, strategy="bfd", seed=5)
    assert len(planned) == len(written)
    for i in [*range(len(written)), -1]:
        one, other = planned[i], written[i]
        assert {k: (v.dtype, v.tolist()) for k, v in one.items()} == {
            k: (v.dtype, v.tolist()) for k, v in other.items()
        }


def test_epochs_repack_on_the_fly_and_are_pickled():
    dataset = PackedDataset(rows(), MAX_LENGTH)
    first = [pack["sequence_ids"].tolist() for pack in dataset]
    other = dataset.with_epoch(1)
    second = [pack["sequence_ids"].tolist() for pack in other]
    assert len(first) == len(second)
    assert first != second
    for epoch in (first, second):
        assert sorted(number for pack in epoch for number in pack) == list(range(60))
    again = pickle.loads(pickle.dumps(other))
    assert again.epoch == 1
    assert [pack["sequence_ids"].tolist() for pack in again] == second
    assert [pack["sequence_ids"].tolist() for pack in PackedDataset(rows(), MAX_LENGTH, epoch=1)] == second


def test_a_directory_that_is_not_there_is_named(tmp_path):
    with pytest.raises(packsort.SourceNotFoundError, match="no packed directory"):
        PackedDataset(tmp_path / "nowhere")
    for dataset in (PackedDataset(packed(tmp_path)), PackedDataset(rows(), MAX_LENGTH)):
        with pytest.raises(IndexError, match="pack 99 is not in"):
            dataset[99]


@pytest.mark.parametrize("option", [{"seed": 1}, {"epoch": 2}])
def test_options_that_would_not_order_a_packed_directory_are_refused(tmp_path, option):
    path = packed(tmp_path)
    (name,) = option
    for max_length in (None, MAX_LENGTH):
        with pytest.raises(packsort.OptionError, match=f"{name} does not go with .*, which is packed already"):
            PackedDataset(path, max_length, **option)
    with pytest.raises(packsort.OptionError, match=r"epoch does not go with .*, which is packed already"):
        PackedDataset(path).with_epoch(2)
    assert len(PackedDataset(path, seed=None, epoch=0)) == len(PackedDataset(path))


def test_epochs_are_checked_for_both_kinds_of_packs(tmp_path):
    for dataset in (PackedDataset(packed(tmp_path)), PackedDataset(rows(), MAX_LENGTH)):
        for epoch in (-1, 1.5, "x", True):
            for call in (dataset.set_epoch, dataset.with_epoch):
                with pytest.raises(packsort.OptionError, match="epoch must be"):
                    call(epoch)
        dataset.set_epoch(np.int64(3))


def test_slices_are_lists_of_packs(tmp_path):
    for dataset in (PackedDataset(packed(tmp_path)), PackedDataset(rows(), MAX_LENGTH)):
        numbers = range(len(dataset))[1:6:2]
        found = [pack["input_ids"].tolist() for pack in dataset[1:6:2]]
        assert found == [dataset[i]["input_ids"].tolist() for i in numbers]
        assert dataset[torch.tensor(2)]["input_ids"].tolist() == dataset[2]["input_ids"].tolist()
        for index in (1.5, "1", True):
            with pytest.raises(TypeError, match="pack indices must be integers or slices, got"):
                dataset[index]


def test_progress_callbacks_stay_out_of_pickles():
    dataset = PackedDataset(rows(), MAX_LENGTH, on_progress=lambda *_: None)
    again = pickle.loads(pickle.dumps(dataset))
    assert [pack["input_ids"].tolist() for pack in again[:]] == [pack["input_ids"].tolist() for pack in dataset[:]]


@pytest.mark.filterwarnings("ignore:The given NumPy array is not writable:UserWarning")
@pytest.mark.parametrize("batch_size", [1, 2])
def test_a_dataset_without_a_collator_is_warned_of(batch_size):
    table = pa.table({"input_ids": [[1, 2, 3], [4, 5, 6, 7], [8], [9, 9]]})
    dataset = PackedDataset(table, 5, seed=None)
    with (
        pytest.warns(UserWarning, match=r"without a collator .*: pass collate_fn=PackedCollator"),
        contextlib.suppress(RuntimeError),  # PyTorch stacks packs only of one length
    ):
        list(DataLoader(dataset, batch_size=batch_size))
    assert list(DataLoader(dataset, batch_size=batch_size, collate_fn=PackedCollator(max_length=dataset.max_length)))
