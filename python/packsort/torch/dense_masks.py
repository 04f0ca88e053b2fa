"""Explicit masks for models that do not keep packed sequences apart by their positions."""

from __future__ import annotations

from typing import Any

import torch

from packsort._options.attention_kinds import LayerAttention, model_kinds
from packsort.errors import OptionError


def dense_masks(position_ids: torch.Tensor, model: Any) -> torch.Tensor | dict[str, torch.Tensor | None]:
    """Return the `attention_mask` that keeps packed sequences apart in a model with SDPA or eager attention.

    Most models make this mask themselves of `position_ids`, and need no other. A few do not (OPT, GPT-OSS): sequences
    see each other in them, as `packsort.torch.check_isolation` finds.

    ```python
    for batch in PackedLoader("packed/"):
        batch["attention_mask"] = dense_masks(batch["position_ids"], model)
        loss = model(**batch).loss
    ```

    For a `Trainer`, a function that adds the mask to the batch of a `PackedCollator` is its `data_collator`.

    A mask has rows x tokens x tokens numbers. FlexAttention needs fewer: see `block_mask` of `PackedLoader`.

    Args:
        position_ids: Positions, which restart in each sequence: int64 (rows, tokens).
        model: The model of `transformers`, which knows its attention, sliding windows and chunks.

    Returns:
        The mask for all layers, or a dict of masks by the names in `config.layer_types` where kinds of layers differ,
        None for layers without attention: (rows, 1, tokens, tokens) on the device of the positions. For SDPA bool; for
        eager attention 0 or the least number, in the type of the model.

    Raises:
        OptionError: The model has another attention, or layers whose attention is not known.

    Example:
        >>> import torch
        >>> from packsort.torch import dense_masks
        >>> from transformers import OPTConfig, OPTForCausalLM
        >>> size = {"hidden_size": 8, "ffn_dim": 8, "num_hidden_layers": 1, "num_attention_heads": 2}
        >>> model = OPTForCausalLM(OPTConfig(vocab_size=9, **size))
        >>> dense_masks(torch.tensor([[0, 1, 0]]), model)[0, 0].int()
        tensor([[1, 0, 0],
                [1, 1, 0],
                [0, 0, 1]], dtype=torch.int32)
    """
    attention = getattr(getattr(model, "config", None), "_attn_implementation", None)
    if attention not in ("sdpa", "eager"):
        raise OptionError(
            f"model must have sdpa or eager attention, got {attention!r}: FlexAttention takes block_mask=model.config, "
            "and flash attention `cu_seq_lens_q` of a flat batch"
        )
    kinds = model_kinds(model)
    made: dict[LayerAttention, torch.Tensor] = {}
    for _, layers in kinds.by_kind:
        if layers is not None and layers not in made:
            seen = _seen(position_ids, layers)
            if attention == "eager":
                least = torch.finfo(model.dtype).min
                seen = torch.where(seen, torch.zeros((), dtype=model.dtype, device=seen.device), least)
            made[layers] = seen
    if kinds.only is not None:
        return made[kinds.only]
    return {name: None if layers is None else made[layers] for name, layers in kinds.by_kind}


def _seen(position_ids: torch.Tensor, layers: LayerAttention) -> torch.Tensor:
    """Return whether each query attends to each key, bool (rows, 1, tokens, tokens)."""
    starts = torch.ones_like(position_ids, dtype=torch.bool)
    starts[:, 1:] = position_ids.diff() != 1
    sequences = starts.cumsum(1)
    distances = position_ids[:, :, None] - position_ids[:, None, :]
    seen = (sequences[:, :, None] == sequences[:, None, :]) & (distances >= 0)
    if layers.window is not None:
        seen &= distances < layers.window
    if layers.chunk is not None:
        pieces = position_ids // layers.chunk
        seen &= pieces[:, :, None] == pieces[:, None, :]
    return seen[:, None]
