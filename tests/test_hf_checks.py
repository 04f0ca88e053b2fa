"""`packsort.hf.check` and `IsolationCallback`: trainers that would train on something else than their packs."""

from __future__ import annotations

import json
import os
import random
import socket

import datasets
import numpy as np
import pyarrow as pa
import pytest
import torch
from accelerate.state import AcceleratorState, GradientState
from transformers import (
    AutoTokenizer,
    DataCollatorForSeq2Seq,
    DataCollatorWithFlattening,
    MambaConfig,
    MambaForCausalLM,
    Trainer,
    TrainingArguments,
    default_data_collator,
)
from trl import SFTConfig, SFTTrainer

from loading import spawn
from packed_rows import MAX_LENGTH, VOCABULARY, packed, rows
from packsort import IsolationError
from packsort.hf import IsolationCallback, check, load, pack_dataset, sft_config
from packsort.torch import PackedCollator, PackedDataset, PackedLoader
from tiny_models import llama

QUIET = {
    "use_cpu": True,
    "bf16": False,
    "report_to": "none",
    "save_strategy": "no",
    "disable_tqdm": True,
    "per_device_train_batch_size": 2,
}
LOST = r"^boundaries of sequences are lost \("
pytestmark = pytest.mark.filterwarnings("ignore:`gradient_checkpointing` is deprecated:FutureWarning")


@pytest.fixture(scope="module")
def tokenizer(tokenizer_folder):
    return AutoTokenizer.from_pretrained(tokenizer_folder)


@pytest.fixture(scope="module")
def source():
    return datasets.Dataset(rows())


@pytest.fixture(scope="module")
def packs(source):
    return pack_dataset(source, MAX_LENGTH)


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    return packed(tmp_path_factory.mktemp("checks"), format="parquet")


@pytest.fixture
def sft(tmp_path, tokenizer):
    def make(dataset, config=None, **arguments):
        if config is None:
            config = sft_config(str(tmp_path), **QUIET)
        model = llama(max(VOCABULARY, len(tokenizer)), use_cache=True)
        return SFTTrainer(model=model, args=config, train_dataset=dataset, processing_class=tokenizer, **arguments)

    return make


@pytest.fixture
def plain(tmp_path):
    def make(dataset, collate=None, *, model=None, callbacks=None, eval_dataset=None, **arguments):
        options = QUIET | {"remove_unused_columns": False} | arguments
        return Trainer(
            llama(VOCABULARY) if model is None else model,
            TrainingArguments(str(tmp_path), **options),
            PackedCollator(max_length=MAX_LENGTH) if collate is None else collate,
            dataset,
            eval_dataset,
            callbacks=callbacks,
        )

    return make


def stop(trainer, message, *, by_callback=False):
    """Assert that the check raises, and perhaps that the callback stops the run before its first step."""
    with pytest.raises(IsolationError, match=message):
        check(trainer)
    if by_callback:
        trainer.add_callback(IsolationCallback())
        with pytest.raises(IsolationError, match=message):
            trainer.train()
        assert trainer.state.global_step == 0


def passes(trainer, steps=2):
    check(trainer)
    trainer.add_callback(IsolationCallback())
    trainer.args.max_steps = steps
    assert trainer.train().global_step == steps


# Runs that are right


@pytest.mark.parametrize("made_by", ["pack_dataset", "load", "streaming", "trl"])
def test_sft_trainer_with_its_config_passes(sft, packs, shards, source, tmp_path, made_by):
    if made_by == "trl":
        from trl import pack_dataset as trl_pack

        dataset = trl_pack(source, MAX_LENGTH, "bfd")
    else:
        dataset = packs if made_by == "pack_dataset" else load(shards, streaming=made_by == "streaming")
    passes(sft(dataset, sft_config(str(tmp_path), max_steps=2, gradient_accumulation_steps=2, **QUIET)))


def test_trainer_with_collator_passes(plain, shards, packs):
    passes(plain(PackedDataset(shards), PackedCollator(max_length=MAX_LENGTH)))
    passes(plain(packs, PackedCollator("rows", max_length=MAX_LENGTH)))


@pytest.mark.parametrize(
    "options",
    [{"max_sequences": 40}, {"attention": "pack"}, {"labels": "shifted"}, {"seq_idx": True}],
    ids=lambda options: next(iter(options)),
)
def test_options_of_the_collator_pass(plain, packs, options):
    check(plain(packs, PackedCollator(max_length=MAX_LENGTH, **options)))
    check(plain(packs, PackedCollator("rows", max_length=MAX_LENGTH, padding="last")))


def test_attention_over_packs_has_nothing_to_keep_apart(plain, packs):
    passes(plain(packs, PackedCollator(max_length=MAX_LENGTH, attention="pack")))


