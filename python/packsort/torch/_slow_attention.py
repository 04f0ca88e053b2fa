"""Say that another attention would be faster, where a model and its batches are known."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from packsort._warn import warn

_LONG = 2048  # tokens of a batch whose mask is worth avoiding


def warn_of_slow(model: Any, batch: Mapping[str, Any]) -> None:
    """Warn if a model on an accelerator takes long flat batches through SDPA or eager attention.

    Args:
        model: The model.
        batch: A batch that it trains on.
    """
    kind = getattr(getattr(model, "config", None), "_attn_implementation", None)
    tokens = batch["input_ids"].shape[-1] if "cu_seq_lens_q" in batch and "input_ids" in batch else 0
    if kind not in ("sdpa", "eager") or tokens < _LONG or batch.get("attention_mask") is not None:
        return
    if next(model.parameters()).device.type != "cpu":
        warn(
            [
                f"attn_implementation={kind!r} computes with a mask of {tokens:,} x {tokens:,} tokens for each flat "
                "batch, which makes steps 1.5 to 2.5 times as long: load the model with "
                "attn_implementation=packsort.torch.attention.register(), or use 'flash_attention_2', or "
                "'flex_attention' with block_mask=model.config"
            ]
        )
