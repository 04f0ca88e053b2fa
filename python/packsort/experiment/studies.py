"""Studies: lists of runs that answer a question.

`compare_methods` lists the runs of the paper. `load_study` reads a TOML file with these tables:

- `[run]`: settings that all runs share, as `RunSettings` has them.
- `[vary]`: settings with a list of values each; there is a run for every combination.
- `[[variants]]`: settings that change together; every combination is run with each of these tables.

`times = false` leaves out times: figures of a machine that does other work too. `by` names the column of kinds.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from itertools import product
from pathlib import Path
from typing import Any

from packsort import _checks
from packsort.errors import OptionError, SourceNotFoundError
from packsort.experiment.models import is_size
from packsort.experiment.settings import DEFAULT_METHODS, MethodName, RunSettings

_TABLES = {"title", "by", "times", "run", "vary", "variants"}
_SETTINGS = {field.name for field in fields(RunSettings)}


@dataclass(frozen=True)
class Study:
    """Runs that answer a question.

    Attributes:
        title: The question.
        runs: Settings of the runs, in the order in which they are run.
        by: Column with the kind of each conversation, or None.
        times: Whether times are recorded.
        minutes: Time for reading and all runs, which decides how many conversations they train on; None leaves the
            number as the runs have it.
    """

    title: str
    runs: tuple[RunSettings, ...]
    by: str | None = None
    times: bool = True
    minutes: float | None = None

    @property
    def models(self) -> list[str]:
        """Models of the runs."""
        return list(dict.fromkeys(run.model for run in self.runs))

    def with_conversations(self, count: int) -> Study:
        """Return the study with this many conversations in every run."""
        return replace(self, runs=tuple(replace(run, conversations=count) for run in self.runs), minutes=None)


def compare_methods(
    max_length: Sequence[int],
    *,
    model: str = "5M",
    methods: Sequence[MethodName] = DEFAULT_METHODS,
    conversations: Sequence[int] | None = None,
    minutes: float = 10.0,
    batch_size: int = 4,
    epochs: int = 1,
    learning_rate: float | None = None,
    seeds: Sequence[int] = (0,),
    held_out: int = 200,
) -> Study:
    """List the runs that compare methods, as the paper does.

    Args:
        max_length: Most tokens of a row; one or more limits.
        model: A size, `50K` to `1B`, for random weights, or the folder of a checkpoint.
        methods: Ways to put conversations into steps. The default is all but `hybrid`.
        conversations: Numbers of conversations to train on. None takes as many as `minutes` allow.
        minutes: Time for reading and for all runs together, where `conversations` is None.
        batch_size: Rows of a step.
        epochs: Passes over the conversations.
        learning_rate: Highest learning rate. None is 1e-3 for random weights, and the paper's 1e-5 for a checkpoint.
        seeds: Seeds of weights, order and held-out conversations; there is a run with each.
        held_out: Conversations held out.

    Raises:
        OptionError: A value is not allowed.
    """
    if learning_rate is None:
        learning_rate = 1e-3 if is_size(model) else 1e-5
    counts = [1] if conversations is None else conversations
    runs = [
        RunSettings(
            method=method,
            model=model,
            max_length=limit,
            conversations=count,
            batch_size=batch_size,
            epochs=epochs,
            learning_rate=learning_rate,
            seed=seed,
            held_out=held_out,
        )
        for limit, count, seed, method in product(max_length, counts, seeds, methods)
    ]
    if not runs:
        raise OptionError("max_length, methods, conversations and seeds must not be empty")
    budget = None if conversations is not None else _checks.number("minutes", minutes)
    return Study("Padding and packing", tuple(dict.fromkeys(runs)), minutes=budget)


def load_study(path: Path) -> Study:
    """Read a study.

    Raises:
        SourceNotFoundError: There is no such file.
        OptionError: It is no TOML, or names unknown settings.
    """
    try:
        facts = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise SourceNotFoundError(f"study `{path}` does not exist") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise OptionError(f"study `{path}` is no TOML: {error}") from error
    if unknown := sorted(set(facts) - _TABLES):
        raise OptionError(f"study `{path}` has an unknown entry {unknown[0]!r}: known are {', '.join(sorted(_TABLES))}")
    shared, vary = facts.get("run", {}), facts.get("vary", {})
    variants = facts.get("variants", [{}])
    for table in (shared, vary, *variants):
        if unknown := sorted(set(table) - _SETTINGS):
            raise OptionError(f"study `{path}` has an unknown setting {unknown[0]!r}")
    runs = dict.fromkeys(
        _run(path, {**shared, **variant, **dict(zip(vary, values, strict=True))})
        for values in product(*vary.values())
        for variant in variants
    )
    return Study(str(facts.get("title", path.stem)), tuple(runs), facts.get("by"), bool(facts.get("times", True)))


def _run(path: Path, settings: Mapping[str, Any]) -> RunSettings:
    given: dict[str, Any] = {name: tuple(value) if name == "only" else value for name, value in settings.items()}
    try:
        return RunSettings(**given)
    except TypeError as error:
        missing = sorted({"method", "model", "max_length", "conversations"} - set(given))
        raise OptionError(f"study `{path}` lacks a setting: {', '.join(missing)}") from error
