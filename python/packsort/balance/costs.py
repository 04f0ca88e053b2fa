"""Cost of training on a sequence: linear in its tokens, and quadratic because of attention."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from packsort import _checks
from packsort.balance.model_sizes import LLAMA_3, ModelSizes
from packsort.errors import OptionError

_MAX_COEFFICIENT = 1e200  # below this, sums of the costs of the longest packs stay finite


@dataclass(frozen=True)
class CostModel:
    """Cost of training on a sequence of L tokens: `linear * L + quadratic * L**2`.

    Costs are only compared with each other, so any unit will do: the floating-point operations that `from_config`
    counts, or seconds fitted to measured steps. Measured costs are better where you have them: attention kernels reach
    another share of a GPU's speed than large matrix products, and everything else in a step adds to `linear`.

    Args:
        linear: Cost of a token, 0 to 1e200.
        quadratic: Cost of a pair of tokens, 0 to 1e200. At least one of the two is above 0.

    Raises:
        OptionError: A coefficient is no number or out of range, or both are 0.

    Example:
        >>> from packsort import CostModel
        >>> CostModel(linear=100.0, quadratic=1.0).of([10, 100])
        array([ 1100., 20000.])
    """

    linear: float
    quadratic: float

    def __post_init__(self) -> None:
        for name in ("linear", "quadratic"):
            value = _checks.number(name, getattr(self, name), most=_MAX_COEFFICIENT)
            object.__setattr__(self, name, value)
        if self.linear == self.quadratic == 0:
            raise OptionError("linear and quadratic must not both be 0")

    @classmethod
    def from_config(cls, config: Any) -> CostModel:
        """Count the operations of a model from its config; `from_model` has the formula.

        Args:
            config: A `transformers` config such as `model.config`, a mapping with its keys, a folder with
                `config.json`, or that file. Models of text and images count as their text part.

        Returns:
            Cost in floating-point operations.

        Raises:
            OptionError: `config` is none of these, it lacks a size, or the model is a mixture of experts.

        Example:
            >>> from packsort import CostModel
            >>> CostModel.from_config({"hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12})
            CostModel(linear=509607936.0, quadratic=55296.0)
        """
        return cls(*count_operations(ModelSizes.from_config(config)))

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
        """Count the operations, forward and backward, of a decoder-only transformer with causal attention.

        Every weight costs one multiplication and one addition per token forward, and twice that backward: 6 operations
        per weight and token (Kaplan et al., 2020, section 2.1; Hoffmann et al., 2022, appendix F). So

            linear = 6 * (num_layers * (attention + feed-forward) + hidden_size * vocab_size)

        The attention of a layer has the weights of queries and output, and of keys and values:

            2 * hidden_size * num_attention_heads * head_dim + 2 * hidden_size * num_key_value_heads * head_dim

        Its feed-forward network has `3 * hidden_size * intermediate_size`: three matrices, because it is gated, as in
        Llama, Qwen, Mistral and Gemma. The output head is multiplied; embeddings are looked up and cost nothing.

        Attention multiplies queries with keys, and weights with values. Each takes 2 operations for two tokens and one
        of the `num_attention_heads * head_dim` channels: 4 forward, 12 with the backward pass (Chowdhery et al., 2022,
        appendix B). Training kernels skip the half that a causal mask hides, so

            quadratic = 6 * num_layers * num_attention_heads * head_dim

        Kaplan et al. count the same (table 1: 2 * layers * context * d_attn per token forward). Key-value heads shared
        between query heads do not change it.

        Not counted are norms, softmax, activations, what flash attention computes again backward, and layers recomputed
        by checkpointing, which scales both terms alike. Layers with a sliding window or linear attention cost less than
        this. For a mixture of experts, pass as `intermediate_size` that of all experts that one token meets together.

        Args:
            hidden_size: Width of the model.
            num_layers: Number of layers, `num_hidden_layers` of a `transformers` config.
            num_attention_heads: Query heads of a layer.
            intermediate_size: Width of the feed-forward network. None is `8 / 3 * hidden_size`, which has as many
                weights as the two matrices of width `4 * hidden_size` in older models.
            num_key_value_heads: Key-value heads of a layer. None is as many as query heads.
            head_dim: Channels of a head. None is `hidden_size / num_attention_heads`.
            vocab_size: Tokens of the output head. None leaves it out.

        Returns:
            Cost in floating-point operations.

        Raises:
            OptionError: A size is no integer of at least 1, or heads do not divide what they share.

        Example:
            In Llama 3 8B, attention costs as much as everything else at 57,256 tokens in one sequence.

            >>> from packsort import CostModel
            >>> model = CostModel.from_model(
            ...     4096, 32, 32, intermediate_size=14336, num_key_value_heads=8, vocab_size=128256
            ... )
            >>> model
            CostModel(linear=45027950592.0, quadratic=786432.0)
            >>> round(model.linear / model.quadratic)
            57256
        """
        sizes = ModelSizes(
            hidden_size=hidden_size,
            num_layers=num_layers,
            num_attention_heads=num_attention_heads,
            num_key_value_heads=num_key_value_heads,
            head_dim=head_dim,
            intermediate_size=intermediate_size,
            vocab_size=vocab_size,
        )
        return cls(*count_operations(sizes))

    def of(self, lengths: Any) -> NDArray[np.float64]:
        """Return the cost of each sequence.

        Args:
            lengths: Tokens of each sequence: an array of any shape, or anything `numpy.asarray` takes.

        Returns:
            float64, of the shape of `lengths`.
        """
        tokens = np.asarray(lengths, np.float64)
        costs: NDArray[np.float64] = np.asarray(self.linear * tokens + self.quadratic * tokens**2)
        return costs


def count_operations(sizes: ModelSizes) -> tuple[float, float]:
    """Count the operations of a model; `CostModel.from_model` has the formula.

    Returns:
        (operations per token, operations per pair of tokens).
    """
    weights = sizes.num_layers * sizes.layer_weights + sizes.head_weights
    return 6.0 * weights, 6.0 * sizes.num_layers * sizes.attention_channels


LLAMA_3_8B = CostModel(*count_operations(LLAMA_3["8B"]))
"""Llama 3 8B, the default cost: 45.0 GFLOP a token and 786 kFLOP a pair of tokens."""
