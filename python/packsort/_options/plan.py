"""Options of a plan."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, get_args

from packsort import _checks
from packsort._options.choices import (
    DEFAULT_WINDOW,
    PIECEWISE_STRATEGIES,
    STRATEGIES,
    STRATEGY_ALIASES,
    EmptySequences,
    Overlong,
    Strategy,
    TruncationSide,
)
from packsort._options.keywords import PlanOptions, names
from packsort._progress import SearchProgress
from packsort.errors import OptionError

_CORE = (
    "max_length",
    "strategy",
    "overlong",
    "truncation_side",
    "empty",
    "max_sequences",
    "pad_to_multiple_of",
    "num_packs_multiple_of",
    "separator",
)
_NOT_RANDOM = (
    "max_sequences",
    "pad_to_multiple_of",
    "separator",
    "num_packs_multiple_of",
    "groups",
    "alone",
    "piece_starts",
)


@dataclass(frozen=True, kw_only=True)
class PlanConfig:
    """Options of a plan, complete and checked.

    Attributes:
        max_length: Most tokens of a pack, 1 to 2**31 - 1.
        strategy: Rule that puts sequences into packs, under its first name: `greedy` becomes `ffd`.
        overlong: Treatment of sequences longer than `max_length`.
        truncation_side: Side on which `overlong="truncate"` removes tokens.
        empty: Treatment of sequences without tokens.
        max_sequences: Most sequences of a pack; None is any number.
        pad_to_multiple_of: Every sequence occupies a multiple of this many tokens, padding included.
        separator: Whether to leave room for one token between two sequences.
        num_packs_multiple_of: The number of packs is a multiple of this.
        groups, splittable, alone, piece_starts: Columns with a value for each sequence, or None.
        window: Most sequences that `in_order` takes another past; None with other strategies.
        seed: Seed of the shuffle, or None.
        epoch: Epoch of the shuffle.
        gap, max_iterations, max_seconds: Limits of the search that `strategy="optimal"` makes, or None.
        on_progress: Called by that search.

    Raises:
        OptionError: A value is not allowed, or two options contradict each other.
    """

    max_length: int
    strategy: Strategy = "ffd"
    overlong: Overlong = "error"
    truncation_side: TruncationSide = "right"
    empty: EmptySequences = "error"
    max_sequences: int | None = None
    pad_to_multiple_of: int = 1
    separator: bool = False
    num_packs_multiple_of: int = 1
    groups: Any = field(default=None, compare=False, repr=False)
    splittable: Any = field(default=None, compare=False, repr=False)
    alone: Any = field(default=None, compare=False, repr=False)
    piece_starts: Any = field(default=None, compare=False, repr=False)
    window: int | None = None
    seed: int | None = None
    epoch: int = 0
    gap: float | None = None
    max_iterations: int | None = None
    max_seconds: float | None = None
    on_progress: SearchProgress | None = field(default=None, compare=False, repr=False)

    def __post_init__(self) -> None:
        self._set("max_length", _checks.max_length(self.max_length))
        self._set("strategy", _checks.one_of("strategy", self.strategy, STRATEGIES, STRATEGY_ALIASES))
        if str(self.overlong) == "split_turns":
            raise OptionError(
                "overlong='split_turns' cuts conversations while `packsort.write_shards` tokenizes them: "
                "pass the conversations to `packsort.write_shards` with `tokenizer`, or choose "
                f"one of {_checks.listed(get_args(Overlong))}"
            )
        _checks.one_of("overlong", self.overlong, get_args(Overlong))
        _checks.one_of("truncation_side", self.truncation_side, get_args(TruncationSide))
        _checks.one_of("empty", self.empty, get_args(EmptySequences))
        if self.max_sequences is not None:
            self._set("max_sequences", _checks.integer("max_sequences", self.max_sequences, 1, 2**32 - 1, ", or None"))
        multiple = _checks.integer("pad_to_multiple_of", self.pad_to_multiple_of)
        if not 1 <= multiple <= self.max_length:
            raise OptionError(
                f"pad_to_multiple_of must be between 1 and {self.max_length} (max_length), got {multiple}"
            )
        self._set("pad_to_multiple_of", multiple)
        self._set("separator", _checks.boolean("separator", self.separator))
        name = "num_packs_multiple_of"
        self._set(name, _checks.integer(name, self.num_packs_multiple_of, 1, 2**32 - 1))
        if self.seed is not None:
            self._set("seed", _checks.seed("seed", self.seed))
        self._set("epoch", _checks.seed("epoch", self.epoch))
        if self.strategy == "in_order":
            window = DEFAULT_WINDOW if self.window is None else self.window
            self._set("window", _checks.integer("window", window, 0, 2**32 - 1, ", or None"))
        self._check_pairs()
        self._check_limits()

    def _set(self, name: str, value: Any) -> None:
        object.__setattr__(self, name, value)

    def _check_pairs(self) -> None:
        """Refuse options that contradict each other."""
        strategy = f"strategy={self.strategy!r}"
        if self.truncation_side == "left" and self.overlong != "truncate":
            raise _checks.clash(
                "truncation_side='left'", f"overlong={self.overlong!r}", "only overlong='truncate' removes tokens"
            )
        if self.splittable is not None and self.strategy != "hybrid":
            raise _checks.clash("splittable", strategy, "only strategy='hybrid' cuts splittable sequences")
        if self.splittable is None and self.strategy == "hybrid":
            raise OptionError(
                "strategy='hybrid' needs splittable: a boolean for each sequence, true where it may be cut"
            )
        if self.window is not None and self.strategy != "in_order":
            raise _checks.clash("window", strategy, "only strategy='in_order' looks ahead")
        if self.piece_starts is not None and self.strategy not in PIECEWISE_STRATEGIES:
            raise _checks.clash("piece_starts", strategy, f"pass one of {_checks.listed(PIECEWISE_STRATEGIES)}")
        if self.piece_starts is not None and self.overlong != "error":
            raise _checks.clash(
                "piece_starts", f"overlong={self.overlong!r}", "pieces are cut beforehand, so none may be too long"
            )
        if self.strategy == "random":
            for name in _NOT_RANDOM:
                value, default = getattr(self, name), _DEFAULTS[name]
                if value is not default and not (isinstance(value, int) and value == default):
                    raise _checks.clash(
                        strategy,
                        name,
                        "random packing concatenates all sequences; choose "
                        f"one of {_checks.listed(one for one in STRATEGIES if one != 'random')}",
                    )

    def _check_limits(self) -> None:
        """Check the limits of the search for the fewest packs."""
        if self.strategy != "optimal":
            for name in ("gap", "max_iterations", "max_seconds"):
                if getattr(self, name) is not None:
                    raise _checks.clash(
                        name, f"strategy={self.strategy!r}", "only strategy='optimal' searches for the fewest packs"
                    )
            return
        if self.max_iterations is not None:
            name = "max_iterations"
            self._set(name, _checks.integer(name, self.max_iterations, 1, 2**32 - 1, ", or None"))
        for name in ("gap", "max_seconds"):
            if getattr(self, name) is not None:
                self._set(name, _checks.number(name, getattr(self, name), also=", or None"))


_DEFAULTS = {one.name: one.default for one in fields(PlanConfig)}


def plan_config(
    caller: str, max_length: Any, options: Mapping[str, Any], *, known: Any = PlanOptions, **more: Any
) -> PlanConfig:
    """Check the keyword arguments of a callable and complete them.

    Args:
        caller: The callable as the user wrote it, for messages.
        max_length: The most tokens of a pack.
        options: The keyword arguments given.
        known: The `TypedDict` that declares them.
        **more: Further attributes of `PlanConfig`, such as `seed`, which may be a `packsort.options.Seed`.

    Raises:
        TypeError: A keyword argument is unknown.
        OptionError: A value is not allowed, or two options contradict each other.
    """
    _checks.keywords(caller, options, names(known))
    if is_auto(more.get("seed")):
        more["seed"] = None if options.get("strategy") == "in_order" else 0
    return PlanConfig(max_length=max_length, **options, **more)


def core_options(config: PlanConfig) -> dict[str, Any]:
    """Return the options that the core takes, by name."""
    return {**{name: getattr(config, name) for name in _CORE}, "window": config.window or 0}


def is_auto(seed: Any) -> bool:
    """Return whether a seed is left to the strategy."""
    return isinstance(seed, str) and seed == "auto"
