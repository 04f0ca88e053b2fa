"""Learning rates that suit each batch, and what predicts them: rows, samples or tokens of a step, or all steps.

Losses are nearly flat around the best rate, so the best rate of a batch is uncertain. The least rate that comes close
to the lowest loss is not: below it, losses rise steeply.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from packsort.experiment.groups import Group, Spread, loss

PREDICTORS = ("rows a step", "samples a step", "tokens a step", "steps")
FORMS = {"constant": 0.0, "square root": 0.5, "proportional": 1.0}
"""Exponents of a power law that are not fitted; that of steps is the negative."""
CLOSE = 0.05
"""Nats above the lowest loss that still are close to it."""


@dataclass(frozen=True)
class Rates:
    """Learning rates that suit one kind of batch.

    Attributes:
        name: Name of the variant.
        predictors: Rows, samples and real tokens of a step, and steps.
        best: Learning rate at the lowest point of a parabola through the lowest loss and its neighbours, over the
            logarithm of the rate.
        least: Least learning rate that comes close to the lowest loss, interpolated over the logarithm.
        at_edge: Whether the lowest loss is at the edge of the grid; the best rate may then lie outside.
    """

    name: str
    predictors: tuple[float, ...]
    best: float
    least: float
    at_edge: bool


def find_rates(groups: Sequence[Group]) -> list[Rates]:
    """Find the rates of each variant and batch size, on the mean loss over seeds."""
    cells: dict[tuple[str, int, tuple[str, ...] | None], list[Group]] = {}
    for group in groups:
        settings = group.settings
        cells.setdefault((settings.method, settings.batch_size, settings.only), []).append(group)
    found = []
    for (method, rows, only), members in cells.items():
        members = sorted(members, key=lambda group: group.settings.learning_rate)
        losses = np.array([np.mean([loss(run) for run in group.runs]) for group in members])
        rates = np.log(np.array([group.settings.learning_rate for group in members]))
        if len(members) < 3:
            continue
        run = members[0].runs[0]
        lowest = int(losses.argmin())
        inside = 0 < lowest < len(losses) - 1
        rate = parabola(rates, losses, lowest) if inside else rates[lowest]
        data = "all" if only is None else "short" if "opentrivia_a" in only else "long"
        facts = (float(rows), run.samples_per_step, run.real_tokens / run.steps, float(run.steps))
        least = crossing(rates, losses, float(losses[lowest]) + CLOSE)
        found.append(Rates(f"{method}, {data}", facts, float(np.exp(rate)), float(np.exp(least)), not inside))
    return found


def parabola(rates: NDArray[np.float64], losses: NDArray[np.float64], lowest: int) -> float:
    """Return where the parabola through the lowest loss and its two neighbours is lowest."""
    near = slice(lowest - 1, lowest + 2)
    a, b, _ = np.polyfit(rates[near] - rates[lowest], losses[near], 2)
    return float(rates[lowest] - b / (2 * a))


def crossing(rates: NDArray[np.float64], losses: NDArray[np.float64], level: float) -> float:
    """Return where losses first fall to a level, between two rates of the grid."""
    first = int((losses <= level).argmax())
    if first == 0:
        return float(rates[0])
    share = (losses[first - 1] - level) / (losses[first - 1] - losses[first])
    return float(rates[first - 1] + share * (rates[first] - rates[first - 1]))


def errors(groups: Sequence[Group], figure: str) -> dict[str, dict[str, Spread]]:
    """Return how far each rule misses a figure of `Rates`, as a factor, by leaving one batch out.

    A rule is a power law of one predictor, with a fitted exponent or a fixed one. Each rate is predicted from the
    others. The factor is exp of the root mean square of the errors of the logarithm: 1.2 misses by a fifth. Each seed
    is fitted by itself, which gives the spread. Best rates at the edge of the grid are left out.
    """
    seeds = sorted({run.settings.seed for group in groups for run in group.runs})
    tables = []
    for seed in seeds:
        one = [Group(group.settings, tuple(run for run in group.runs if run.settings.seed == seed)) for group in groups]
        found = [rates for rates in find_rates(one) if figure == "least" or not rates.at_edge]
        tables.append(_errors(found, np.log([getattr(rates, figure) for rates in found])))
    return {
        name: {rule: Spread.of([table[name][rule] for table in tables]) for rule in tables[0][name]}
        for name in PREDICTORS
    }


def _errors(found: Sequence[Rates], rates: NDArray[np.float64]) -> dict[str, dict[str, float]]:
    table: dict[str, dict[str, float]] = {}
    for place, name in enumerate(PREDICTORS):
        values = np.log([one.predictors[place] for one in found])
        sign = -1 if name == "steps" else 1
        table[name] = {"exponent": float(np.polyfit(values, rates, 1)[0]), "fitted power": missed(values, rates, None)}
        for form, power in FORMS.items():
            table[name][form] = missed(values, rates, sign * power)
    return table


def missed(values: NDArray[np.float64], rates: NDArray[np.float64], power: float | None) -> float:
    """Return the factor by which a power law misses each rate when it is fitted to the others."""
    errors = []
    for out in range(len(rates)):
        others = np.arange(len(rates)) != out
        slope = power if power is not None else float(np.polyfit(values[others], rates[others], 1)[0])
        level = float((rates[others] - slope * values[others]).mean())
        errors.append(level + slope * values[out] - rates[out])
    return float(np.exp(np.sqrt(np.mean(np.square(errors)))))
