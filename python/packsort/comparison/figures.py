"""A comparison's figures as a table of text, the same on a terminal and in the HTML report."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from packsort.comparison.results import AtLength, Comparison, Method

NAMES = {"padding": "padding", "padding_fixed": "padding", "random": "random packing", "ffd": "greedy packing"}


@dataclass(frozen=True)
class Line:
    """One line of the table: what it is, a text for each method, and a sentence that explains it."""

    name: str
    cells: tuple[str, ...]
    meaning: str


def heads(at: AtLength) -> list[tuple[str, str]]:
    """The name of each method's column, and what tells it from others."""
    below = ("to longest", f"to {at.max_length:,}", "cut at limit", "whole (ffd)")
    return [(NAMES[method.name].split()[0], text) for method, text in zip(at.methods, below, strict=True)]


def table(at: AtLength) -> list[Line]:
    """The figures of one max_length, a line a figure."""
    methods = at.methods
    lines: list[Line] = []

    def add(name: str, cell: Callable[[Method], str], meaning: str) -> None:
        lines.append(Line(name, tuple(cell(method) for method in methods), meaning))

    add("rows", lambda m: f"{m.rows:,}", "training rows in one epoch")
    add("steps", lambda m: f"{m.steps:,}", "steps in one epoch at the batch size and the ranks given")
    add("padding tokens", lambda m: f"{m.padding_tokens:,}", "tokens that only fill rows up")
    add("efficiency", lambda m: f"{m.efficiency:.2%}", "tokens / (tokens and padding)")
    add(
        "above the lower bound",
        lambda m: f"{m.above_lower_bound:.2%}" if m.above_lower_bound < 1 else f"{m.above_lower_bound:,.0%}",
        "rows beyond those needed at least; random packing may cut sequences, so its bound is lower",
    )
    add("sequences split", lambda m: f"{m.split:,}", "sequences that lie in more than one row")
    if any(m.truncated for m in methods):
        add("sequences cut", lambda m: f"{m.truncated:,}", "sequences of which the end is left out")
    if any(m.dropped for m in methods):
        add("sequences dropped", lambda m: f"{m.dropped:,}", "sequences left out")
    if any(m.tokens_lost for m in methods):
        add("tokens lost", lambda m: f"{m.tokens_lost:,}", "tokens left out with them")
    add("multi-turn broken", lambda m: _known(m.broken), "multi-turn conversations that are split or cut")
    add(
        "samples a row",
        lambda m: f"{m.samples.mean:,.1f} ± {m.samples.deviation:,.1f}",
        "sequences, or parts of such, in a row: mean ± standard deviation",
    )
    add("samples a step", lambda m: f"{m.samples.mean * m.rows / m.steps:,.0f}", "the same, in a step")
    add(
        "attention, masked",
        lambda m: _si(m.with_masks.attention),
        "pairs of tokens attention looks at where sequences of a row do not see each other",
    )
    add(
        "attention, whole rows",
        lambda m: _si(m.without_masks.attention),
        "the same where a row, padding with it, is one sequence",
    )
    add("time, masked", lambda m: f"{m.with_masks.relative_time:.3f}", "estimated, padding = 1; packs not padded")
    add("time, whole rows", lambda m: f"{m.without_masks.relative_time:.3f}", "estimated, on the same scale")
    add("time, scheduled", _scheduled("relative_time", ".3f"), "the same, masked, in the order of packsort.schedule")
    add(
        "ranks busy, masked",
        lambda m: f"{m.with_masks.utilization:.1%}",
        "mean cost over ranks / cost of the slowest, in shuffled order",
    )
    add("ranks busy, whole rows", lambda m: f"{m.without_masks.utilization:.1%}", "the same for whole rows")
    add(
        "ranks busy, scheduled",
        _scheduled("utilization", ".1%"),
        "the same, masked, in the order of packsort.schedule, in which packs of a step cost alike",
    )
    return lines


def stated(comparison: Comparison) -> str:
    """What the estimate of time rests on, in words."""
    model = comparison.model
    size = "" if model.parameters is None else f" ({model.parameters / 1e9:,.1f} billion weights)"
    per = model.quadratic / model.linear if model.linear else float("inf")
    return (
        f"Time is estimated, not measured: a sequence of L tokens costs L + {per:.3g} L², the proportion of "
        f"{model.name}{size}; padding costs what tokens cost; a step lasts as long as the slowest of "
        f"{comparison.world_size:,} ranks. Communication, and how well "
        "a device is used by small batches, are not in it."
    )


def multi_turn(comparison: Comparison) -> str:
    """How many conversations are multi-turn, in words."""
    if comparison.multi_turn is None:
        return "not known: no `messages`, no `labels` that mark turns"
    return f"{comparison.multi_turn:,} of {comparison.num_sequences:,}"


def _scheduled(name: str, form: str) -> Callable[[Method], str]:
    def cell(method: Method) -> str:
        steps = method.with_masks.scheduled
        return "-" if steps is None else format(getattr(steps, name), form)

    return cell


def _known(number: int | None) -> str:
    return "not known" if number is None else f"{number:,}"


def _si(number: int) -> str:
    """Three digits and a prefix.

    Example:
        >>> _si(950), _si(12_345_678), _si(2 * 10**21)
        ('950', '12.3 M', '2,000 E')
    """
    value, prefixes = float(number), ["", "k", "M", "G", "T", "P", "E"]
    while value >= 999.5 and len(prefixes) > 1:
        value /= 1000
        prefixes.pop(0)
    digits = f"{value:,.0f}" if value >= 99.95 or value == int(value) else f"{value:.3g}"
    return f"{digits} {prefixes[0]}".rstrip()
