"""Train a torchtune model on packs: python examples/trainers/torchtune_loop.py PACKED VOCABULARY."""

import sys
import warnings

# --8<-- [start:imports]
import torch
from torch.nn.functional import cross_entropy

with warnings.catch_warnings():  # torchtune 0.6.1 looks for what newer versions of torch have moved
    warnings.simplefilter("ignore")
    from torchtune.models.llama3 import llama3
    from torchtune.modules.attention_utils import packed_block_causal_mask

from packsort.torch import PackedLoader

# --8<-- [end:imports]


def main(packed: str, vocabulary: int) -> list[float]:
    """Train a small model, and return the loss of each step."""
    torch.manual_seed(0)
    model = llama3(
        vocab_size=vocabulary,
        num_layers=2,
        num_heads=4,
        num_kv_heads=2,
        embed_dim=64,
        max_seq_len=8192,
        intermediate_dim=128,
    )
    # --8<-- [start:loop]
    loader = PackedLoader(packed, batch_size=2, layout="torchtune", pad_token_id=0)
    model.to(loader.device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    losses = []
    for batch in loader:
        mask = packed_block_causal_mask(batch.pop("seq_lens")).to(loader.device)
        logits = model(batch["tokens"], mask=mask, input_pos=batch["input_pos"])
        labels = batch["labels"].roll(-1, dims=1)  # torchtune's recipes shift labels
        labels[:, -1] = -100
        loss = cross_entropy(logits.flatten(0, 1).float(), labels.flatten(), ignore_index=-100)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    # --8<-- [end:loop]
    return losses


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
