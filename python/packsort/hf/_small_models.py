"""Small models with random weights that are built as a configuration says.

A small model has the kinds of layers of the large one, its attention, positions and windows, but two layers, few heads
and a vocabulary of `VOCABULARY` tokens. What its code does with packed sequences is what the large one's does.
"""

from __future__ import annotations

import copy
from typing import Any, Final

import torch

__all__ = ["VOCABULARY", "build_small_model", "known_tokens", "small_config"]

VOCABULARY: Final = 128
_SPECIAL = 8  # tokens that a configuration may call padding, start or end
WINDOW: Final = 8
"""Tokens of a sliding window, so that short sequences are longer than it."""

_LAYERS = (
    *("num_hidden_layers", "n_layer", "n_layers", "num_layers", "decoder_layers", "encoder_layers"),
    *("num_decoder_layers", "num_encoder_layers", "num_blocks"),
)
_HEADS, _HEAD, _WIDTH, _INNER = 4, 16, 64, 96
# By the name of the attribute. A model class that needs other numbers is in `_OF_MODEL`.
_SIZES: dict[str, Any] = {
    **dict.fromkeys(
        ("hidden_size", "d_model", "n_embd", "emb_dim", "embedding_dim", "word_embed_proj_dim", "embedding_size"),
        _WIDTH,
    ),
    **dict.fromkeys(("lru_width", "input_embedding_size", "output_embedding_size", "attention_hidden_size"), _WIDTH),
    **dict.fromkeys(("intermediate_size", "n_inner", "ffn_dim", "decoder_ffn_dim", "encoder_ffn_dim", "dff"), _INNER),
    **dict.fromkeys(("d_inner", "ffn_hidden_size", "dim_ff", "feed_forward_size", "intermediate_size_mlp"), _INNER),
    **dict.fromkeys(("dense_intermediate_size", "shared_intermediate_size", "expert_ffn_hidden_size"), _INNER),
    **dict.fromkeys(("moe_intermediate_size", "shared_expert_intermediate_size"), 32),
    **dict.fromkeys(("moe_shared_expert_intermediate_size", "shared_experts_intermediate_size"), 32),
    **dict.fromkeys(("num_attention_heads", "n_head", "n_heads", "num_heads", "attention_heads"), _HEADS),
    **dict.fromkeys(("decoder_attention_heads", "encoder_attention_heads", "swa_num_attention_heads"), _HEADS),
    **dict.fromkeys(("num_decoder_attention_heads", "num_encoder_attention_heads"), _HEADS),
    **dict.fromkeys(("num_key_value_heads", "num_kv_heads", "swa_num_key_value_heads"), 2),
    **dict.fromkeys(("head_dim", "v_head_dim", "swa_head_dim", "attention_head_size", "dim_head", "d_head"), _HEAD),
    **dict.fromkeys(("kv_channels", "linear_head_dim", "linear_key_head_dim", "linear_value_head_dim"), _HEAD),
    **dict.fromkeys(("qk_nope_head_dim", "qk_rope_head_dim", "rotary_dim"), _HEAD),
    **dict.fromkeys(("linear_num_key_heads", "linear_num_value_heads", "linear_num_heads"), 2),
    **dict.fromkeys(("kv_lora_rank", "q_lora_rank", "o_lora_rank"), 32),
    **dict.fromkeys(("num_experts", "n_routed_experts", "num_local_experts", "moe_num_experts"), 4),
    **dict.fromkeys(("num_experts_per_tok", "num_experts_per_token", "moe_topk", "moe_k"), 2),
    **dict.fromkeys(("n_group", "topk_group", "num_expert_group", "zero_expert_num"), 1),
    **dict.fromkeys(("first_k_dense_replace", "num_dense_layers", "moe_layer_start_index"), 1),
    **dict.fromkeys(("sliding_window", "sliding_window_size", "window_size", "attention_window_size"), WINDOW),
    **dict.fromkeys(("local_attention", "attention_chunk_size"), WINDOW),
    **dict.fromkeys(("state_size", "mamba_d_state", "ssm_state_size"), 8),
    **dict.fromkeys(("time_step_rank", "mamba_dt_rank"), 4),
    **dict.fromkeys(("n_groups", "mamba_n_groups", "mamba_ngroups"), 1),
    **dict.fromkeys(("mamba_n_heads", "mamba_num_heads", "n_mamba_heads"), 8),
    **dict.fromkeys(("mamba_d_head", "mamba_head_dim", "mamba_headdim"), 16),
    **dict.fromkeys(("chunk_size", "mamba_chunk_size"), 16),
    **dict.fromkeys(("attn_layer_period", "expert_layer_period"), 2),
    **dict.fromkeys(("attn_layer_offset", "expert_layer_offset"), 1),
    **dict.fromkeys(("hidden_size_per_layer_input",), 16),
    **dict.fromkeys(("vocab_size", "vocab_size_per_layer_input", "decoder_vocab_size"), VOCABULARY),
    "qk_head_dim": 2 * _HEAD,
    "index_head_dim": 2 * _HEAD,
    "index_n_heads": 2,
    "index_topk": WINDOW,
    "mamba_d_ssm": 128,
    "query_pre_attn_scalar": _HEAD,
    "initializer_range": 0.2,  # attention far from uniform, so that a leak shows
    "num_kv_shared_layers": 0,
    "num_nextn_predict_layers": 0,
}
_HYBRID = {"num_hidden_layers": 3, "layers_block_type": ["linear_attention", "hybrid", "hybrid"]}
_OF_MODEL: dict[str, dict[str, Any]] = {
    "bamba": {"attn_layer_indices": [1]},
    "deepseek_v2": {"num_experts_per_tok": 2},
    "dory": {"n_input_layers": 1, "n_recurrent_layers": 0, "n_output_layers": 1},
    "dots1": {"n_routed_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32, "n_shared_experts": 1},
    "gemma3n_text": {"laurel_rank": 8},
    "hrm_text": {"num_layers_per_stack": 1, "num_hidden_layers": 8},
    "mamba2": {"num_heads": 8},
    "nemotron": {"num_key_value_heads": 2},
    "recurrent_gemma": {"num_hidden_layers": 3},
    "roc_bert": {"shape_vocab_size": VOCABULARY, "shape_embed_dim": 16, "pronunciation_embed_dim": 16},
    "zamba": {**_HYBRID, "attention_hidden_size": 2 * _WIDTH, "attention_head_dim": 2 * _HEAD},
    "zamba2": {
        **_HYBRID,
        "hybrid_layer_ids": [1, 2],
        "attention_hidden_size": 2 * _WIDTH,
        "attention_head_dim": 2 * _HEAD,
        "num_query_groups": _HEADS,
    },
}
"""Numbers of a class beside `_SIZES`, where they depend on each other."""


def small_config(config: Any) -> Any:
    """Return a configuration with the kinds of layers of another, and small numbers.

    Args:
        config: A `transformers.PretrainedConfig`.
    """
    from transformers import PretrainedConfig

    small = copy.deepcopy(config)
    values = vars(small)
    for name in config.sub_configs:
        if isinstance(values.get(name), PretrainedConfig):
            values[name] = small_config(values[name])
    depths = {name: values[name] for name in _LAYERS if isinstance(values.get(name), int)}
    depth = max(depths.values(), default=0)
    lists = {
        name: value for name, value in values.items() if isinstance(value, list | tuple) and len(value) == depth > 1
    }
    kept = _kinds(lists, depth)
    changed: dict[str, Any] = {name: [value[layer] for layer in kept] for name, value in lists.items()}
    changed |= dict.fromkeys(depths, len(kept))
    changed |= {name: size for name, size in _SIZES.items() if _is_size(values.get(name))}
    if "head_dim" in values:
        changed["head_dim"] = _HEAD
    heads = values.get("num_attention_heads")
    for name in ("num_key_value_heads", "num_kv_heads"):
        if isinstance(groups := values.get(name), int):
            changed[name] = _HEADS if groups == heads else min(groups, 2)
    changed |= {name: 1 for name, value in values.items() if name.endswith("_token_id") and _beyond(value)}
    values |= changed | _OF_MODEL.get(config.model_type, {})
    return small


def build_small_model(config: Any, attention: str | None = None) -> torch.nn.Module:
    """Build a small causal language model with random weights, the same each time.

    Args:
        config: The configuration of the large model, a `transformers.PretrainedConfig`.
        attention: Implementation of attention, such as `"sdpa"` or `"eager"`; None takes the default.

    Returns:
        The model in training mode, in float32, on the CPU.
    """
    from transformers import AutoModelForCausalLM

    small = small_config(config)
    options = {} if attention is None else {"attn_implementation": attention}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model: torch.nn.Module = AutoModelForCausalLM.from_config(small, **options)
    return model.float().train()


def known_tokens(tokens: torch.Tensor) -> torch.Tensor:
    """Map tokens of any vocabulary to those of a small model that have no special meaning."""
    return tokens.remainder(VOCABULARY - _SPECIAL) + _SPECIAL


def _kinds(lists: dict[str, Any], depth: int) -> list[int]:
    """Return one layer of each kind, and at least two layers."""
    found: dict[str, int] = {}
    for layer in range(depth):
        found.setdefault(str([value[layer] for value in lists.values()]), layer)
    kept = list(found.values())[:4]
    return kept if len(kept) > 1 else [*kept, *range(1, 3)][:2]


def _is_size(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value > 0


def _beyond(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= VOCABULARY
