"""Sizes of models, and what a token costs in them: names, a `config.json`, numbers, or a cost model."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from packsort.balance.costs import CostModel
from packsort.errors import OptionError

# hidden_size, num_hidden_layers, num_attention_heads, num_key_value_heads, intermediate_size: Llama 3's published
# configurations, since the paper trains Llama 3 8B and 70B.
_SIZES = {
    "1B": (2048, 16, 32, 8, 8192),
    "3B": (3072, 28, 24, 8, 8192),
    "8B": (4096, 32, 32, 8, 14336),
    "70B": (8192, 80, 64, 8, 28672),
    "405B": (16384, 126, 128, 8, 53248),
}
_VOCABULARY = 128_256
_NEEDED = ("hidden_size", "num_hidden_layers", "num_attention_heads")


@dataclass(frozen=True)
class Model:
    """A model as far as its speed goes.

    Attributes:
        name: as it was given.
        parameters: how many weights it has; None where only costs were given.
        linear: cost of a token apart from attention, in FLOPs or any other unit.
        quadratic: cost of a pair of tokens that attention looks at, in the same unit.
    """

    name: str
    parameters: int | None
    linear: float
    quadratic: float


def model_of(model: Any) -> Model:
    """Finds out what a model costs.

    Args:
        model: a size of Llama 3 (`1B`, `3B`, `8B`, `70B`, `405B`); a folder with a Hugging Face `config.json`, or that
            file; a mapping with its numbers; or a `packsort.balance.costs.CostModel`.

    Raises:
        OptionError: it is none of these, or a number is missing or below 1.

    Example:
        >>> model_of({"hidden_size": 0, "num_hidden_layers": 2, "num_attention_heads": 2})
        Traceback (most recent call last):
        packsort.errors.OptionError: model's hidden_size is 0, allowed is an integer of 1 and more
    """
    if hasattr(model, "linear") and hasattr(model, "quadratic"):
        linear, quadratic = float(model.linear), float(model.quadratic)
        return Model(f"linear {linear:g}, quadratic {quadratic:g}", None, linear, quadratic)
    if isinstance(model, Mapping):
        return _from_numbers("the numbers given", model)
    if isinstance(model, str) and model.upper() in _SIZES:
        name = model.upper()
        keys = (*_NEEDED, "num_key_value_heads", "intermediate_size")
        numbers = dict(zip(keys, _SIZES[name], strict=True))
        return _from_numbers(f"Llama 3 {name}", {**numbers, "vocab_size": _VOCABULARY})
    if isinstance(model, (str, os.PathLike)):
        path = Path(model)
        file = path / "config.json" if path.is_dir() else path
        if file.is_file():
            return _from_numbers(os.fspath(model), _read(file))
        if path.is_dir():
            raise OptionError(f"model `{model}` is a folder without a config.json")
    known = ", ".join(map(repr, _SIZES))
    raise OptionError(f"model is {model!r}, allowed are {known}, a folder with a config.json, or a CostModel")


def _read(file: Path) -> Mapping[str, Any]:
    try:
        facts = json.loads(file.read_text("utf-8"))
    except (ValueError, OSError) as error:
        raise OptionError(f"model `{file}` is no config.json that can be read: {error}") from error
    if not isinstance(facts, dict):
        raise OptionError(f"model `{file}` is no config.json: it holds a {type(facts).__name__}")
    # Models of text and images keep the numbers of the text part in here.
    inner = facts.get("text_config")
    return inner if isinstance(inner, dict) else facts


def _from_numbers(name: str, facts: Mapping[str, Any]) -> Model:
    experts = next((key for key in ("num_local_experts", "num_experts", "n_routed_experts") if facts.get(key)), None)
    if experts is not None:
        raise OptionError(
            f"model is a mixture of experts (`{experts}` is {facts[experts]}), whose costs its numbers do not give; "
            "allowed is a CostModel"
        )
    hidden, layers, heads = (_number(facts, key) for key in _NEEDED)
    kv_heads = _number(facts, "num_key_value_heads", heads)
    inner = _number(facts, "intermediate_size", 4 * hidden)
    vocabulary = _number(facts, "vocab_size", _VOCABULARY)
    head = _number(facts, "head_dim", max(1, hidden // heads))
    layer = 2 * hidden * heads * head + 2 * hidden * kv_heads * head + 3 * hidden * inner
    embeddings = vocabulary * hidden * (1 if facts.get("tie_word_embeddings") else 2)
    cost = CostModel.from_model(
        hidden_size=hidden,
        num_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=kv_heads,
        intermediate_size=inner,
        vocab_size=vocabulary,
        head_dim=head,
    )
    return Model(name, layers * layer + embeddings, float(cost.linear), float(cost.quadratic))


def _number(facts: Mapping[str, Any], key: str, default: int | None = None) -> int:
    value = facts.get(key)
    if value is None and default is not None:
        return default
    if value is None:
        raise OptionError(f"model lacks {key}; needed are {', '.join(_NEEDED)}")
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise OptionError(f"model's {key} is {value!r}, allowed is an integer of 1 and more")
    return value
