"""Train with TRL's SFTTrainer: python examples/trainers/sft_trainer.py PACKED MODEL OUTPUT."""

import sys

# --8<-- [start:imports]
from trl import SFTTrainer

from packsort.hf import IsolationCallback, load, sft_config

# --8<-- [end:imports]


def main(packed: str, model_name: str, output: str) -> SFTTrainer:
    """Train, and return the trainer."""
    # --8<-- [start:loop]
    trainer = SFTTrainer(
        model_name,
        sft_config(output, per_device_train_batch_size=2, num_train_epochs=1),  # two packs in a batch
        train_dataset=load(packed),
        callbacks=[IsolationCallback()],
    )
    trainer.train()
    # --8<-- [end:loop]
    return trainer


if __name__ == "__main__":
    main(*sys.argv[1:4])
