"""Table of a comparison as text, the same on a terminal and in the HTML report."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from packsort.comparison.results import AtLength, ComparisonFigures, Method

NAMES = {
    "padding": "padding",
    "padding_fixed": "padding",
    "random": "random packing",
    "ffd": "greedy packing",
    "in_order": "in-order packing",
}


@dataclass(frozen=True)
class Line:
    """Line of the table.

    Attributes:
        name: Name of the figure.
        cells: The figure of each method.
        meaning: Explanation.
    """

    name: str
    cells: tuple[str, ...]
    meaning: str


def heads(at: AtLength, window: int | None) -> list[tuple[str, str]]:
    """Return the heading of each method's column: its name, and a second line that tells it from the others."""
    below = ("to longest", f"to {at.max_length:,}", "cut at limit", "whole (ffd)", f"window {window}")
    return [(NAMES[method.name].split()[0], text) for method, text in zip(at.methods, below, strict=False)]


def table(at: AtLength) -> list[Line]:
    """Return the lines of the table of one `max_length`."""
    methods = at.methods
    lines: list[Line] = []

    def add(name: str, cell: Callable[[Method], str], meaning: str) -> None:
        lines.append(Line(name, tuple(cell(method) for method in methods), meaning))

    add("packs", lambda m: f"{m.rows:,}", "packs in one epoch; padding has one sequence in each")
    add("steps", lambda m: f"{m.steps:,}", "steps in one epoch, at the batch size and number of ranks above")
    add("padding tokens", lambda m: f"{m.padding_tokens:,}", "padding in all packs")
    add("efficiency", lambda m: f"{m.efficiency:.2%}", "tokens / (tokens + padding)")
    add(
        "above the lower bound",
        lambda m: f"{m.above_lower_bound:.2%}" if m.above_lower_bound < 1 else f"{m.above_lower_bound:,.0%}",
        "packs above the fewest possible; random packing may cut sequences, so its bound is lower",
    )
    if any(m.max_displacement is not None for m in methods):
        add("most places moved", lambda m: _moved(m.max_displacement), "places of a sequence from its own in the input")
        add("mean places moved", lambda m: _moved(m.mean_displacement), "the mean of these over all sequences")
    add("sequences split", lambda m: f"{m.split:,}", "sequences in more than one pack")
    if any(m.truncated for m in methods):
        add("sequences truncated", lambda m: f"{m.truncated:,}", "sequences cut at the limit")
    if any(m.dropped for m in methods):
        add("sequences dropped", lambda m: f"{m.dropped:,}", "sequences left out")
    if any(m.tokens_lost for m in methods):
        add("tokens lost", lambda m: f"{m.tokens_lost:,}", "tokens truncated or dropped")
    add("multi-turn broken", lambda m: _known(m.broken), "multi-turn conversations split or truncated")
    add(
        "samples per pack",
        lambda m: f"{m.samples.mean:,.1f} ± {m.samples.deviation:,.1f}",
        "sequences, or pieces of sequences, in a pack: mean ± standard deviation",
    )
    add("samples per step", lambda m: f"{m.samples.mean * m.rows / m.steps:,.0f}", "samples in a step, on average")
    add(
        "attention, masked",
        lambda m: _si(m.with_masks.attention),
        "pairs of tokens that attention computes where a token attends to its own sequence",
    )
    add(
        "attention, whole packs",
        lambda m: _si(m.without_masks.attention),
        "pairs of tokens where a token attends to the whole pack, padding included",
    )
    add(
        "time, masked",
        lambda m: f"{m.with_masks.relative_time:.3f}",
        "estimated time, padding = 1; packs are not padded",
    )
    add("time, whole packs", lambda m: f"{m.without_masks.relative_time:.3f}", "estimated time on the same scale")
    add(
        "time, scheduled",
        _scheduled("relative_time", ".3f"),
        "estimated time, masked, in the order of packsort.schedule",
    )
    add(
        "ranks busy, masked",
        lambda m: f"{m.with_masks.utilization:.1%}",
        "mean cost over ranks / cost of the slowest rank, in shuffled order",
    )
    add(
        "ranks busy, whole packs",
        lambda m: f"{m.without_masks.utilization:.1%}",
        "mean cost over ranks / cost of the slowest rank, where a token attends to the whole pack",
    )
    add(
        "ranks busy, scheduled",
        _scheduled("utilization", ".1%"),
        "mean cost over ranks / cost of the slowest rank, masked, in the order of packsort.schedule",
    )
    return lines


def time_note(comparison: ComparisonFigures) -> str:
    """Explain how time is estimated."""
    model = comparison.model
    size = "" if model.parameters is None else f" ({model.parameters / 1e9:,.1f} billion weights)"
    per = model.quadratic / model.linear if model.linear else float("inf")
    return (
        f"Time is estimated, not measured. A sequence of L tokens costs L + {per:.3g} L², as in {model.name}{size}. "
        f"Padding costs as much as tokens. A step lasts as long as the slowest of {comparison.world_size:,} ranks. The "
        "estimate leaves out communication, and how well small batches use a device."
    )


def multi_turn_note(comparison: ComparisonFigures) -> str:
    """Say how many conversations are multi-turn."""
    if comparison.multi_turn is None:
        return "not known: there are no `messages`, and no `labels` that mark turns"
    return f"{comparison.multi_turn:,} of {comparison.num_sequences:,}"


def _scheduled(name: str, form: str) -> Callable[[Method], str]:
    def cell(method: Method) -> str:
        steps = method.with_masks.scheduled
        return "-" if steps is None else format(getattr(steps, name), form)

    return cell


def _moved(places: float | None) -> str:
    return "-" if places is None else f"{places:,.1f}" if isinstance(places, float) else f"{places:,}"


def _known(number: int | None) -> str:
    return "not known" if number is None else f"{number:,}"


def _si(number: int) -> str:
    """Write a number with three digits and an SI prefix.

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
