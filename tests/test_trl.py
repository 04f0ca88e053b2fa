"""TRL trains on what `packsort.hf.pack_dataset` returns and on shards; packsort tokenizes as TRL does."""

from __future__ import annotations

import datasets
import pyarrow as pa
import pytest
import torch
from transformers import AutoTokenizer
from trl import SFTConfig, SFTTrainer
from trl import pack_dataset as trl_pack_dataset

import packsort
from packed_rows import MAX_LENGTH, VOCABULARY, packed, rows
from packsort.hf import pack_dataset
from packsort.tokenization.tokenize import tokenize
from packsort.torch import PackedLoader
from test_tokenizing import CHATS, PROMPTED, pairs
from tiny_models import assert_shifted_once, assert_unseen, llama
from tiny_tokenizer import build, built


@pytest.fixture(scope="module")
def source():
    return datasets.Dataset(rows())


def by_sequence(dataset):
    """Return the sequences of all packs, sorted: tokens and labels."""
    found = []
    for row in dataset:
        start = 0
        for length in row["seq_lengths"]:
            found.append((row["input_ids"][start : start + length], row["labels"][start : start + length]))
            start += length
    return sorted(found)


def test_columns_and_sequences_are_those_of_trl(source):
    ours = pack_dataset(source, MAX_LENGTH)
    theirs = trl_pack_dataset(source, MAX_LENGTH, "bfd")
    assert ours.features == theirs.features
    assert ours.column_names == theirs.column_names
    assert len(ours) <= len(theirs)
    assert by_sequence(ours) == by_sequence(theirs)


def test_splits_formats_and_selections_are_kept(source):
    chosen = source.select(range(10, 40)).add_column("place", list(range(30)))
    splits = datasets.DatasetDict(train=chosen.with_format("torch", columns=["input_ids", "labels"]), test=source)
    found = pack_dataset(splits, MAX_LENGTH, strategy="bfd", max_sequences=4)
    assert isinstance(found, datasets.DatasetDict)
    row = found["train"][0]
    assert row.keys() == {"input_ids", "labels", "seq_lengths"}
    assert isinstance(row["input_ids"], torch.Tensor)
    plain = found["train"].with_format(None)
    assert max(map(len, plain["seq_lengths"])) == 4
    assert sum(map(len, plain["seq_lengths"])) == 30
    assert by_sequence(plain) == sorted(zip(chosen["input_ids"], chosen["labels"], strict=True))
    assert found["test"].format["type"] is None
    again = pack_dataset(splits, MAX_LENGTH, strategy="bfd", max_sequences=4)
    assert again["train"]._fingerprint == found["train"]._fingerprint != found["test"]._fingerprint


def test_what_is_no_dataset_and_what_is_too_long_is_named(source):
    with pytest.raises(packsort.SourceError, match=r"dataset must be a datasets\.Dataset or DatasetDict, got a dict"):
        pack_dataset(source.to_dict(), MAX_LENGTH)
    with pytest.raises(packsort.SourceError, match=r"is a stream \(IterableDataset\).*PackedStream"):
        pack_dataset(source.to_iterable_dataset(), MAX_LENGTH)
    with pytest.raises(packsort.LengthError, match="longer than 32 tokens; the longest has 64"):
        pack_dataset(source, 32)
    with pytest.raises(packsort.OptionError, match=r"map_kwargs is an option of `trl\.pack_dataset`"):
        pack_dataset(source, MAX_LENGTH, map_kwargs={})
    with pytest.raises(packsort.OptionError, match=r"seq_length is an option of .*: pass max_length"):
        pack_dataset(source, MAX_LENGTH, seq_length=MAX_LENGTH)
    with pytest.raises(TypeError, match=r"^pack_dataset\(\) got an unexpected keyword argument 'stratgy'; did"):
        pack_dataset(source, MAX_LENGTH, stratgy="bfd")


def sft_trainer(tmp_path, dataset, **arguments):
    """Return TRL's trainer of a small model on packs, as the README describes it."""
    tokenizer = AutoTokenizer.from_pretrained(build(tmp_path / "tokenizer"))
    return SFTTrainer(
        # With a cache, as models come: the trainer has to turn it off.
        model=llama(max(VOCABULARY, len(tokenizer)), eos_token_id=tokenizer.eos_token_id, use_cache=True),
        args=SFTConfig(
            output_dir=str(tmp_path / "run"),
            padding_free=True,
            packing=False,
            max_length=None,
            dataset_kwargs={"skip_prepare_dataset": True},
            per_device_train_batch_size=2,
            use_cpu=True,
            bf16=False,
            report_to="none",
            save_strategy="no",
            disable_tqdm=True,
            **arguments,
        ),
        train_dataset=dataset,
        processing_class=tokenizer,
    )


