"""Settings of one run: everything that decides its figures, times apart."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, fields
from typing import Any, Literal, get_args

from packsort import _checks
from packsort.errors import OptionError

MethodName = Literal[
    "padding",
    "padding_fixed",
    "padding_best",
    "random",
    "random_unmasked",
    "ffd",
    "ffd_unmasked",
    "ffd_sample",
    "optimal",
    "optimal_unmasked",
    "only_single",
    "only_single_unmasked",
    "hybrid",
]
"""Way to put conversations into steps; `methods` describes each."""

Labels = Literal["own", "shuffled"]
"""Answers of the conversations: their own, or those of others."""

METHODS: tuple[MethodName, ...] = get_args(MethodName)
DEFAULT_METHODS = METHODS[:-1]
"""Those of the paper and their rivals; `hybrid` is for mixes of single- and multi-turn conversations."""


@dataclass(frozen=True, kw_only=True)
class RunSettings:
    """Settings of one run.

    Attributes:
        method: Way to put conversations into steps.
        model: A size such as `5M`, or the folder of a checkpoint.
        max_length: Most tokens of a row.
        conversations: Conversations to train on.
        batch_size: Rows of a step.
        epochs: Passes over the conversations.
        learning_rate: Highest learning rate. It rises linearly, then falls as a cosine to a tenth.
        warmup: Share of the steps in which the learning rate rises.
        seed: Seed of the initial weights, of the order of the conversations, and of the choice of those held out.
        held_out: Conversations held out.
        multi_turn: Share of the trained conversations that are multi-turn. None leaves it as it is.
        only: Values of the column `by` to which all conversations are restricted. None takes every value.
        repeated: Times that each conversation comes; there are as many fewer different ones.
        labels: Answers of the conversations: their `own`, or those of others, `shuffled`.

    Raises:
        OptionError: A value is not allowed.

    Example:
        >>> RunSettings(method="ffd", model="5M", max_length=1024, conversations=500).key
        'ffd-20d7d55a2076'
    """

    method: MethodName
    model: str
    max_length: int
    conversations: int
    batch_size: int = 4
    epochs: int = 1
    learning_rate: float = 1e-3
    warmup: float = 0.2
    seed: int = 0
    held_out: int = 200
    multi_turn: float | None = None
    only: tuple[str, ...] | None = None
    repeated: int = 1
    labels: Labels = "own"

    def __post_init__(self) -> None:
        _checks.one_of("method", self.method, METHODS)
        _checks.one_of("labels", self.labels, get_args(Labels))
        for name in ("conversations", "batch_size", "epochs", "held_out", "repeated"):
            object.__setattr__(self, name, _checks.integer(name, getattr(self, name), 1))
        object.__setattr__(self, "max_length", _checks.integer("max_length", self.max_length, 2))
        object.__setattr__(self, "seed", _checks.integer("seed", self.seed, 0, 2**32 - 1))
        object.__setattr__(self, "learning_rate", _checks.number("learning_rate", self.learning_rate))
        object.__setattr__(self, "warmup", _checks.number("warmup", self.warmup, most=1.0))
        if not isinstance(self.model, str):
            raise OptionError(f"model must be a size or a folder, got {self.model!r}")
        if self.multi_turn is not None:
            object.__setattr__(self, "multi_turn", _checks.number("multi_turn", self.multi_turn, most=1.0))
        if self.only is not None:
            object.__setattr__(self, "only", _checks.column_names("only", self.only))

    @property
    def key(self) -> str:
        """Name of the run: its method and a digest of its settings. Settings at their default do not count."""
        return f"{self.method}-{_digest(self.to_dict())}"

    def to_dict(self) -> dict[str, Any]:
        """Return the settings that differ from their defaults, for JSON."""
        found = {}
        for field in fields(self):
            value = getattr(self, field.name)
            if value != field.default:
                found[field.name] = list(value) if isinstance(value, tuple) else value
        return found


def _digest(facts: Any) -> str:
    """Return 12 hexadecimal digits that two values of JSON share only if they are equal."""
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:12]
