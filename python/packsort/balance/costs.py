"""What it costs to train on a sequence: linear in its tokens, and quadratic, because of attention."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from packsort.errors import OptionError

# Sums of costs of the longest packs stay finite below this.
_MAX_COEFFICIENT = 1e200


@dataclass(frozen=True)
class CostModel:
    """Cost of training on one sequence of L tokens: `linear * L + quadratic * L**2`.

    Any unit will do, since costs are only compared with each other: floating-point operations, as `from_model` counts
    them, or seconds, fitted to measured steps. Measured ones are better where they are to be had: kernels reach another
    share of a GPU's speed in attention than in large matrix products, and all else in a step adds to `linear`.

    Attributes:
        linear: cost of a token, 0 to 1e200.
        quadratic: cost of a pair of tokens, 0 to 1e200. One of the two is above 0.

    Raises:
        OptionError: a coefficient is negative, not finite, too large, or not a number; or both are 0.

    Example:
        >>> from packsort import CostModel
        >>> CostModel(linear=100.0, quadratic=1.0).of([10, 100])
        array([ 1100., 20000.])
    """

    linear: float
    quadratic: float

    def __post_init__(self) -> None:
        for name in ("linear", "quadratic"):
            object.__setattr__(self, name, _coefficient(name, getattr(self, name)))
        if self.linear == self.quadratic == 0:
            raise OptionError("linear and quadratic are both 0, allowed is one of them above 0")

    @classmethod
    def from_model(
        cls,
        hidden_size: int,
        num_layers: int,
        num_attention_heads: int,
        *,
        intermediate_size: int | None = None,
        num_key_value_heads: int | None = None,
        head_dim: int | None = None,
        vocab_size: int | None = None,
    ) -> CostModel:
        """Floating-point operations, forward and backward, of a decoder-only transformer with causal attention.

        A multiplication and an addition for each weight and token are 2 operations forward, and the backward pass takes
        twice as many: 6 a weight and token (Kaplan et al., 2020, section 2.1; Hoffmann et al., 2022, appendix F). So

            linear = 6 * (num_layers * (attention + feed-forward) + hidden_size * vocab_size)

        with the weights of a layer's attention, queries and output, then keys and values,

            2 * hidden_size * num_attention_heads * head_dim + 2 * hidden_size * num_key_value_heads * head_dim

        and of its feed-forward network `3 * hidden_size * intermediate_size`: a gated one of three matrices, as Llama,
        Qwen, Mistral and Gemma have it. Embeddings are looked up, not multiplied; the output head is multiplied.

        Attention multiplies queries with keys, and weights with values: 2 operations each for any two tokens and any
        of the `num_attention_heads * head_dim` channels, 4 forward, 12 with the backward pass (12 is what Chowdhery et
        al., 2022, appendix B, count). A causal mask leaves half of the pairs, and flash attention skips the other half,
        as training kernels do; so here it is half:

            quadratic = 6 * num_layers * num_attention_heads * head_dim

        That is what Kaplan et al. count too (table 1: 2 * layers * context * d_attn a token forward). Keys and values
        shared between heads do not change it. What flash attention computes again backward is not counted, nor are
        norms, softmax, activations, or layers recomputed by checkpointing, which scales both terms about alike. Layers
        with a sliding window or with linear attention cost less than this says. For mixture-of-experts models, take
        as `intermediate_size` that of all experts that one token meets together.

        Args:
            hidden_size: width of the model, as in a `transformers` config.
            num_layers: `num_hidden_layers`.
            num_attention_heads: heads of queries.
            intermediate_size: width of the feed-forward network; None: 8 / 3 * hidden_size, which has as many weights
                as the two matrices of 4 * hidden_size in older models.
            num_key_value_heads: None: as many as `num_attention_heads`.
            head_dim: channels of a head; None: hidden_size / num_attention_heads.
            vocab_size: tokens of the output head; None: not counted.

        Raises:
            OptionError: a size is below 1 or not an integer; heads that do not divide what they share.

        Example:
            Llama 3 8B. Attention costs as much as all else at `linear / quadratic` tokens in one sequence.

            >>> from packsort import CostModel
            >>> model = CostModel.from_model(
            ...     4096, 32, 32, intermediate_size=14336, num_key_value_heads=8, vocab_size=128256
            ... )
            >>> model
            CostModel(linear=45027950592.0, quadratic=786432.0)
            >>> round(model.linear / model.quadratic)
            57256
        """
        hidden, layers = _size("hidden_size", hidden_size), _size("num_layers", num_layers)
        heads = _size("num_attention_heads", num_attention_heads)
        shared = heads if num_key_value_heads is None else _size("num_key_value_heads", num_key_value_heads)
        if heads % shared:
            raise OptionError(
                f"num_key_value_heads is {shared}, allowed is what divides num_attention_heads, which is {heads}"
            )
        if head_dim is None and hidden % heads:
            raise OptionError(
                f"num_attention_heads is {heads}, allowed is what divides hidden_size, which is {hidden}, "
                "or any number where head_dim is given"
            )
        channels = heads * (hidden // heads if head_dim is None else _size("head_dim", head_dim))
        wide = 8 / 3 * hidden if intermediate_size is None else _size("intermediate_size", intermediate_size)
        attention = 2 * hidden * (channels + channels * shared // heads)
        head = 0 if vocab_size is None else hidden * _size("vocab_size", vocab_size)
        return cls(6.0 * (layers * (attention + 3 * hidden * wide) + head), 6.0 * layers * channels)

    def of(self, lengths: Any) -> NDArray[np.float64]:
        """The cost of each sequence alone: float64, of the shape of `lengths`.

        Args:
            lengths: tokens of each sequence; numbers in an array, or in anything `numpy.asarray` takes.
        """
        tokens = np.asarray(lengths, np.float64)
        costs: NDArray[np.float64] = np.asarray(self.linear * tokens + self.quadratic * tokens**2)
        return costs


def _coefficient(name: str, value: Any) -> float:
    try:
        if isinstance(value, (str, bytes, bool, np.bool_)):
            raise TypeError
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        raise OptionError(f"{name} is {value!r}, allowed is a number from 0 to {_MAX_COEFFICIENT:g}") from None
    if not (math.isfinite(number) and 0 <= number <= _MAX_COEFFICIENT):
        raise OptionError(f"{name} is {number:g}, allowed is 0 to {_MAX_COEFFICIENT:g}")
    return number


def _size(name: str, value: Any) -> int:
    if isinstance(value, (bool, np.bool_)) or not hasattr(value, "__index__"):
        raise OptionError(f"{name} is {value!r}, allowed is an integer")
    number = int(value.__index__())
    if number < 1:
        raise OptionError(f"{name} is {number}, allowed is 1 and more")
    return number


LLAMA_3_8B = CostModel.from_model(4096, 32, 32, intermediate_size=14336, num_key_value_heads=8, vocab_size=128256)
"""Llama 3 8B: 45.0 GFLOP a token and 786 kFLOP a pair of tokens. What is taken where no model is given."""
