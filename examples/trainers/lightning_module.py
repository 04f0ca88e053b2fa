"""Train with Lightning: python examples/trainers/lightning_module.py PACKED MODEL."""

import sys
from typing import Any

# --8<-- [start:module]
import lightning
import torch
from transformers import AutoModelForCausalLM

from packsort.torch import PackedLoader


class Training(lightning.LightningModule):
    """Model, and the packs it trains on."""

    def __init__(self, packed: str, model: Any) -> None:
        super().__init__()
        self.packed, self.model = packed, model
        self.model.config.use_cache = False

    def train_dataloader(self) -> PackedLoader:
        """Make the loader here, where Lightning has started the ranks."""
        return PackedLoader(self.packed, accumulation=4)

    def training_step(self, batch: dict[str, Any], index: int) -> torch.Tensor:
        """Return the loss of a batch."""
        return self.model(**batch).loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Return the optimizer."""
        return torch.optim.AdamW(self.parameters(), lr=1e-5)


# --8<-- [end:module]


def main(packed: str, model_name: str) -> lightning.Trainer:
    """Train, and return the trainer."""
    return train(packed, AutoModelForCausalLM.from_pretrained(model_name))


def train(packed: str, model: Any) -> lightning.Trainer:
    """Train a model, and return the trainer."""
    # --8<-- [start:fit]
    trainer = lightning.Trainer(max_epochs=2, accumulate_grad_batches=4)
    trainer.fit(Training(packed, model))
    # --8<-- [end:fit]
    return trainer


if __name__ == "__main__":
    main(*sys.argv[1:3])
