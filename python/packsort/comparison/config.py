"""Options of a comparison, complete and checked before any data is opened."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, get_args

from packsort import _checks
from packsort._options.choices import DEFAULT_WINDOW, STRATEGY_ALIASES, ComparedMethod, OverlongInComparison
from packsort._options.plan import PlanConfig
from packsort.balance.schedule import MOST_PACKS_A_STEP
from packsort.comparison.models import ComparedModel, find_model
from packsort.errors import OptionError
from packsort.planning.optimal.program import solver

METHODS: tuple[str, ...] = tuple(name for name in get_args(ComparedMethod) if name not in STRATEGY_ALIASES)
"""Every method, in the order of the table."""
DEFAULT_METHODS = ("ffd", "random", "padding", "padding_best", "padding_fixed")
_ALWAYS = ("ffd", "padding")
NEED_TURNS = ("hybrid", "only_single")
"""Methods that treat multi-turn conversations differently from others."""


@dataclass(frozen=True)
class ComparisonConfig:
    """Options of a comparison.

    Attributes:
        limits: Each `max_length`, in the order given.
        methods: Names of the methods, in the order of the table.
        batch_size: Packs of one rank in a step.
        world_size: Number of ranks.
        epochs: Epochs of the run.
        model: Model whose costs estimate time.
        seed: Seed of the shuffle.
        window: Window of `in_order`, or None where it is not compared.
        overlong: Treatment of sequences longer than `max_length`.
        empty: Treatment of sequences without tokens.
    """

    limits: tuple[int, ...]
    methods: tuple[str, ...]
    batch_size: int
    world_size: int
    epochs: int
    model: ComparedModel
    seed: int
    window: int | None
    overlong: OverlongInComparison
    empty: Any

    def plan(self, method: str, limit: int, **more: Any) -> PlanConfig:
        """Return the options of the plan that makes the packs of a method.

        Args:
            method: `ffd`, `bfd`, `optimal`, `hybrid`, `only_single` or `in_order`.
            limit: Its `max_length`.
            **more: Columns that it needs.
        """
        overlong: Any = "error" if self.overlong == "split_turns" else self.overlong
        facts: dict[str, Any] = {"max_length": limit, "overlong": overlong, "empty": self.empty, **more}
        if method == "in_order":
            return PlanConfig(strategy="in_order", window=self.window, **facts)
        strategy: Any = "ffd" if method == "only_single" else method
        return PlanConfig(strategy=strategy, seed=self.seed, **facts)


def comparison_config(
    max_length: int | Sequence[int],
    *,
    methods: Sequence[str] | None,
    batch_size: int,
    world_size: int,
    epochs: int,
    model: Any,
    seed: int,
    window: int | None,
    overlong: OverlongInComparison,
    empty: Any,
) -> ComparisonConfig:
    """Check the options of `packsort.compare`.

    Raises:
        OptionError: A value is not allowed, or `optimal` is to be compared and highspy is not installed.
    """
    limits = _limits(max_length)
    names = _methods(methods)
    batch_size = _checks.integer("batch_size", batch_size, 1)
    world_size = _checks.integer("world_size", world_size, 1)
    if batch_size * world_size > MOST_PACKS_A_STEP:
        raise OptionError(
            f"batch_size x world_size must be at most {MOST_PACKS_A_STEP} packs per step, got {batch_size} x "
            f"{world_size}"
        )
    if window is not None:
        window = _checks.integer("window", window, 0, 2**32 - 1, ", or None")
        names = names if "in_order" in names else (*names, "in_order")
    elif "in_order" in names:
        window = DEFAULT_WINDOW
    _checks.one_of("overlong", overlong, get_args(OverlongInComparison))
    if "optimal" in names:
        solver()
    return ComparisonConfig(
        limits=limits,
        methods=names,
        batch_size=batch_size,
        world_size=world_size,
        epochs=_checks.integer("epochs", epochs, 1),
        model=find_model(model),
        seed=_checks.seed("seed", seed),
        window=window,
        overlong=overlong,
        empty=empty,
    )


def _methods(methods: Sequence[str] | None) -> tuple[str, ...]:
    """Return the names with those that are always compared, each once, greedy packing first."""
    if methods is None:
        return DEFAULT_METHODS
    given = (methods,) if isinstance(methods, str) else tuple(methods)
    names = [_checks.one_of("methods", name, METHODS, STRATEGY_ALIASES) for name in given]
    return tuple(name for name in METHODS if name in names or name in _ALWAYS)


def _limits(max_length: int | Sequence[int]) -> tuple[int, ...]:
    if isinstance(max_length, (str, bytes)) or not hasattr(max_length, "__iter__"):
        return (_checks.max_length(max_length),)
    limits = tuple(_checks.max_length(one) for one in max_length)
    if not limits:
        raise OptionError("max_length must be one limit or several, got an empty list")
    twice = next((one for i, one in enumerate(limits) if one in limits[:i]), None)
    if twice is not None:
        raise OptionError(f"max_length must not repeat a limit, got {twice} twice")
    return limits