def test_separators_padding_and_packs_without_labels_pass(plain, sft, tmp_path):
    path = packed(tmp_path, rows(labels=False), 80, separator=1, pad_to_multiple_of=8)
    check(plain(PackedDataset(path), PackedCollator(max_length=80)))
    check(sft(load(path), sft_config(str(tmp_path), pad_to_multiple_of=16, **QUIET)))


def test_packs_of_one_sequence_need_no_boundaries(plain, sft, source, tmp_path, tokenizer):
    ones = pack_dataset(source, MAX_LENGTH, strategy="padding")
    check(plain(ones, DataCollatorForSeq2Seq(tokenizer), remove_unused_columns=True))
    check(plain(ones, default_data_collator, remove_unused_columns=True, per_device_train_batch_size=1))
    check(sft(ones, SFTConfig(str(tmp_path), **QUIET)))
    passes(plain(ones))


def test_sequences_that_are_not_packed_pass(plain, sft, source, tokenizer, tmp_path):
    check(plain(source, DataCollatorWithFlattening(), remove_unused_columns=True))
    check(plain(source, DataCollatorForSeq2Seq(tokenizer), remove_unused_columns=True))
    passes(plain(source, DataCollatorForSeq2Seq(tokenizer)))
    passes(plain(source, DataCollatorWithFlattening()))
    passes(sft(source, SFTConfig(str(tmp_path), **QUIET)))
    passes(sft(source, SFTConfig(str(tmp_path), padding_free=True, max_length=None, **QUIET)))


# SFTTrainer that trains on something else


def test_the_default_config_is_stopped(sft, packs, shards, tmp_path):
    config = SFTConfig(str(tmp_path), **QUIET)
    message = (
        r"^boundaries of sequences are lost \(the first batch is of 2 packs with \d+ sequences, and it has 2 segments\)"
    )
    stop(sft(packs, config), message + r": pass `args=packsort\.hf\.sft_config\(\.\.\.\)`", by_callback=True)
    stop(sft(load(shards), config), message)


def test_packs_cut_at_max_length_are_stopped(sft, packs, tmp_path):
    config = SFTConfig(str(tmp_path), max_length=32, **QUIET)
    stop(sft(packs, config), r"^packs are cut \(pack 0 of the first batch has 32 of its \d+ tokens\): pass `args=")


@pytest.mark.parametrize("made_by", ["pack_dataset", "load", "parquet", "memory"])
def test_packing_again_is_stopped(sft, packs, shards, tmp_path, made_by):
    files = {"data_files": str(shards / "*.parquet"), "split": "train", "cache_dir": str(tmp_path / "cache")}
    dataset = {
        "pack_dataset": lambda: packs,
        "load": lambda: load(shards),
        "parquet": lambda: datasets.load_dataset("parquet", **files),
        "memory": lambda: datasets.Dataset.from_list(packs.to_list()),
    }[made_by]()
    config = SFTConfig(str(tmp_path), packing=True, **QUIET)
    message = r"^packing=True makes each pack one sequence.*: pass `args=packsort\.hf\.sft_config"
    stop(sft(dataset, config), message, by_callback=made_by == "parquet")


def test_packing_of_rows_by_trl_passes(sft, source, tmp_path):
    source.to_json(tmp_path / "rows.jsonl")
    files = {"data_files": str(tmp_path / "rows.jsonl"), "split": "train", "cache_dir": str(tmp_path / "cache")}
    config = SFTConfig(str(tmp_path), packing=True, max_length=MAX_LENGTH, **QUIET)
    check(sft(datasets.load_dataset("json", **files), config))


def test_evaluation_data_that_are_packed_again_are_found(sft, packs, tmp_path):
    config = SFTConfig(str(tmp_path), padding_free=True, max_length=None, eval_packing=True, **QUIET | {"max_steps": 1})
    config.max_length = MAX_LENGTH
    config.padding_free = False
    trainer = sft(packs, config, eval_dataset={"held out": packs})
    trainer.data_collator.padding_free = True
    with pytest.raises(IsolationError, match="packing=True makes each pack one sequence"):
        check(trainer)


# Trainer that trains on something else


def test_collators_that_know_no_boundaries_are_stopped(plain, packs, shards, tokenizer):
    for dataset in (packs, load(shards)):
        stop(plain(dataset, DataCollatorWithFlattening(), remove_unused_columns=True), LOST, by_callback=True)
        stop(plain(dataset, DataCollatorForSeq2Seq(tokenizer), remove_unused_columns=True), LOST)
    message = LOST + r"the first batch is of 2 packs with \d+ sequences, and it has 2 segments\): pass `packsort"
    stop(plain(packs, DataCollatorWithFlattening()), message)


