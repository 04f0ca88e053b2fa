"""Models of an experiment: LLaMA of a size with random weights, or a checkpoint."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from packsort.errors import OptionError, SourceError
from packsort.hf._models import load_model


@dataclass(frozen=True)
class Size:
    """Shape of a LLaMA model with tied embeddings."""

    hidden_size: int
    num_hidden_layers: int
    num_attention_heads: int
    num_key_value_heads: int
    intermediate_size: int
    vocab_size: int


SIZES = {
    "50K": Size(32, 2, 2, 2, 88, 1024),
    "200K": Size(64, 3, 4, 4, 176, 1024),
    "1M": Size(128, 4, 4, 4, 344, 2048),
    "5M": Size(256, 6, 4, 4, 688, 4096),
    "25M": Size(512, 7, 8, 8, 1376, 8192),
    "100M": Size(768, 12, 12, 12, 2048, 16384),
    "350M": Size(1280, 17, 20, 20, 3456, 32768),
    "1B": Size(2048, 16, 32, 8, 8192, 32768),
}
"""Models by the number of their weights."""


def is_size(model: str) -> bool:
    """Return whether a model is named by its size, and has random weights."""
    return model in SIZES


def make_model(model: str, seed: int, max_length: int, attention: str) -> Any:
    """Make a model with the weights that a seed gives, or with those of a checkpoint.

    Args:
        model: A key of `SIZES`, or the folder of a checkpoint.
        seed: Seed of random weights.
        max_length: Most tokens of a row.
        attention: Name of the attention in transformers.

    Returns:
        A model of transformers in float32, on the CPU, without a key-value cache.

    Raises:
        OptionError: `model` is neither a size nor a checkpoint.
    """
    if not is_size(model):
        try:
            return load_model(model, weights=True, attention=attention).float()
        except OptionError as error:
            raise OptionError(f"{error}; or pass a size, one of {', '.join(SIZES)}") from error
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        **vars(SIZES[model]),
        max_position_embeddings=max_length,
        tie_word_embeddings=True,
        use_cache=False,
        attn_implementation=attention,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return LlamaForCausalLM(config).train()


def check_tokens(model: Any, most: int) -> None:
    """Check that a model knows every token.

    Args:
        model: The model.
        most: The largest token id.

    Raises:
        SourceError: It does not.
    """
    known = model.get_input_embeddings().weight.shape[0]
    if most >= known:
        raise SourceError(
            f"token {most:,} is not in the model, which has {known:,}: pass the tokenizer that belongs to the model"
        )


def pick_device(device: Any) -> torch.device:
    """Return the device of a name; `auto` is the first GPU, or the CPU."""
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        return torch.device(device)
    except (RuntimeError, TypeError) as error:
        raise OptionError(f"device must be 'auto' or a device of PyTorch, got {device!r}") from error
