"""Lightning trains on a `DataLoader` of packs."""

from __future__ import annotations

import pytest
import torch
from torch.utils.data import DataLoader

from packed_rows import VOCABULARY, packed
from packsort.torch import PackedCollator, PackedDataset
from tiny_models import assert_shifted_once, assert_unseen, llama


# Lightning advises on the number of workers, and uses names that PyTorch deprecates.
@pytest.mark.filterwarnings("ignore:.*does not have many workers.*", "ignore::DeprecationWarning:lightning")
@pytest.mark.filterwarnings("ignore:.*Trying to infer the `batch_size`.*", "ignore::FutureWarning")
def test_lightning_trains_on_packs_that_do_not_see_each_other(tmp_path):
    import lightning

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
