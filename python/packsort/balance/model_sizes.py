"""Sizes of transformer models, and the number of weights that follows from them."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from packsort import _checks
from packsort.errors import OptionError

# Keys of a `transformers` config, with the other names that some models have for them.
_KEYS = {
    "hidden_size": ("hidden_size", "n_embd", "d_model"),
    "num_layers": ("num_hidden_layers", "n_layer", "num_layers"),
    "num_attention_heads": ("num_attention_heads", "n_head", "num_heads"),
    "num_key_value_heads": ("num_key_value_heads",),
    "head_dim": ("head_dim",),
    "intermediate_size": ("intermediate_size", "n_inner"),
    "vocab_size": ("vocab_size",),
}
_NEEDED = ("hidden_size", "num_layers", "num_attention_heads")
_EXPERTS = ("num_local_experts", "num_experts", "n_routed_experts")


@dataclass(frozen=True, kw_only=True)
class ModelSizes:
    """Sizes of a decoder-only transformer, complete and checked.

    Attributes:
        hidden_size: Width of the model.
        num_layers: Number of layers.
        num_attention_heads: Query heads of a layer.
        num_key_value_heads: Key-value heads of a layer; None is as many as query heads.
        head_dim: Channels of a head; None is `hidden_size / num_attention_heads`.
        intermediate_size: Width of the gated feed-forward network. None is `8 / 3 * hidden_size`, whose three matrices
            have as many weights as the two of width `4 * hidden_size` in older models.
        vocab_size: Tokens of the vocabulary; None leaves the output head and the embeddings out.
        tie_word_embeddings: Whether the output head and the embeddings are one matrix.

    Raises:
        OptionError: A size is no integer of at least 1, or heads do not divide what they share.
    """

    hidden_size: int
    num_layers: int
    num_attention_heads: int
    num_key_value_heads: int | None = None
    head_dim: int | None = None
    intermediate_size: int | None = None
    vocab_size: int | None = None
    tie_word_embeddings: bool = False

    def __post_init__(self) -> None:
        for name in _KEYS:
            value = getattr(self, name)
            if value is not None or name in _NEEDED:
                object.__setattr__(self, name, _checks.integer(name, value, 1))
        heads = self.num_attention_heads
        if heads % (self.num_key_value_heads or heads):
            raise OptionError(
                f"num_key_value_heads must divide num_attention_heads, got {self.num_key_value_heads} and {heads}"
            )
        if self.head_dim is None and self.hidden_size % heads:
            raise OptionError(
                f"num_attention_heads must divide hidden_size unless head_dim is given, got {heads} and "
                f"{self.hidden_size}"
            )

    @classmethod
    def from_config(cls, config: Any) -> ModelSizes:
        """Read the sizes of a model from its config.

        Args:
            config: A `transformers` config, a mapping with its keys, a folder with `config.json`, or that file. Models
                of text and images count as their text part.

        Raises:
            OptionError: `config` is none of these, it lacks a size, or the model is a mixture of experts.
        """
        found = _text_part(_read(config))
        for key in _EXPERTS:
            if found(key):
                raise OptionError(
                    f"the model is a mixture of experts (`{key}` is {found(key)}), whose cost its config does not "
                    "give: pass `CostModel.from_model` the `intermediate_size` of all experts that one token meets"
                )
        sizes: dict[str, Any] = {
            name: next((value for key in keys if (value := found(key)) is not None), None)
            for name, keys in _KEYS.items()
        }
        lacking = [_KEYS[name][0] for name in _NEEDED if sizes[name] is None]
        if lacking:
            needed = ", ".join(f"`{_KEYS[name][0]}`" for name in _NEEDED)
            raise OptionError(f"the config lacks `{lacking[0]}`; needed are {needed}")
        return cls(**sizes, tie_word_embeddings=bool(found("tie_word_embeddings")))

    @property
    def attention_channels(self) -> int:
        """Channels of all query heads of a layer."""
        return self.num_attention_heads * (self.head_dim or self.hidden_size // self.num_attention_heads)

    @property
    def layer_weights(self) -> float:
        """Weights of the matrices of one layer: queries and output, keys and values, and the feed-forward network."""
        shared = self.num_key_value_heads or self.num_attention_heads
        channels = self.attention_channels
        width = 8 / 3 * self.hidden_size if self.intermediate_size is None else self.intermediate_size
        attention = 2 * self.hidden_size * (channels + channels * shared // self.num_attention_heads)
        return attention + 3 * self.hidden_size * width

    @property
    def head_weights(self) -> int:
        """Weights of the output head."""
        return self.hidden_size * (self.vocab_size or 0)

    @property
    def num_weights(self) -> int:
        """Weights of all matrices, embeddings included; biases and norms are not counted."""
        embeddings = self.head_weights * (1 if self.tie_word_embeddings else 2)
        return round(self.num_layers * self.layer_weights) + embeddings


def _read(config: Any) -> Any:
    """Return a mapping or a config object."""
    if not isinstance(config, (str, os.PathLike)):
        return config
    path = Path(config)
    file = path / "config.json" if path.is_dir() else path
    if path.is_dir() and not file.is_file():
        raise OptionError(f"`{path}` is a folder without a config.json")
    try:
        read = json.loads(file.read_text("utf-8"))
    except (ValueError, OSError) as error:
        raise OptionError(f"`{file}` is no config.json that can be read: {error}") from error
    if not isinstance(read, Mapping):
        raise OptionError(f"`{file}` must hold a JSON object, got {type(read).__name__}")
    return read


def _text_part(config: Any) -> Any:
    """Return a function from a key to its value or None, in the text part of a config."""
    if isinstance(config, Mapping):
        inner = config.get("text_config")
        return _text_part(inner) if inner is not None else config.get
    if hasattr(config, "get_text_config"):
        config = config.get_text_config()
    if not any(hasattr(config, key) for key in _KEYS["hidden_size"]):
        raise OptionError(
            f"config must be a transformers config, a mapping, or a folder or file with a config.json, got {config!r}"
        )
    return lambda key: getattr(config, key, None)


LLAMA_3 = {
    name: ModelSizes(
        hidden_size=hidden,
        num_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=8,
        intermediate_size=width,
        vocab_size=128_256,
    )
    for name, hidden, layers, heads, width in (
        ("1B", 2048, 16, 32, 8192),
        ("3B", 3072, 28, 24, 8192),
        ("8B", 4096, 32, 32, 14336),
        ("70B", 8192, 80, 64, 28672),
        ("405B", 16384, 126, 128, 53248),
    )
}
"""Published sizes of Llama 3, whose 8B and 70B the paper trains."""
