"""Lightning trains on a `DataLoader` of packs, and on a `PackedLoader`, also after a resume."""

from __future__ import annotations

from itertools import chain

import lightning
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from torch.utils.data import DataLoader

from documented import example
from loading import digest, digests
from packed_rows import MAX_LENGTH, VOCABULARY, packed, rows
from packsort.torch import PackedCollator, PackedDataset, PackedLoader
from tiny_models import assert_shifted_once, assert_unseen, llama

# Lightning advises on the number of workers, and uses names that PyTorch deprecates.
QUIET = pytest.mark.filterwarnings(
    "ignore::UserWarning:lightning_utilities.core.rank_zero",
    "ignore:The number of training batches",
    "ignore:Starting from v1.9.0:UserWarning",
    "ignore:Be aware that when using .ckpt_path:UserWarning",
    "ignore:Your .IterableDataset. has:UserWarning",
    "ignore::DeprecationWarning:lightning",
    "ignore:.*Trying to infer the `batch_size`.*",
    "ignore::FutureWarning",
    "ignore:'set_vital' is deprecated",
    "ignore:Checkpoint directory .* exists",
)
PACKS = 2  # of a batch


class Logged(lightning.LightningModule):
    """Module that keeps the digests of its batches, epoch by epoch."""

    def __init__(self):
        super().__init__()
        self.model = llama(VOCABULARY)
        self.given = {}

    def train_dataloader(self):
        return PackedLoader(rows(), MAX_LENGTH, batch_size=PACKS)

    def training_step(self, batch, index):
        self.given.setdefault(self.current_epoch, []).append(digest(batch))
        return self.model(**batch).loss

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


def fit(folder, module, resume=None, **checkpoints):
    lightning.Trainer(
        max_epochs=2,
        accelerator="cpu",
        devices=1,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[ModelCheckpoint(folder, "{step}", save_top_k=-1, **checkpoints)],
    ).fit(module, ckpt_path=resume, weights_only=False)
    return module.given


@QUIET
def test_lightning_trains_on_each_epoch_and_resumes_anywhere(tmp_path):
    loader = PackedLoader(rows(), MAX_LENGTH, batch_size=PACKS)
    expected = {epoch: digests(loader) for epoch in range(2)}
    steps = len(loader)
    assert expected[0] != expected[1]
    assert fit(tmp_path / "steps", Logged(), every_n_train_steps=1) == expected
    for at in (3, steps, steps + 2):  # inside an epoch, at its last step, inside the second
        found = fit(tmp_path / "again", Logged(), tmp_path / "steps" / f"step={at}.ckpt", every_n_train_steps=99)
        assert [*chain(*found.values())] == [*chain(*expected.values())][at:]

    fit(tmp_path / "epochs", Logged(), every_n_epochs=1)
    found = fit(tmp_path / "again", Logged(), tmp_path / "epochs" / f"step={steps}.ckpt", every_n_epochs=9)
    assert found == {1: expected[1]}


@QUIET
def test_the_documented_loop_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = packed(tmp_path)
    trainer = example("trainers/lightning_module.py")["train"](str(path), llama(VOCABULARY))
    assert trainer.global_step == 2 * len(PackedLoader(path, accumulation=4)) // 4


@QUIET
def test_lightning_trains_on_packs_that_do_not_see_each_other(tmp_path):
    class Module(lightning.LightningModule):
        def __init__(self):
            super().__init__()
            self.model = llama(VOCABULARY)
            self.given = []

        def training_step(self, batch):
            self.given.append(batch)
            return self.model(**batch).loss

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), lr=0.1)

    dataset = PackedDataset(packed(tmp_path))
    data = DataLoader(dataset, batch_size=2, collate_fn=PackedCollator(max_length=dataset.max_length))
    module = Module()
    before = module.model.lm_head.weight.clone()
    trainer = lightning.Trainer(
        max_epochs=1,
        accelerator="cpu",
        devices=1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=tmp_path,
    )
    trainer.fit(module, data)
    assert trainer.global_step == len(module.given) == -(-len(dataset) // 2)
    assert not torch.equal(before, module.model.lm_head.weight)
    for batch in module.given:
        assert_shifted_once(batch)
    assert sum(len(batch["cu_seq_lens_q"]) - 1 for batch in module.given) == 60
    assert_unseen(module.model, module.given[0])
