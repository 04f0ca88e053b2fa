"""Runs that differ only in their seed, and how much their figures differ."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields, replace

import numpy as np

from packsort.experiment.records import Run
from packsort.experiment.settings import RunSettings


@dataclass(frozen=True)
class Spread:
    """Mean of a figure over seeds.

    Attributes:
        mean: The mean.
        deviation: Standard deviation; None with one seed.
    """

    mean: float
    deviation: float | None

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Return the spread of values, one for each seed."""
        return cls(float(np.mean(values)), float(np.std(values, ddof=1)) if len(values) > 1 else None)


@dataclass(frozen=True)
class Group:
    """Runs that differ only in their seed.

    Attributes:
        settings: Their settings, with the seed of the first.
        runs: The runs, by seed.
    """

    settings: RunSettings
    runs: tuple[Run, ...]

    def spread(self, figure: Callable[[Run], float | None]) -> Spread | None:
        """Return the spread of a figure, or None where a run lacks it."""
        values = [value for run in self.runs if (value := figure(run)) is not None]
        return Spread.of(values) if len(values) == len(self.runs) else None


def group_runs(runs: Iterable[Run]) -> list[Group]:
    """Group runs that differ only in their seed, in the order of the first of each."""
    found: dict[RunSettings, list[Run]] = {}
    for run in runs:
        found.setdefault(replace(run.settings, seed=0), []).append(run)
    return [Group(members[0].settings, tuple(sorted(members, key=_seed))) for members in found.values()]


def difference(one: Group, other: Group, figure: Callable[[Run], float | None]) -> Spread | None:
    """Return the difference of a figure, `one` minus `other`, over the seeds that both have; None where there are none.

    Both runs of a seed have the same weights and conversations, so most of what a seed changes cancels out.
    """
    values = [mine - its for mine, its in _pairs(one, other, figure)]
    return Spread.of(values) if values else None


def ratio(one: Group, other: Group, figure: Callable[[Run], float | None]) -> Spread | None:
    """Return the ratio of a figure, `one` over `other`, over the seeds that both have; None where there are none."""
    values = [mine / its for mine, its in _pairs(one, other, figure)]
    return Spread.of(values) if values else None


def is_difference(found: Spread | None) -> bool:
    """Return whether a difference is larger than its own spread over the seeds. One seed shows none."""
    return found is not None and found.deviation is not None and abs(found.mean) > found.deviation


def varied(groups: Sequence[Group]) -> list[str]:
    """List the settings in which groups differ, the seed apart."""
    names = [field.name for field in fields(RunSettings) if field.name != "seed"]
    return [name for name in names if len({getattr(group.settings, name) for group in groups}) > 1]


def loss(run: Run) -> float | None:
    """Return the held-out loss at the end."""
    return _after(run, "loss")


def single_turn(run: Run) -> float | None:
    """Return the held-out loss of single-turn conversations."""
    return _after(run, "single_turn")


def multi_turn(run: Run) -> float | None:
    """Return the held-out loss of multi-turn conversations."""
    return _after(run, "multi_turn")


def calibration(run: Run) -> float | None:
    """Return the expected calibration error."""
    return _after(run, "calibration")


def seconds_per_token(run: Run) -> float | None:
    """Return the time of a real token."""
    return None if run.seconds is None else run.seconds / run.real_tokens


def _after(run: Run, name: str) -> float | None:
    found: float | None = None if run.after is None else run.after[name]
    return found


def _pairs(one: Group, other: Group, figure: Callable[[Run], float | None]) -> list[tuple[float, float]]:
    """Return a figure of both runs of each seed that both groups have."""
    theirs = {run.settings.seed: figure(run) for run in other.runs}
    pairs = [(figure(run), theirs.get(run.settings.seed)) for run in one.runs]
    return [(mine, its) for mine, its in pairs if mine is not None and its is not None]


def _seed(run: Run) -> int:
    return run.settings.seed