def load_shards(tmp_path, path):
    files = str(path / "*.parquet")
    return datasets.load_dataset("parquet", data_files=files, split="train", cache_dir=str(tmp_path / "cache"))


# TRL 1.16's own default sets an option that transformers 5.23 has renamed.
@pytest.mark.filterwarnings("ignore:`gradient_checkpointing` is deprecated:FutureWarning")
@pytest.mark.parametrize("made_by", ["pack_dataset", "parquet"])
def test_sft_trainer_trains_on_packs_that_do_not_see_each_other(tmp_path, source, made_by):
    if made_by == "parquet":
        dataset = load_shards(tmp_path, packed(tmp_path, rows(), format="parquet"))
    else:
        dataset = pack_dataset(source, MAX_LENGTH)
    trainer = sft_trainer(tmp_path, dataset, num_train_epochs=1)
    given = []
    hook = trainer.model.register_forward_pre_hook(lambda _, __, kwargs: given.append(kwargs), with_kwargs=True)
    assert trainer.train().global_step == len(given) == -(-len(dataset) // 2)
    hook.remove()
    for batch in given:
        assert_shifted_once(batch)
        assert (batch["position_ids"] == 0).sum() == len(batch["cu_seq_lens_q"]) - 1
    assert_unseen(trainer.model, given[0])
    assert sum(len(batch["cu_seq_lens_q"]) - 1 for batch in given) == len(source)


@pytest.mark.filterwarnings("ignore:`gradient_checkpointing` is deprecated:FutureWarning")
def test_trl_trains_on_parquet_shards_with_the_batches_of_the_loader(tmp_path):
    path = packed(tmp_path, format="parquet", shard_size="2KB")
    assert len(packsort.open_shards(path).manifest.shards) > 1
    dataset = load_shards(tmp_path, path)
    trainer = sft_trainer(tmp_path, dataset, max_steps=2)
    given = []  # what the model is called with
    trainer.model.register_forward_pre_hook(
        lambda model, args, kwargs: given.append({**kwargs, "use_cache": model.config.use_cache}), with_kwargs=True
    )
    assert trainer.train().global_step == 2
    assert len(given) == 2
    for batch in given:
        assert batch.get("attention_mask") is None
        assert not batch["use_cache"]
        assert batch["position_ids"].shape == batch["input_ids"].shape

    for i, batch in enumerate(PackedLoader(path, batch_size=2, seed=None)):
        collated = trainer.data_collator([dataset[j] for j in range(2 * i, min(2 * i + 2, len(dataset)))])
        assert collated.keys() == batch.keys()
        for name, value in batch.items():
            if isinstance(value, torch.Tensor):
                assert collated[name].dtype == value.dtype, name
                assert torch.equal(collated[name], value), name
            else:
                assert collated[name] == value, name


# Tokens

PROMPTED_CHATS = [{"prompt": chat[:1], "completion": chat[1:]} for chat in CHATS[:2] if len(chat) > 1]


def trl_rows(rows: list[dict], tokenizer, tmp_path) -> list[tuple[list[int], list[int]]]:
    """Ids and labels as TRL's SFTTrainer prepares them."""
    config = SFTConfig(
        output_dir=str(tmp_path), max_length=None, report_to=[], use_cpu=True, bf16=False, shuffle_dataset=False
    )
    trainer = SFTTrainer.__new__(SFTTrainer)
    trainer._tokenizer, trainer.chat_template = tokenizer, None
    trainer.completion_only_loss = "prompt" in rows[0]
    prepared = trainer._prepare_dataset(datasets.Dataset.from_list(rows), tokenizer, config, False, None, "train")
    return list(zip(list(prepared["input_ids"]), list(prepared["labels"]), strict=True))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "rows", [PROMPTED, PROMPTED_CHATS, [{"text": row["completion"]} for row in PROMPTED]], ids=["text", "chat", "plain"]
)
@pytest.mark.parametrize("bos", [False, True])
def test_tokens_and_loss_are_those_of_trl(tmp_path, rows, bos):
    tokenizer = built(tmp_path / "tokenizer", bos=bos)
    assert pairs(tokenize(pa.Table.from_pylist(rows), tokenizer).read()) == trl_rows(rows, tokenizer, tmp_path)
