"""`packsort.hf.pack_stream`: packs of a streaming dataset are a streaming dataset, on which TRL trains and resumes."""

from __future__ import annotations

import json
import os
import pickle
from pathlib import Path

import datasets
import pytest
import torch
from datasets.distributed import split_dataset_by_node
from torch.utils.data import DataLoader
from torchdata.stateful_dataloader import StatefulDataLoader
from transformers import AutoTokenizer
from trl import SFTTrainer

import packsort
from loading import fork
from packed_rows import MAX_LENGTH, VOCABULARY, rows
from packsort.hf import ResumeCallback, check, pack_dataset, pack_stream, sft_config
from packsort.torch import PackedCollator
from ranks import free_port
from tiny_models import assert_shifted_once, assert_unseen, llama
from tiny_tokenizer import build

TABLE = rows()
SOURCES = {
    "shards": lambda: datasets.Dataset(TABLE).to_iterable_dataset(num_shards=4),
    "generator": lambda: datasets.IterableDataset.from_generator(lambda: iter(TABLE.to_pylist())),
    "mapped": lambda: SOURCES["shards"]().map(lambda row: {**row, "text": "x"}),
    "numpy": lambda: SOURCES["shards"]().with_format("numpy"),
}
pytestmark = [
    pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:'set_vital' is deprecated"),
]


def packed(source=None, **options):
    source = SOURCES["shards"]() if source is None else source
    return pack_stream(source, MAX_LENGTH, **{"buffer_size": 17} | options)


def plain(packs):
    return [{name: list(values) for name, values in pack.items()} for pack in packs]


def sequences(packs):
    """Return tokens and labels of each sequence, sorted."""
    found = []
    for pack in packs:
        start = 0
        for length in pack["seq_lengths"]:
            found.append(
                (list(pack["input_ids"][start : start + length]), list(pack["labels"][start : start + length]))
            )
            start += length
    return sorted(found)


EVERY = sorted(zip(TABLE["input_ids"].to_pylist(), TABLE["labels"].to_pylist(), strict=True))


@pytest.mark.parametrize("kind", SOURCES)
def test_packs_hold_every_sequence_and_continue_at_any_pack(kind):
    stream = packed(SOURCES[kind]())
    assert stream.features == pack_dataset(datasets.Dataset(TABLE), MAX_LENGTH).features
    assert stream.num_shards == SOURCES[kind]().num_shards
    whole = plain(stream)
    assert sequences(whole) == EVERY
    assert all(len(pack["input_ids"]) <= MAX_LENGTH for pack in whole)
    for at in range(1, len(whole), 3):
        stream, again = packed(SOURCES[kind]()), packed(SOURCES[kind]())
        batches = iter(stream)
        received = plain(next(batches) for _ in range(at))
        again.load_state_dict(stream.state_dict())
        assert received + plain(again) == whole


def test_one_buffer_packs_as_the_dataset_does():
    assert plain(packed(buffer_size=1000)) == plain(pack_dataset(datasets.Dataset(TABLE), MAX_LENGTH))


def test_workers_and_nodes_share_out_the_shards():
    stream = packed()
    assert sequences(DataLoader(stream, batch_size=None, num_workers=2)) == EVERY
    nodes = [split_dataset_by_node(stream, rank, 2) for rank in range(2)]
    assert sequences([pack for node in nodes for pack in node]) == EVERY
    loader = StatefulDataLoader(stream, batch_size=None, num_workers=2)
    whole = plain(loader)
    batches = iter(loader)
    received = plain(next(batches) for _ in range(4))
    again = StatefulDataLoader(packed(), batch_size=None, num_workers=2)
    again.load_state_dict(loader.state_dict())
    assert received + plain(again) == whole


def test_the_epoch_reaches_the_shuffle_of_the_source():
    stream = packed(SOURCES["shards"]().shuffle(seed=0, buffer_size=20))
    epochs = []
    for epoch in (0, 1, 0):
        stream.set_epoch(epoch)
        epochs.append(plain(stream))
    assert epochs[0] == epochs[2] != epochs[1]
    assert sequences(epochs[1]) == EVERY


def test_text_is_tokenized_buffer_by_buffer(tokenizer):
    texts = datasets.Dataset.from_dict({"text": [f"the harbour {n} " * (1 + n % 4) for n in range(40)]})
    stream = pack_stream(texts.to_iterable_dataset(), 96, buffer_size=9, tokenizer=tokenizer)
    expected = pack_dataset(texts, 96, tokenizer=tokenizer)
    assert stream.features == expected.features
    assert sequences(stream) == sequences(expected)
    assert plain(pickle.loads(pickle.dumps(stream))) == plain(stream)


