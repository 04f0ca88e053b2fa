"""Train with the Trainer of transformers: python examples/trainers/trainer.py PACKED MODEL OUTPUT."""

import sys

# --8<-- [start:imports]
from transformers import AutoModelForCausalLM, Trainer, TrainingArguments

from packsort.hf import IsolationCallback
from packsort.torch import PackedCollator, PackedDataset

# --8<-- [end:imports]


def main(packed: str, model_name: str, output: str) -> Trainer:
    """Train, and return the trainer."""
    # --8<-- [start:loop]
    dataset = PackedDataset(packed)
    trainer = Trainer(
        AutoModelForCausalLM.from_pretrained(model_name),
        TrainingArguments(output, per_device_train_batch_size=2, num_train_epochs=1, remove_unused_columns=False),
        train_dataset=dataset,
        data_collator=PackedCollator("flat", dataset.max_length),
        callbacks=[IsolationCallback()],
    )
    trainer.train()
    # --8<-- [end:loop]
    return trainer


if __name__ == "__main__":
    main(*sys.argv[1:4])
