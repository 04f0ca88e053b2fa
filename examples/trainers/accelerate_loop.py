"""Train with Accelerate: accelerate launch examples/trainers/accelerate_loop.py PACKED MODEL."""

import sys
from typing import Any

# --8<-- [start:imports]
import torch
from accelerate import Accelerator
from transformers import AutoModelForCausalLM

from packsort.torch import PackedLoader

# --8<-- [end:imports]


def main(packed: str, model_name: str) -> dict[str, Any]:
    """Train, and return the names of the loop."""
    model = AutoModelForCausalLM.from_pretrained(model_name)
    return train(packed, model)


def train(packed: str, model: Any) -> dict[str, Any]:
    """Train a model, and return the names of the loop."""
    # --8<-- [start:loop]
    accelerator = Accelerator(gradient_accumulation_steps=4)
    loader = PackedLoader(packed, accumulation=4, device=accelerator.device)  # after the Accelerator
    model.config.use_cache = False
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-5)
    model, optimizer = accelerator.prepare(model, optimizer)  # not the loader: it shares out its packs itself
    accelerator.register_for_checkpointing(loader)
    for _ in range(2):
        for batch in loader:
            with accelerator.accumulate(model):
                accelerator.backward(model(**batch).loss)
                optimizer.step()
                optimizer.zero_grad()
    # --8<-- [end:loop]
    return {"loader": loader, "model": model, "optimizer": optimizer}


if __name__ == "__main__":
    main(*sys.argv[1:3])
