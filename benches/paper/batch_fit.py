"""The best learning rate of each batch, and what predicts it: rows, samples or tokens of a step, or all steps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from packsort.experiment.groups import Group, loss

PREDICTORS = ("rows a step", "samples a step", "tokens a step", "steps")
FORMS = {"constant": 0.0, "square root": 0.5, "proportional": 1.0}
"""Exponents of a power law that are not fitted; that of steps is the negative."""


@dataclass(frozen=True)
class Best:
    """The best learning rate of one kind of batch.

    Attributes:
        name: Name of the variant.
        predictors: Rows, samples and real tokens of a step, and steps.
        rate: Learning rate at the lowest point of a parabola through the lowest loss and its neighbours, over the
            logarithm of the rate.
        at_edge: Whether the lowest loss is at the edge of the grid; the best rate may then lie outside.
    """

    name: str
    predictors: tuple[float, ...]
    rate: float
    at_edge: bool


def find_best(groups: Sequence[Group]) -> list[Best]:
    """Find the best learning rate of each variant and batch size, on the mean loss over seeds."""
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
        found.append(Best(f"{method}, {data}", facts, float(np.exp(rate)), not inside))
    return found


def parabola(rates: NDArray[np.float64], losses: NDArray[np.float64], lowest: int) -> float:
    """Return where the parabola through the lowest loss and its two neighbours is lowest."""
    near = slice(lowest - 1, lowest + 2)
    a, b, _ = np.polyfit(rates[near] - rates[lowest], losses[near], 2)
    return float(rates[lowest] - b / (2 * a))


def errors(found: Sequence[Best]) -> dict[str, dict[str, float]]:
    """Return how far each rule misses the best rates, as a factor, by leaving one out.

    A rule is a power law of one predictor, with a fitted exponent or a fixed one. Each rate is predicted from the
    others. The factor is exp of the root mean square of the errors of the logarithm: 1.2 misses by a fifth.
    """
    rates = np.log([one.rate for one in found])
    table: dict[str, dict[str, float]] = {}
    for place, name in enumerate(PREDICTORS):
        values = np.log([one.predictors[place] for one in found])
        sign = -1 if name == "steps" else 1
        table[name] = {"fitted": missed(values, rates, None)}
        for form, power in FORMS.items():
            table[name][form] = missed(values, rates, sign * power)
        table[name]["exponent"] = float(np.polyfit(values, rates, 1)[0])
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
