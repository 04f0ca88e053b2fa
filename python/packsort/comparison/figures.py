"""Table of a comparison as text, the same on a terminal, in a notebook and in the HTML report."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from packsort.comparison.results import AtLength, ComparisonFigures, Method

FIRST_LINES = ("packs", "steps", "efficiency", "sequences cut", "multi-turn broken", "time")
"""Lines of the table that everybody sees; the others are folded."""
_NAMES = {
    "ffd": ("greedy", "ffd", "greedy packing"),
    "bfd": ("best fit", "bfd", "best-fit packing"),
    "optimal": ("fewest", "optimal", "the fewest packs"),
    "hybrid": ("hybrid", "cuts single", "hybrid packing"),
    "only_single": ("only", "single-turn", "single-turn packed"),
    "in_order": ("in order", "window {window:,}", "packing in order"),
    "random": ("random", "cut at limit", "random packing"),
    "padding": ("padding", "to longest", "padding to longest"),
    "padding_best": ("padding", "at its best", "padding at its best"),
    "padding_fixed": ("padding", "to {limit:,}", "padding to {limit:,}"),
}
MEANINGS = {
    "ffd": "whole sequences, longest first; each pack takes the longest that still fits",
    "bfd": "whole sequences, longest first; each goes into the fullest pack that has room, as in TRL",
    "optimal": "whole sequences, in the fewest packs possible",
    "hybrid": "as greedy packing, with single-turn conversations cut to fill the room that is left",
    "only_single": "single-turn conversations packed greedily, multi-turn ones alone, as in the paper's code",
    "in_order": "whole sequences in input order, each taken past few others",
    "random": "sequences in random order, concatenated and cut into packs of exactly the limit",
    "padding": "one sequence per pack, padded to the longest of the packs that one rank takes in a step",
    "padding_best": "one sequence per pack, in batches of like length, as many as fit into the tokens of a batch of "
    "packs with their padding",
    "padding_fixed": "one sequence per pack, padded to the limit",
}
"""Description of each method."""


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
    named = [_NAMES[name] for name in at.methods]
    return [(name, below.format(window=window, limit=at.max_length)) for name, below, _ in named]


def full_name(name: str, limit: int) -> str:
    """Return the name of a method as it stands alone.

    Example:
        >>> full_name("padding_fixed", 4096)
        'padding to 4,096'
    """
    return _NAMES[name][2].format(limit=limit)


def table(at: AtLength, epochs: int = 1) -> tuple[list[Line], list[Line]]:
    """Return the lines of the table of one `max_length`: those that everybody sees, and the others."""
    lines = _lines(tuple(at.methods.values()), epochs)
    first = {line.name: line for line in lines if line.name in FIRST_LINES}
    return [first[name] for name in FIRST_LINES], [line for line in lines if line.name not in FIRST_LINES]


def _lines(methods: Sequence[Method], epochs: int) -> list[Line]:
    lines: list[Line] = []

    def add(name: str, cell: Callable[[Method], str], meaning: str) -> None:
        lines.append(Line(name, tuple(cell(method) for method in methods), meaning))

    add("packs", lambda m: f"{m.rows:,}", "packs in one epoch; padding has one sequence in each")
    of_run = "in one epoch" if epochs == 1 else f"in all {epochs:,} epochs"
    add("steps", lambda m: f"{m.steps * epochs:,}", f"steps {of_run}, at this batch size and number of ranks")
    if epochs > 1:
        add("steps an epoch", lambda m: f"{m.steps:,}", "steps in one epoch")
    add("padding tokens", lambda m: f"{m.padding_tokens:,}", "padding in all packs")
    add("efficiency", lambda m: f"{m.efficiency:.2%}", "tokens / (tokens + padding)")
    add(
        "above lower bound",
        lambda m: f"{m.above_lower_bound:.2%}" if m.above_lower_bound < 1 else f"{m.above_lower_bound:,.0%}",
        "packs above the fewest possible; random packing may cut sequences, so its bound is lower",
    )
    if any(m.max_displacement is not None for m in methods):
        add("most places moved", lambda m: _moved(m.max_displacement), "places of a sequence from its own in the input")
        add("mean places moved", lambda m: _moved(m.mean_displacement), "the mean of these over all sequences")
    add(
        "sequences cut",
        lambda m: f"{m.split + m.truncated:,}",
        "sequences in more than one pack, or truncated at the limit",
    )
    if any(m.split for m in methods) and any(m.truncated for m in methods):
        add("sequences split", lambda m: f"{m.split:,}", "sequences in more than one pack")
        add("truncated", lambda m: f"{m.truncated:,}", "sequences truncated at the limit")
    if any(m.dropped for m in methods):
        add("dropped", lambda m: f"{m.dropped:,}", "sequences left out")
    if any(m.tokens_lost for m in methods):
        add("tokens lost", lambda m: f"{m.tokens_lost:,}", "tokens truncated or left out")
    add("multi-turn broken", lambda m: _known(m.broken), "multi-turn conversations split or truncated")
    _add_batches(add)
    _add_work(add)
    return lines


def _add_batches(add: Callable[[str, Callable[[Method], str], str], None]) -> None:
    add(
        "samples per pack",
        lambda m: f"{m.samples.mean:,.1f} ± {m.samples.deviation:,.1f}",
        "sequences, or pieces of sequences, in a pack: mean ± standard deviation",
    )
    add("samples per step", lambda m: f"{m.samples.mean * m.rows / m.steps:,.0f}", "samples in a step, on average")


def _add_work(add: Callable[[str, Callable[[Method], str], str], None]) -> None:
    add(
        "time",
        lambda m: f"{m.with_masks.relative_time:.3f}",
        "estimated time, padding to the longest = 1; a token attends to its own sequence, and packs are not padded",
    )
    add(
        "time, whole packs",
        lambda m: f"{m.without_masks.relative_time:.3f}",
        "the same where a token attends to the whole pack, padding included, as in the paper",
    )
    add("time, scheduled", _scheduled("relative_time", ".3f"), "the time in the order of packsort.schedule")
    add(
        "ranks busy",
        lambda m: f"{m.with_masks.utilization:.1%}",
        "mean cost over ranks / cost of the slowest rank, in shuffled order",
    )
    add("busy, whole packs", lambda m: f"{m.without_masks.utilization:.1%}", "the same for whole packs")
    add("busy, scheduled", _scheduled("utilization", ".1%"), "the same in the order of packsort.schedule")
    add(
        "attention",
        lambda m: _si(m.with_masks.attention),
        "pairs of tokens that attention computes where a token attends to its own sequence",
    )
    add(
        "same, whole packs",
        lambda m: _si(m.without_masks.attention),
        "pairs of tokens where a token attends to the whole pack, padding included",
    )


def facts(comparison: ComparisonFigures) -> list[tuple[str, str]]:
    """Return what was compared, as names and values."""
    batch = f"{comparison.batch_size:,} packs on each of {comparison.world_size:,} ranks"
    return [
        ("sequences", f"{comparison.num_sequences:,}, the longest has {comparison.longest:,} tokens"),
        ("tokens", f"{comparison.num_tokens:,}"),
        *([("empty", f"{comparison.num_empty:,} more are left out")] if comparison.num_empty else []),
        ("multi-turn", multi_turn_note(comparison)),
        ("batch", batch + (f", {comparison.epochs:,} epochs" if comparison.epochs > 1 else "")),
        ("model", comparison.model.name),
        ("too long", _OVERLONG[comparison.overlong]),
    ]


_OVERLONG = {
    "error": "an error",
    "drop": "dropped",
    "truncate": "truncated",
    "split_turns": "cut between turns",
}


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
