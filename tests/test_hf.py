"""`packsort.hf.load` and `sft_config`: packed directories that TRL's SFTTrainer trains on right."""

from __future__ import annotations

import pickle
import shutil

import datasets
import pyarrow as pa
import pytest
import torch
from torch.nn.functional import cross_entropy
from transformers import AutoTokenizer
from trl import SFTConfig, SFTTrainer

import packsort
from packed_rows import VOCABULARY, packed, rows
from packsort.hf import load, sft_config
from tiny_models import gradients, llama

QUIET = {"use_cpu": True, "bf16": False, "report_to": "none", "save_strategy": "no", "disable_tqdm": True}
DEPRECATED = "ignore:`gradient_checkpointing` is deprecated:FutureWarning"


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """The cache of `datasets`, empty."""
    folder = tmp_path / "cache"
    folder.mkdir()
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", folder)
    monkeypatch.setattr(datasets.config, "DOWNLOADED_DATASETS_PATH", folder / "downloads")
    return folder


def as_lists(packs):
    return [{name: list(map(int, row[name])) for name in ("input_ids", "labels", "seq_lengths")} for row in packs]


@pytest.mark.parametrize("format", ["arrow", "parquet"])
@pytest.mark.parametrize("streaming", [False, True])
def test_a_packed_directory_is_a_dataset_of_its_packs(tmp_path, cache, format, streaming):
    path = packed(tmp_path, format=format, shard_size="2KB")
    shards = packsort.open_shards(path)
    assert len(shards.manifest.shards) > 1
    dataset = load(path, streaming=streaming)
    assert isinstance(dataset, datasets.IterableDataset if streaming else datasets.Dataset)
    assert dataset.column_names == ["input_ids", "labels", "seq_lengths"]
    assert as_lists(dataset) == as_lists(shards)
    if streaming or format == "arrow":
        assert not list(cache.rglob("*.arrow"))


def test_arrow_shards_are_mapped_and_known_by_their_content(tmp_path, cache):
    path = packed(tmp_path, shard_size="2KB")
    before = pa.total_allocated_bytes()
    dataset = load(path)
    assert pa.total_allocated_bytes() - before < 2_000
    assert dataset.data.nbytes > 5_000
    assert dataset._fingerprint == load(path)._fingerprint
    assert pickle.loads(pickle.dumps(dataset))[:] == dataset[:]
    assert dataset.cache_files == []  # results of `map` would be written beside them
    shutil.rmtree(path)
    assert load(packed(tmp_path, rows(seed=1)))._fingerprint != dataset._fingerprint


def test_what_cannot_be_loaded_is_named(tmp_path):
    with pytest.raises(packsort.SourceNotFoundError):
        load(tmp_path / "nothing")
    path = packed(tmp_path)
    next(path.glob("*.arrow")).unlink()
    with pytest.raises(packsort.DamagedError, match="is missing"):
        load(path)


def test_packs_without_labels_keep_their_other_columns(tmp_path):
    table = rows(labels=False)
    weights = [[0.5] * len(ids) for ids in table["input_ids"].to_pylist()]
    path = packed(tmp_path, table.append_column("weights", pa.array(weights)), separator=1)
    dataset = load(path)
    assert dataset.column_names == [*packsort.open_shards(path).column_names[:-1]]
    assert "weights" in dataset.column_names
    assert "sequence_ids" not in dataset.column_names


# Options of SFTTrainer


def test_the_config_is_trls_with_what_packs_need(tmp_path):
    found = sft_config(str(tmp_path), learning_rate=1e-3, dataset_kwargs={"other": 1}, padding_free=True, **QUIET)
    assert type(found) is SFTConfig
    assert (found.padding_free, found.packing, found.max_length) == (True, False, None)
    assert found.dataset_kwargs == {"other": 1, "skip_prepare_dataset": True}
    assert (found.output_dir, found.learning_rate) == (str(tmp_path), 1e-3)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"packing": True}, "packing must be False for packs, got True: the rows are packs already"),
        ({"padding_free": False}, "padding_free must be True for packs, got False"),
        ({"max_length": 4096}, "max_length must be None for packs, got 4096: TRL would cut packs there"),
        ({"dataset_kwargs": {"skip_prepare_dataset": False}}, "dataset_kwargs must have 'skip_prepare_dataset': True"),
        ({"eval_packing": True}, "eval_packing=True is without effect on packs: pack the evaluation data"),
        ({"shuffle_dataset": True}, "shuffle_dataset=True is without effect on packs: the trainer shuffles"),
        ({"assistant_only_loss": True}, "assistant_only_loss=True is without effect on packs: labels are made"),
        ({"packing_strategy": "bfd"}, "packing_strategy='bfd' is without effect on packs: pass `strategy`"),
    ],
)
def test_arguments_that_contradict_packs_are_refused(arguments, message):
    with pytest.raises(packsort.OptionError) as caught:
        sft_config("run", **arguments)
    assert message in str(caught.value)


def test_arguments_that_trl_does_not_know_are_refused_by_it():
    with pytest.raises(TypeError, match="stratgy"):
        sft_config("run", stratgy=1)


def test_context_parallelism_is_refused():
    from accelerate import ParallelismConfig

    with pytest.raises(
        packsort.OptionError, match="parallelism_config with context parallelism does not go with packs"
    ):
        sft_config("run", parallelism_config=ParallelismConfig(cp_size=2))


@pytest.mark.filterwarnings(DEPRECATED)
@pytest.mark.parametrize(("format", "streaming"), [("arrow", False), ("parquet", False), ("arrow", True)])
def test_sft_trainer_has_the_loss_and_gradients_of_the_sequences_run_one_by_one(
    tmp_path, cache, tokenizer_folder, format, streaming
):
    source = rows()
    dataset = load(packed(tmp_path, source, format=format, seed=None), streaming=streaming)
    if not streaming:
        dataset = dataset.select(range(4))
    tokenizer = AutoTokenizer.from_pretrained(tokenizer_folder)
    config = sft_config(
        str(tmp_path / "run"),
        per_device_train_batch_size=2,
        gradient_accumulation_steps=2,
        max_steps=1,
        **QUIET,
        max_grad_norm=0.0,
    )
    model = llama(max(VOCABULARY, len(tokenizer)), use_cache=True)
    trainer = SFTTrainer(model=model, args=config, train_dataset=dataset, processing_class=tokenizer)
    trainer.create_optimizer_and_scheduler(1)
    found = []
    trainer.optimizer.register_step_pre_hook(lambda *_: found.append(gradients(trainer.model)))
    loss = trainer.train().training_loss

    plain = llama(max(VOCABULARY, len(tokenizer)))
    total, trained = torch.zeros(()), 0
    for pack in packsort.open_shards(tmp_path / "packed")[:4]:
        for row in pack["sequence_ids"].tolist():
            ids, labels = (torch.tensor(source[name][row].as_py()) for name in ("input_ids", "labels"))
            total = total + cross_entropy(plain(ids[None]).logits[0, :-1], labels[1:], reduction="sum")
            trained += int((labels[1:] != -100).sum())
    (total / trained).backward()
    assert loss == pytest.approx((total / trained).item(), rel=1e-4)
    expected = gradients(plain)
    assert ((found[0] - expected).norm() / expected.norm()).item() < 1e-4
