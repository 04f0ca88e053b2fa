"""Tables of a report, in Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from packsort.experiment import groups
from packsort.experiment.groups import Group, Spread, difference, is_difference

NAMES = {
    "padding": "padding, to the longest of the step",
    "padding_fixed": "padding, to max_length",
    "padding_best": "padding at its best",
    "random": "random packing",
    "random_unmasked": "random packing, no masks",
    "ffd": "greedy packing",
    "ffd_unmasked": "greedy packing, no masks",
    "ffd_sample": "greedy packing, conversations weighted alike",
    "optimal": "fewest packs",
    "optimal_unmasked": "fewest packs, no masks",
    "only_single": "only single-turn packed",
    "only_single_unmasked": "only single-turn packed, no masks",
    "hybrid": "hybrid packing",
}
"""Names of the methods for readers."""


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table, its first column to the left and the others to the right.

    Example:
        >>> print(table(["method", "steps"], [["padding", "9"]]))
        | method | steps |
        |---|---:|
        | padding | 9 |
    """
    ruler = ["---", *["---:"] * (len(heads) - 1)]
    lines = [f"| {' | '.join(heads)} |", f"|{'|'.join(ruler)}|"]
    return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in rows)])


def time_table(found: Sequence[Group]) -> str | None:
    """Tabulate the time of the same tokens, padding : random : greedy; None without times of `ffd`."""
    rows = []
    for cell in _cells(found):
        base, paper = cell.get("ffd"), cell.get("ffd_unmasked")
        time = None if base is None else base.spread(groups.seconds_per_token)
        if base is None or time is None:
            continue
        rows.append(
            [
                f"{base.settings.max_length:,}",
                f"{base.settings.conversations:,}",
                shown_number(time.mean * base.runs[0].real_tokens, 1),
                *(
                    " : ".join([*(shown_ratio(cell.get(name), one) for name in ("padding", random)), "1"])
                    for one, random in ((base, "random"), (paper, "random_unmasked"))
                ),
                *(shown_ratio(cell.get(name), base) for name in ("padding_best", "padding_fixed")),
            ]
        )
    heads = ["max_length", "conversations", "greedy, s", "padding : random : greedy", "the same without masks"]
    return table([*heads, "padding at its best", "padding to max_length"], rows) if rows else None


def work_table(found: Sequence[Group]) -> str:
    """Tabulate the work of each method, and its time as a multiple of that of `ffd`."""
    cells, rows = _cells(found), []
    for group in found:
        run = group.runs[0]
        base = next(cell.get("ffd") for cell in cells if group in cell.values())
        speed = group.spread(lambda one: one.real_tokens / one.seconds if one.seconds else None)
        computed = group.spread(lambda one: one.tokens / one.seconds if one.seconds else None)
        rows.append(
            [
                *_labels(group, found),
                shown_ratio(group, base),
                f"{run.steps:,}",
                shown_number(run.samples_per_step, 1),
                f"{1 - run.real_tokens / run.tokens:.1%}",
                shown_number(speed.mean, 0) if speed else "-",
                shown_number(computed.mean, 0) if computed else "-",
                shown_number(run.peak_memory / 2**30, 2) if run.peak_memory else "-",
                shown_number(run.waiting, 2) if run.waiting else "-",
                f"{run.split:,}",
                f"{run.truncated:,}",
            ]
        )
    heads = ["time", "steps", "samples a step", "padding", "real tokens/s", "tokens/s", "peak GiB", "8 ranks wait"]
    return table([*_label_heads(found), *heads, "cut", "truncated"], rows)


def quality_table(found: Sequence[Group]) -> str:
    """Tabulate held-out losses and calibration, with the difference to `ffd` under the same settings."""
    cells = _cells(found)
    rows = []
    for group in found:
        if group.runs[0].after is None:
            continue
        base = next(cell.get("ffd") for cell in cells if group in cell.values())
        gap = difference(group, base, groups.loss) if base is not None and base is not group else None
        figures = (groups.loss, groups.single_turn, groups.multi_turn, groups.calibration)
        rows.append(
            [
                *_labels(group, found),
                *(shown_spread(group.spread(figure)) for figure in figures),
                shown_difference(gap) if gap else "-",
            ]
        )
    heads = ["loss", "single-turn", "multi-turn", "calibration error", "loss minus that of greedy"]
    return table([*_label_heads(found), *heads], rows)


def kinds_table(found: Sequence[Group]) -> str | None:
    """Tabulate the held-out loss of each kind; None without kinds."""
    kinds = sorted({kind for group in found for run in group.runs for kind in (run.after or {}).get("kinds", {})})
    if not kinds:
        return None
    rows = []
    for group in found:
        if group.runs[0].after is not None:
            spreads = [group.spread(lambda run, kind=kind: _kind(run, kind)) for kind in kinds]  # type: ignore[misc]
            rows.append([*_labels(group, found), *map(shown_spread, spreads)])
    return table([*_label_heads(found), *kinds], rows)


def shown_number(value: float, digits: int) -> str:
    """Write a number with this many digits after the point."""
    return f"{value:,.{digits}f}"


def shown_spread(found: Spread | None) -> str:
    """Write a mean with its deviation.

    Example:
        >>> shown_spread(Spread(3.14159, 0.0212)), shown_spread(Spread(3.14159, None)), shown_spread(None)
        ('3.142 ± 0.021', '3.142', '-')
    """
    if found is None:
        return "-"
    return f"{found.mean:.3f}" + (f" ± {found.deviation:.3f}" if found.deviation is not None else "")


def shown_difference(found: Spread) -> str:
    """Write a difference; one inside its spread over the seeds is none.

    Example:
        >>> shown_difference(Spread(0.5, 0.1)), shown_difference(Spread(0.05, 0.1))
        ('+0.500 ± 0.100', 'none (+0.050 ± 0.100)')
    """
    if found.deviation is None:
        return f"{found.mean:+.3f}, one seed"
    text = f"{found.mean:+.3f} ± {found.deviation:.3f}"
    return text if is_difference(found) else f"none ({text})"


def shown_ratio(group: Group | None, base: Group | None) -> str:
    """Write the time of a real token as a multiple of that of other runs, with its deviation over the seeds."""
    found = groups.ratio(group, base, groups.seconds_per_token) if group and base else None
    if found is None:
        return "-"
    return shown_number(found.mean, 2) + (f" ± {found.deviation:.2f}" if found.deviation is not None else "")


def _cells(found: Sequence[Group]) -> list[dict[str, Group]]:
    """Put the methods under the same other settings side by side."""
    cells: dict[Any, dict[str, Group]] = {}
    for group in found:
        facts = {name: value for name, value in group.settings.to_dict().items() if name not in ("method", "seed")}
        cells.setdefault(str(facts), {})[group.settings.method] = group
    return list(cells.values())


def _kind(run: Any, kind: str) -> float | None:
    found: float | None = (run.after or {}).get("kinds", {}).get(kind)
    return found


def _label_heads(found: Sequence[Group]) -> list[str]:
    return ["method", *(name for name in groups.varied(found) if name != "method")]


def _labels(group: Group, found: Sequence[Group]) -> list[str]:
    values = [getattr(group.settings, name) for name in groups.varied(found) if name != "method"]
    return [NAMES[group.settings.method], *map(_value, values)]


def _value(value: Any) -> str:
    if isinstance(value, tuple):
        return ", ".join(value)
    if value is None:
        return "as it is"
    return f"{value:,}" if isinstance(value, int) else str(value)
