"""Models to compare with: a size of Llama 3, a config, or a cost model."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from packsort.balance.costs import CostModel, count_operations
from packsort.balance.model_sizes import LLAMA_3, ModelSizes
from packsort.errors import OptionError


@dataclass(frozen=True)
class ComparedModel:
    """Model whose costs estimate time.

    Attributes:
        name: Name for the report.
        parameters: Number of weights; None where only costs are known.
        linear: Cost of a token, as in `CostModel`.
        quadratic: Cost of a pair of tokens, as in `CostModel`.
    """

    name: str
    parameters: int | None
    linear: float
    quadratic: float


def find_model(model: Any) -> ComparedModel:
    """Find the costs of a model.

    Args:
        model: A size of Llama 3 (`1B`, `3B`, `8B`, `70B`, `405B`), a `packsort.CostModel`, or whatever
            `CostModel.from_config` takes.

    Raises:
        OptionError: `model` is none of these, or its config lacks a size.

    Example:
        >>> find_model({"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}).parameters
        98304
        >>> find_model("9B")
        Traceback (most recent call last):
        packsort.errors.OptionError: model must be one of '1B', '3B', '8B', '70B', '405B', a CostModel, a transformers \
config, or a folder or file with one, got '9B'
    """
    if isinstance(model, CostModel):
        name = f"linear {model.linear:g}, quadratic {model.quadratic:g}"
        return ComparedModel(name, None, model.linear, model.quadratic)
    if isinstance(model, str) and model.upper() in LLAMA_3:
        return _of_sizes(f"Llama 3 {model.upper()}", LLAMA_3[model.upper()])
    if model is None or (isinstance(model, (str, os.PathLike)) and not Path(model).exists()):
        known = ", ".join(map(repr, LLAMA_3))
        raise OptionError(
            f"model must be one of {known}, a CostModel, a transformers config, or a folder or file with one, "
            f"got {model!r}"
        )
    if isinstance(model, (str, os.PathLike)):
        name = os.fspath(model)
    else:
        found = getattr(model, "name_or_path", None)
        name = found if isinstance(found, str) and found else "the config given"
    return _of_sizes(name, ModelSizes.from_config(model))


def _of_sizes(name: str, sizes: ModelSizes) -> ComparedModel:
    return ComparedModel(name, sizes.num_weights, *count_operations(sizes))
