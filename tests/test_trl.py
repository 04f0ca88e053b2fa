"""`packsort.hf.pack_dataset` replaces `trl.pack_dataset`: same columns, and TRL trains on them."""

from __future__ import annotations

import datasets
import pytest
import torch
from transformers import AutoTokenizer
from trl import SFTConfig, SFTTrainer
from trl import pack_dataset as trl_pack_dataset

import packsort
from packed_rows import MAX_LENGTH, VOCABULARY, packed, rows
from packsort.hf import pack_dataset
from tiny_models import assert_shifted_once, assert_unseen, llama
from tiny_tokenizer import build


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
    with pytest.raises(
        packsort.SourceError, match=r"dataset must be a datasets\.Dataset or DatasetDict, got an Itera.*PackedStream"
    ):
        pack_dataset(source.to_iterable_dataset(), MAX_LENGTH)
    with pytest.raises(packsort.LengthError, match="has 64 tokens, more than max_length 32"):
        pack_dataset(source, 32)
    with pytest.raises(packsort.OptionError, match=r"map_kwargs is an option of `trl\.pack_dataset`"):
        pack_dataset(source, MAX_LENGTH, map_kwargs={})
    with pytest.raises(packsort.OptionError, match=r"seq_length is an option of .*: pass max_length"):
        pack_dataset(source, MAX_LENGTH, seq_length=MAX_LENGTH)
    with pytest.raises(TypeError, match=r"^pack_dataset\(\) got an unexpected keyword argument 'stratgy'; did"):
        pack_dataset(source, MAX_LENGTH, stratgy="bfd")


# TRL 1.16 sets an option by default that transformers 5.23 has renamed.
@pytest.mark.filterwarnings("ignore:`gradient_checkpointing` is deprecated:FutureWarning")
@pytest.mark.parametrize("made_by", ["pack_dataset", "parquet"])
def test_sft_trainer_trains_on_packs_that_do_not_see_each_other(tmp_path, source, made_by):
    if made_by == "parquet":
        files = str(packed(tmp_path, rows(), format="parquet") / "*.parquet")
        dataset = datasets.load_dataset("parquet", data_files=files, split="train", cache_dir=str(tmp_path / "cache"))
    else:
        dataset = pack_dataset(source, MAX_LENGTH)
    tokenizer = AutoTokenizer.from_pretrained(build(tmp_path / "tokenizer"))
    trainer = SFTTrainer(
        model=llama(max(VOCABULARY, len(tokenizer)), eos_token_id=tokenizer.eos_token_id),
        args=SFTConfig(
            output_dir=str(tmp_path / "run"),
            padding_free=True,
            packing=False,
            max_length=None,
            dataset_kwargs={"skip_prepare_dataset": True},
            per_device_train_batch_size=2,
            num_train_epochs=1,
            use_cpu=True,
            bf16=False,
            report_to="none",
            save_strategy="no",
            disable_tqdm=True,
        ),
        train_dataset=dataset,
        processing_class=tokenizer,
    )
    given = []
    hook = trainer.model.register_forward_pre_hook(lambda _, __, kwargs: given.append(kwargs), with_kwargs=True)
    assert trainer.train().global_step == len(given) == -(-len(dataset) // 2)
    hook.remove()
    for batch in given:
        assert_shifted_once(batch)
        assert (batch["position_ids"] == 0).sum() == len(batch["cu_seq_lens_q"]) - 1
    assert_unseen(trainer.model, given[0])
    assert sum(len(batch["cu_seq_lens_q"]) - 1 for batch in given) == len(source)
