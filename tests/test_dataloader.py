"""`PackedDataset` and `PackedCollator` in `torch.utils.data.DataLoader`, with workers forked and spawned."""

from __future__ import annotations

import pickle

import pytest
import torch
from torch.utils.data import DataLoader

import packsort
from packed_rows import VOCABULARY, packed
from packsort.torch import PackedCollator, PackedDataset
from test_layouts import check
from tiny_models import assert_shifted_once, assert_unseen, llama


@pytest.fixture(scope="module", params=["arrow", "parquet"])
def dataset(request, tmp_path_factory):
    return PackedDataset(packed(tmp_path_factory.mktemp("data"), format=request.param))


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


# Python 3.12 and later warn of what this test is about.
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
@pytest.mark.parametrize("start", ["fork", "spawn"])
def test_workers_give_the_batches_that_one_process_gives(dataset, start):
    expected = list(load(dataset, block_mask=True))
    # one worker is enough under spawn, which imports torch anew
    found = list(load(dataset, 2 if start == "fork" else 1, start, block_mask=True))
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


def test_dataset_is_pickled_by_its_path(dataset):
    dataset[0]
    data = pickle.dumps(dataset)
    assert len(data) < 1000
    again = pickle.loads(data)
    assert len(again) == len(dataset)
    assert again[1]["input_ids"].tolist() == dataset[1]["input_ids"].tolist()
    assert again.max_length == dataset.max_length == again.shards.max_length


def test_a_directory_that_is_not_there_is_named(tmp_path):
    with pytest.raises(packsort.SourceNotFoundError, match="no packed directory"):
        PackedDataset(tmp_path / "nowhere")
    with pytest.raises(IndexError, match="pack 99 is not in"):
        PackedDataset(packed(tmp_path))[99]