def test_columns_that_the_trainer_removes_are_missed_by_the_callback(plain, packs):
    memory = datasets.Dataset.from_list(packs.to_list())  # without a mark
    stop(plain(memory, DataCollatorWithFlattening(), remove_unused_columns=True), LOST, by_callback=True)


def test_columns_that_our_collator_misses_are_named_before_training(plain, packs):
    trainer = plain(packs, remove_unused_columns=True)
    stop(trainer, "no column `seq_lengths`.* removes columns unless `remove_unused_columns=False`", by_callback=True)


@pytest.mark.parametrize("made_by", ["load", "parquet"])
def test_labels_that_were_removed_are_missed(plain, sft, shards, tmp_path, made_by):
    files = {"data_files": str(shards / "*.parquet"), "split": "train", "cache_dir": str(tmp_path / "cache")}
    dataset = load(shards) if made_by == "load" else datasets.load_dataset("parquet", **files)
    for trainer in (plain(dataset.remove_columns("labels")), sft(dataset.remove_columns("labels"))):
        stop(trainer, r"^labels are lost \(the dataset had `labels`, and its rows lack them\)", by_callback=True)


def test_flat_batches_for_several_devices_of_one_process_are_stopped(plain, packs):
    trainer = plain(packs)
    trainer.args._n_gpu = 2  # as with two visible GPUs and no launcher
    with pytest.raises(
        IsolationError, match=r"^packs are cut \(`torch.nn.DataParallel` cuts batches by rows for 2 GPUs"
    ):
        check(trainer)
    trainer.data_collator = PackedCollator("rows", max_length=MAX_LENGTH)
    check(trainer)


def test_labels_that_a_collator_makes_anew_are_stopped(plain, packs, tokenizer):
    def all_tokens(found):
        return PackedCollator(max_length=MAX_LENGTH)([{**pack, "labels": pack["input_ids"]} for pack in found])

    message = r"^labels are lost \(the first batch trains \d+ tokens that carry no loss in the packs\)"
    stop(plain(packs, all_tokens), message, by_callback=True)

    def none(found):
        batch = PackedCollator(max_length=MAX_LENGTH)(found)
        batch["labels"][:, 5:] = -100
        return batch

    stop(plain(packs, none), r"^labels are lost \(the first batch lacks \d+ of \d+\)")

    def across(found):
        batch = PackedCollator(max_length=MAX_LENGTH)(found)
        return batch | {"labels": batch["input_ids"]}

    stop(plain(packs, across), r"^first tokens are predicted from another sequence \(the first batch has labels at")

    def without(found):
        batch = PackedCollator(max_length=MAX_LENGTH)(found)
        del batch["labels"]
        return batch

    stop(plain(packs, without), r"^labels are lost \(the first batch has no `labels`\)")

    def without_tokens(found):
        batch = PackedCollator(max_length=MAX_LENGTH)(found)
        return {"inputs_embeds": torch.zeros(*batch.pop("input_ids").shape, 32), **batch}

    stop(plain(packs, without_tokens), r"^tokens are lost \(the first batch has no `input_ids`, only `inputs_embeds`")


def test_packs_that_a_collator_cuts_are_stopped(plain, packs):
    def cut(found):
        return {name: value[:, :50] for name, value in PackedCollator("rows", max_length=MAX_LENGTH)(found).items()}

    stop(plain(packs, cut), r"^packs are cut \(the first batch holds 100 of the \d+ tokens of its 2 packs\)")


def test_a_dataset_of_batches_is_stopped(plain, shards):
    trainer = plain(PackedLoader(shards), lambda batches: batches[0])
    with pytest.raises(IsolationError, match=r"^packs are lost \(the dataset yields batches, and the trainer makes"):
        check(trainer)


def test_weights_that_the_batch_lacks_are_said(sft, plain, tmp_path):
    table = rows()
    weights = [[0.5] * len(ids) for ids in table["input_ids"].to_pylist()]
    dataset = load(packed(tmp_path, table.append_column("weights", pa.array(weights))))
    check(plain(dataset))
    with pytest.warns(UserWarning, match=r"^`weights` of the packs is not in the batch, so the model"):
        check(sft(dataset))


# Models


def test_a_model_whose_state_runs_on_is_stopped(plain, packs):
    config = MambaConfig(vocab_size=VOCABULARY, hidden_size=32, num_hidden_layers=1, state_size=4)
    trainer = plain(packs, model=MambaForCausalLM(config), callbacks=[IsolationCallback()])
    check(trainer)
    with pytest.raises(IsolationError, match=r"^sequences see each other in MambaForCausalLM"):
        trainer.train()
    assert trainer.state.global_step == 0


