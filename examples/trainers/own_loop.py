"""Train in a loop of your own: python examples/trainers/own_loop.py PACKED MODEL."""

import sys

# --8<-- [start:imports]
import torch
from transformers import AutoModelForCausalLM

from packsort.torch import PackedLoader, attention, check_isolation

# --8<-- [end:imports]


def main(packed: str, model_name: str, epochs: int = 2) -> int:
    """Train, and return the number of steps."""
    # --8<-- [start:loop]
    accumulation = 4
    loader = PackedLoader(packed, batch_size=1, accumulation=accumulation)
    model = AutoModelForCausalLM.from_pretrained(
        model_name, dtype=torch.bfloat16, attn_implementation=attention.register()
    ).to(loader.device)
    model.config.use_cache = False
    isolation = check_isolation(model, loader)
    assert isolation, isolation  # whether sequences see each other, and what to do then
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-5)
    for _ in range(epochs):  # each pass is the next epoch
        for number, batch in enumerate(loader, start=1):
            (model(**batch).loss / accumulation).backward()
            if number % accumulation == 0:
                optimizer.step()
                optimizer.zero_grad()
    # --8<-- [end:loop]
    return loader.epoch * len(loader) // accumulation


if __name__ == "__main__":
    main(*sys.argv[1:3])
