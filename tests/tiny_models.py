"""Small Llama whose attention is far from uniform, so that a wrong mask shows."""

from __future__ import annotations

from typing import Any

import torch
from torch.nn.functional import cross_entropy
from transformers import LlamaConfig, LlamaForCausalLM


def llama(vocabulary: int, attention: str = "sdpa", **config: Any) -> LlamaForCausalLM:
    """Build a model with the same weights each time."""
    torch.manual_seed(0)
    options = {
        "vocab_size": vocabulary,
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 1024,
        "initializer_range": 0.3,
        "attn_implementation": attention,
        "use_cache": False,
    }
    return LlamaForCausalLM(LlamaConfig(**options | config)).train()


def gradients(model: torch.nn.Module) -> torch.Tensor:
    """Return all gradients in one vector and clear them."""
    found = torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])
    model.zero_grad()
    return found


def seen(model: Any, batch: dict[str, Any]) -> torch.Tensor:
    """Return how much the loss of each sequence of a flat batch depends on the embeddings of each other.

    Returns:
        float32 (sequences, sequences).
    """
    names = ("position_ids", "attention_mask", "cu_seq_lens_q", "cu_seq_lens_k", "max_length_q", "max_length_k")
    passed = {name: batch[name] for name in names if name in batch}
    embeddings = model.get_input_embeddings()(batch["input_ids"]).detach().requires_grad_()
    logits = model(inputs_embeds=embeddings, **passed | {"use_cache": False}).logits[0]
    starts = (batch["position_ids"][0] == 0).nonzero().flatten().tolist()
    ends = [*starts, batch["input_ids"].shape[1]]
    found = torch.zeros(len(starts), len(starts))
    for i in range(len(starts)):
        own = slice(ends[i], ends[i + 1])
        loss = cross_entropy(logits[own][:-1], batch["input_ids"][0, own][1:], reduction="sum")
        (gradient,) = torch.autograd.grad(loss, embeddings, retain_graph=True)
        for j in range(len(starts)):
            found[i, j] = gradient[0, ends[j] : ends[j + 1]].abs().max()
    return found


def assert_unseen(model: Any, batch: dict[str, Any]) -> None:
    """Assert that sequences of a flat batch attend to themselves and to no other sequence."""
    found = seen(model, batch)
    lengths = batch["cu_seq_lens_q"].diff().tolist() if "cu_seq_lens_q" in batch else None
    assert len(found) > 2
    assert torch.count_nonzero(found[~torch.eye(len(found), dtype=torch.bool)]) == 0
    if lengths:
        assert (found.diagonal() > 0).tolist() == [n > 1 for n in lengths]


def assert_shifted_once(batch: dict[str, Any]) -> None:
    """Assert that labels are the tokens at their position, and that first tokens have none."""
    labels, ids = batch["labels"], batch["input_ids"]
    assert (labels[batch["position_ids"] == 0] == -100).all()
    kept = labels != -100
    assert kept.any()
    assert torch.equal(labels[kept], ids[kept])