def test_sharded_models_are_left_to_a_warning(plain, packs):
    model = llama(VOCABULARY)
    next(model.parameters()).ds_id = 0  # as DeepSpeed's ZeRO 3 marks its parameters
    trainer = plain(packs, model=model, callbacks=[IsolationCallback()], max_steps=1)
    with pytest.warns(UserWarning, match="not checked for leaks between sequences, since DeepSpeed spreads"):
        trainer.train()


def test_evaluation_data_are_checked_at_their_first_batch(plain, packs):
    def forgets(found):
        batch = PackedCollator(max_length=MAX_LENGTH)(found)
        if len(found) == 1:  # evaluation
            batch["position_ids"] = torch.arange(batch["input_ids"].shape[1])[None]
            del batch["cu_seq_lens_q"], batch["cu_seq_lens_k"]
        return batch

    held_out = packs.select([0])
    trainer = plain(packs.select(range(4)), forgets, eval_dataset=held_out, callbacks=[IsolationCallback()])
    with pytest.raises(IsolationError, match=LOST):
        trainer.evaluate()


# Nothing is moved


@pytest.mark.parametrize(("streaming", "workers"), [(False, 0), (False, 1), (True, 0)])
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_checked_run_sees_the_batches_of_an_unchecked_one(plain, shards, streaming, workers):
    found = []
    for checked in (False, True):
        torch.manual_seed(5)
        trainer = plain(
            load(shards, streaming=streaming),
            max_steps=4,
            dataloader_num_workers=workers,
            dataloader_persistent_workers=workers > 0,
            accelerator_config={"dispatch_batches": False},
        )
        given = []
        if checked:
            before = (random.random(), np.random.rand(), torch.rand(()))
            random.seed(1), np.random.seed(1), torch.manual_seed(1)
            expected = (random.random(), np.random.rand(), torch.rand(()))
            random.seed(1), np.random.seed(1), torch.manual_seed(1)
            check(trainer)
            assert (random.random(), np.random.rand(), torch.rand(())) == expected != before
            assert trainer.accelerator._dataloaders == []
            trainer.add_callback(IsolationCallback())
        torch.manual_seed(5)
        trainer.model.register_forward_pre_hook(
            lambda model, _, kwargs: given.append(kwargs["input_ids"]) if torch.is_grad_enabled() else None,  # noqa: B023
            with_kwargs=True,
        )
        trainer.train()
        found.append(given)
    assert len(found[0]) == len(found[1]) == 4
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))


# Ranks


def train_on(rank, path, out):
    """Run trainers on one of two ranks, and write what became of each."""
    address = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": (out / "port").read_text(), "WORLD_SIZE": "2"}
    os.environ.update(address, RANK=str(rank), LOCAL_RANK=str(rank), ACCELERATE_USE_CPU="true")
    AcceleratorState._reset_state(reset_partial_state=True)  # the parent has one process
    GradientState._reset_state()
    dataset, stream = load(path), load(path, streaming=True)
    flat, by_row = PackedCollator(max_length=MAX_LENGTH), PackedCollator("rows", max_length=MAX_LENGTH)
    config = MambaConfig(vocab_size=VOCABULARY, hidden_size=32, num_hidden_layers=1, state_size=4)

    def cut(packs):
        return {name: value[:, :8] for name, value in by_row(packs).items()}

    def outcome(dataset, collate=flat, model=None, **options):
        options |= QUIET | {"remove_unused_columns": False, "max_steps": 1, "gradient_accumulation_steps": 2}
        trainer = Trainer(
            llama(VOCABULARY) if model is None else model,
            TrainingArguments(str(out), **options),
            collate,
            dataset,
            callbacks=[IsolationCallback()],
        )
        try:
            if not options.get("accelerator_config") and collate is flat and dataset is not stream and rank == 0:
                check(trainer)  # which asks no other rank
            trainer.train()
        except IsolationError as error:
            return str(error).partition(" (")[0]
        return trainer.state.global_step

    found = [
        outcome(dataset),
        outcome(dataset, cut if rank == 1 else flat),
        outcome(dataset, model=MambaForCausalLM(config)),
        outcome(stream, accelerator_config={"dispatch_batches": False}),
        outcome(stream),
        outcome(stream, by_row),
    ]
    (out / f"{rank}.json").write_text(json.dumps(found))


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_all_ranks_stop_where_one_finds_something(tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        (tmp_path / "port").write_text(str(free.getsockname()[1]))
    path = packed(tmp_path, shard_size="2KB")
    ranks = [spawn(train_on, rank, path, tmp_path) for rank in range(2)]
    for process in ranks:
        process.join(100)
        assert process.exitcode == 0
    first, second = (json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(2))
    seen, cut = "sequences see each other in MambaForCausalLM", "packs are cut"
    assert first == [1, f"rank 1: {cut}", seen, 1, cut, 1]
    assert second == [1, cut, seen, 1, cut, 1]
