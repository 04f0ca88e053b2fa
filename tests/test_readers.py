"""Other libraries read the shards as they are: datasets, TRL, polars, duckdb."""

from __future__ import annotations

import datasets
import duckdb
import polars as pl
import pytest
import torch
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

import packsort
from packed_rows import VOCABULARY, packed
from packsort.torch import PackedLoader
from tiny_tokenizer import build

FORMATS = pytest.mark.parametrize("format", ["arrow", "parquet"])


def shards_in(tmp_path, format):
    """Return a packed directory of several shards, the glob of its files, and its packs as lists."""
    path = packed(tmp_path, format=format, shard_size="2KB")
    shards = packsort.open_shards(path)
    assert len(shards.manifest.shards) > 1
    packs = [{name: values.tolist() for name, values in pack.items()} for pack in shards]
    return path, f"{path}/train-*.{format}", packs


def load(tmp_path, format, files):
    return datasets.load_dataset(format, data_files=files, split="train", cache_dir=str(tmp_path / "cache"))


@FORMATS
def test_datasets_loads_the_packs_in_order(tmp_path, format):
    _, files, packs = shards_in(tmp_path, format)
    dataset = load(tmp_path, format, files)
    assert dataset.to_list() == packs
    assert {name: feature.feature.dtype for name, feature in dataset.features.items()} == {
        "input_ids": "int32",
        "labels": "int32",
        "seq_lengths": "int32",
        "sequence_ids": "int64",
    }


@FORMATS
def test_polars_reads_the_packs_in_order(tmp_path, format):
    _, files, packs = shards_in(tmp_path, format)
    read = {"arrow": pl.read_ipc, "parquet": pl.read_parquet}[format]
    assert read(files).to_dicts() == packs


def test_duckdb_reads_the_packs_in_order(tmp_path):
    _, files, packs = shards_in(tmp_path, "parquet")
    found = duckdb.sql(f"select * from read_parquet('{files}')")
    assert [dict(zip(found.columns, row, strict=True)) for row in found.fetchall()] == packs


# TRL 1.16 sets an option by default that transformers 5.23 has renamed.
@pytest.mark.filterwarnings("ignore:`gradient_checkpointing` is deprecated:FutureWarning")
def test_trl_trains_on_parquet_shards_with_the_batches_of_the_loader(tmp_path):
    from trl import SFTConfig, SFTTrainer

    path, files, _ = shards_in(tmp_path, "parquet")
    dataset = load(tmp_path, "parquet", files)
    tokenizer = AutoTokenizer.from_pretrained(build(tmp_path / "tokenizer"))
    config = LlamaConfig(
        vocab_size=max(VOCABULARY, len(tokenizer)),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        eos_token_id=tokenizer.eos_token_id,
    )
    trainer = SFTTrainer(
        model=LlamaForCausalLM(config),
        args=SFTConfig(
            output_dir=str(tmp_path / "run"),
            padding_free=True,
            packing=False,
            max_length=None,
            dataset_kwargs={"skip_prepare_dataset": True},
            per_device_train_batch_size=2,
            max_steps=2,
            use_cpu=True,
            bf16=False,
            report_to="none",
            save_strategy="no",
            disable_tqdm=True,
        ),
        train_dataset=dataset,
        processing_class=tokenizer,
    )
    given = []  # keyword arguments of the model
    trainer.model.register_forward_pre_hook(
        lambda model, args, kwargs: given.append({**kwargs, "use_cache": model.config.use_cache}), with_kwargs=True
    )
    assert trainer.train().global_step == 2
    assert len(given) == 2
    for batch in given:
        assert batch.get("attention_mask") is None
        assert not batch["use_cache"]
        assert batch["position_ids"].shape == batch["input_ids"].shape

    for i, batch in enumerate(PackedLoader(path, batch_size=2, seed=None, seq_idx=True)):
        collated = trainer.data_collator([dataset[j] for j in range(2 * i, min(2 * i + 2, len(dataset)))])
        assert collated.keys() == batch.keys()
        for name, value in batch.items():
            if isinstance(value, torch.Tensor):
                assert collated[name].dtype == value.dtype, name
                assert torch.equal(collated[name], value), name
            else:
                assert collated[name] == value, name