def test_what_cannot_be_packed_is_refused():
    with pytest.raises(packsort.SourceError, match=r"got a Dataset: pack a Dataset with `pack_dataset`"):
        pack_stream(datasets.Dataset(TABLE), MAX_LENGTH)
    with pytest.raises(packsort.SourceError, match=r"is a stream \(IterableDataset\): pack it with .*pack_stream`"):
        pack_dataset(SOURCES["shards"](), MAX_LENGTH)
    with pytest.raises(packsort.SourceError, match="dataset has no rows"):
        packed(SOURCES["shards"]().take(0))
    with pytest.raises(packsort.LengthError, match="longer than 32 tokens"):
        pack_stream(SOURCES["shards"](), 32)
    with pytest.raises(packsort.OptionError, match="buffer_size must be at least 1, got 0"):
        packed(buffer_size=0)
    with pytest.raises(TypeError, match="pack_stream"):
        packed(on_progress=print)
    late = [{"input_ids": [1, 2], "turns": [1]}] * 120 + [{"input_ids": [1, 2], "turns": [1, 1]}]
    stream = datasets.Dataset.from_list(late).to_iterable_dataset()
    with (
        pytest.warns(UserWarning, match="column `turns` is left out"),
        pytest.raises(packsort.SourceError, match="column `turns` has one value for each token in some rows"),
    ):
        list(pack_stream(stream, 8, buffer_size=120))  # the first 100 rows decide
    named = datasets.Dataset(TABLE.append_column("name", [["a"] * len(TABLE)])).to_iterable_dataset()
    with pytest.raises(packsort.OptionError, match="keep='name' is text"):
        packed(named, keep=["name"])


def stream_of(passes):
    return packed(SOURCES["shards"]().shuffle(seed=0, buffer_size=20).repeat(passes))


def train(out, passes, resume=None):
    """Train on a stream and return the model and its batches."""
    model, given = llama(VOCABULARY), []
    model.register_forward_pre_hook(lambda _, __, kwargs: given.append(dict(kwargs)), with_kwargs=True)
    options = {"max_steps": 14, "save_steps": 10, "report_to": "none", "use_cpu": True, "bf16": False, "seed": 1}
    arguments = sft_config(
        str(out),
        per_device_train_batch_size=2,
        accelerator_config={"dispatch_batches": False},
        disable_tqdm=True,
        **options,
    )
    tokenizer = AutoTokenizer.from_pretrained(build(out / "tokenizer"))
    trainer = SFTTrainer(
        model, arguments, train_dataset=stream_of(passes), processing_class=tokenizer, callbacks=[ResumeCallback()]
    )
    if resume is None:
        check(trainer)
        given.clear()
    trainer.train(resume_from_checkpoint=resume)
    model._forward_pre_hooks.clear()
    return model, given


def test_sft_trainer_trains_on_a_stream_and_resumes_in_a_later_pass(tmp_path):
    assert len(plain(stream_of(1))) < 2 * 10  # the checkpoint lies inside the second pass
    model, whole = train(tmp_path, None)
    for batch in whole:
        assert_shifted_once(batch)
    assert_unseen(model, whole[0])
    _, rest = train(tmp_path, None, resume=f"{tmp_path}/checkpoint-10")
    assert [batch["input_ids"].tolist() for batch in rest] == [batch["input_ids"].tolist() for batch in whole[10:]]


def test_a_trainer_that_takes_passes_for_one_is_not_resumed(tmp_path):
    train(tmp_path, 1)
    with pytest.raises(packsort.OptionError, match=r"cannot resume in pass 1 .* give it the passes as one"):
        train(tmp_path, 1, resume=f"{tmp_path}/checkpoint-10")


def read_on_a_rank(rank, port, out, shards):
    """Read one pass on one of two ranks, as accelerate shares it out, and write the tokens of its batches."""
    from accelerate import Accelerator
    from accelerate.state import AcceleratorState, PartialState
    from accelerate.utils import DataLoaderConfiguration

    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2", "ACCELERATE_USE_CPU": "true"}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    AcceleratorState._reset_state(reset_partial_state=True)
    assert PartialState(cpu=True).num_processes == 2
    accelerator = Accelerator(cpu=True, dataloader_config=DataLoaderConfiguration(dispatch_batches=False))
    stream = packed(datasets.Dataset(TABLE).to_iterable_dataset(num_shards=shards))
    data = accelerator.prepare(DataLoader(stream, batch_size=1, collate_fn=PackedCollator(max_length=MAX_LENGTH)))
    Path(out, f"{rank}.json").write_text(json.dumps([batch["input_ids"][0].tolist() for batch in data]))
    torch.distributed.destroy_process_group()


@pytest.mark.parametrize("shards", [1, 4])
def test_two_ranks_share_out_a_stream(tmp_path, shards):
    port = free_port()
    ranks = [fork(read_on_a_rank, rank, port, tmp_path, shards) for rank in range(2)]
    for rank in ranks:
        rank.join(60)
    assert [rank.exitcode for rank in ranks] == [0, 0]
    seen = [json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(2)]
    trained = {tuple(pack) for rank in seen for pack in rank}
    whole = [pack["input_ids"] for pack in packed(datasets.Dataset(TABLE).to_iterable_dataset(num_shards=shards))]
    if shards == 1:  # accelerate cuts the packs of all ranks into batches, and fills up the last ones
        assert trained == {tuple(pack) for pack in whole}
        assert len(seen[0]) == len(seen[1])
    else:  # each rank packs shards of its own
        assert sum(map(len, trained)) == sum(map(len, whole))
