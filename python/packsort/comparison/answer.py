"""The answer of a comparison: one sentence, and a bar of time for each method."""

from __future__ import annotations

from dataclasses import dataclass

from packsort.comparison.figures import full_name
from packsort.comparison.results import AtLength, ComparisonFigures, Method

BARS = "Estimated time of an epoch, padding to the longest of each batch = 1"
"""Title of the bars."""


@dataclass(frozen=True)
class Bar:
    """Bar of one method.

    Attributes:
        method: Name of the method.
        name: The same in words.
        time: Estimated time, padding to the longest = 1.
        share: Length of the bar, 0 to 1; the longest has 1.
        is_chosen: Whether the method is recommended.
    """

    method: str
    name: str
    time: float
    share: float
    is_chosen: bool


def answer(comparison: ComparisonFigures) -> str:
    """Return the recommendation in one sentence; of several limits, for the one that is recommended."""
    sentence = answer_at(comparison[comparison.best_length])
    return sentence if len(comparison.at) == 1 else f"at max_length {comparison.best_length:,}, {sentence}"


def answer_at(at: AtLength) -> str:
    """Return the recommendation for one limit in one sentence."""
    padding, greedy = at.padding, at.ffd
    if at.advice.choice == "padding" and at.advice.is_tentative:
        return f"padding may be the better choice; packing, greedily, would mean {_gain(padding, greedy)}"
    if at.advice.choice == "padding":
        return f"keep padding: packing would save only {1 - greedy.rows / padding.rows:.0%} of the rows"
    if at.advice.choice == "random":
        return f"pack, at random: {_gain(padding, at['random'])}"
    return f"pack, greedily: {_gain(padding, greedy)}"


def bars(at: AtLength) -> list[Bar]:
    """Return a bar for each method, in the order of the table."""
    most = max(method.with_masks.relative_time for method in at.methods.values())
    return [
        Bar(
            name,
            full_name(name, at.max_length),
            method.with_masks.relative_time,
            method.with_masks.relative_time / most,
            name == at.advice.choice,
        )
        for name, method in at.methods.items()
    ]


def _gain(padding: Method, packed: Method) -> str:
    rows, time = padding.rows / packed.rows, 1 / packed.with_masks.relative_time
    if time >= 1.05:
        return f"{rows:,.1f} times fewer rows, about {time:,.1f} times less time, estimated"
    if time > 0.95:
        return f"{rows:,.1f} times fewer rows, about the same time, estimated"
    return f"{rows:,.1f} times fewer rows, but about {1 / time:,.1f} times the time, estimated"
