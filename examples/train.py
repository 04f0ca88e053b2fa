"""Train a tiny model for ten steps on a packed directory.

python examples/train.py demo/packed
"""

import sys

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from packsort.torch import PackedLoader


def main(packed: str) -> None:
    """Train, and print the loss of each step."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=1024, hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=4
    )
    loader = PackedLoader(packed, batch_size=2)  # on the GPU, if there is one
    model = LlamaForCausalLM(config).to(loader.device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for step, batch in enumerate(loader):
        sequences = len(batch["cu_seq_lens_q"]) - 1
        loss = model(**batch, use_cache=False).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        print(f"step {step}: {batch['input_ids'].shape[1]} tokens, {sequences} sequences, loss {loss.item():.3f}")
        if step == 9:
            break


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "demo/packed")
