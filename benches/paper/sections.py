"""Results of each study: a table, and a plot where it has one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from batch_fit import FORMS, PREDICTORS, Rates, errors, find_rates

from packsort.experiment import groups
from packsort.experiment.groups import Group, difference
from packsort.experiment.plots import new_plot, save_plot
from packsort.experiment.tables import NAMES, quality_table, shown_difference, shown_spread, table, time_table

COLOURS = {"random": "#0369a1", "ffd": "#166534", "hybrid": "#0f766e", "padding": "#9a3412"}
FIGURES = (("all", groups.loss), ("single-turn", groups.single_turn), ("multi-turn", groups.multi_turn))


def time(found: Sequence[Group], plots: Path) -> str:
    """Tabulate times as multiples of those of greedy packing."""
    return time_table(found) or ""


def methods(found: Sequence[Group], plots: Path) -> str:
    """Tabulate quality by method."""
    return quality_table(found)


def batch(found: Sequence[Group], plots: Path) -> str:
    """Tabulate the learning rates that suit each batch, and how well each predictor foretells them."""
    rates = sorted(find_rates(found), key=lambda one: (one.name, one.predictors[0]))
    rows = [
        [one.name, f"{one.predictors[0]:,.0f}", f"{one.predictors[1]:,.1f}", f"{one.predictors[2]:,.0f}",
         f"{one.predictors[3]:,.0f}", f"{one.best:.2g}" + (" (edge of the grid)" if one.at_edge else ""),
         f"{one.least:.2g}"]
        for one in rates
    ]  # fmt: skip
    heads = ["variant", "rows a step", "samples a step", "tokens a step", "steps", "best rate", "least close rate"]
    parts = [table(heads, rows)]
    for figure, name in (("best", "best"), ("least", "least close")):
        parts.append(
            f"Factor by which a rule misses the {name} rate of a batch that it was not fitted to (1 is exact), each "
            "seed by itself:"
        )
        fits = [
            [predictor, *(f"{one.mean:.2f} ± {one.deviation or 0:.2f}" for one in rules.values())]
            for predictor, rules in errors(found, figure).items()
        ]
        parts.append(table(["predictor", "exponent", "fitted power", *FORMS], fits))
    _plot_rates(rates, plots / "batch.svg")
    parts.append("![Learning rates by rows, samples, tokens and steps](paper/batch.svg)")
    return "\n\n".join(parts)


def _plot_rates(rates: Sequence[Rates], path: Path) -> None:
    """Plot the best rate as a line, and the least close one as a dashed line."""
    figure, _ = new_plot("", "", "", (9, 3.4))
    figure.clear()
    panels = figure.subplots(1, 4, sharey=True)
    names = sorted({one.name for one in rates})
    for place, (panel, name) in enumerate(zip(panels, PREDICTORS, strict=True)):
        for colour, variant in zip(("#166534", "#0369a1", "#a16207", "#9a3412"), names, strict=True):
            points = sorted((one.predictors[place], one.best, one.least) for one in rates if one.name == variant)
            across, best, least = zip(*points, strict=True)
            panel.plot(across, best, color=colour, marker="o", linewidth=1, label=variant)
            panel.plot(across, least, "--", color=colour, marker=".", linewidth=1)
        panel.set_xscale("log")
        panel.set_yscale("log")
        panel.set_xlabel(name)
        panel.spines[["top", "right"]].set_visible(False)
    panels[0].set_ylabel("learning rate: best, and least close one (dashed)", fontsize=8)
    panels[0].legend(frameon=False, fontsize=7)
    save_plot(figure, path)


def turns(found: Sequence[Group], plots: Path) -> str:
    """Tabulate and plot held-out losses by the share of multi-turn conversations."""
    figure, _ = new_plot("", "", "", (7.2, 3.2))
    figure.clear()
    panels = figure.subplots(1, 2, sharex=True)
    for panel, (name, figure_of) in zip(panels, FIGURES[1:], strict=True):
        for method in ("random", "ffd", "hybrid"):
            points = [
                (group.settings.multi_turn, spread)
                for group in found
                if group.settings.method == method and (spread := group.spread(figure_of)) is not None
            ]
            means, deviations = [one.mean for _, one in points], [one.deviation or 0 for _, one in points]
            shares = [share for share, _ in points]
            panel.errorbar(shares, means, deviations, label=NAMES[method], color=COLOURS[method], marker="o", capsize=2)
        panel.set_title(f"held-out {name}", fontsize=9, loc="left")
        panel.set_xlabel("multi-turn share of the trained conversations")
        panel.spines[["top", "right"]].set_visible(False)
    panels[0].set_ylabel("loss, nats")
    panels[0].legend(frameon=False, fontsize=7)
    save_plot(figure, plots / "turns.svg")
    rows = []
    for share in sorted({group.settings.multi_turn or 0.0 for group in found}):
        cell: dict[str, Group] = {group.settings.method: group for group in found if group.settings.multi_turn == share}
        if {"random", "ffd", "hybrid"} <= set(cell):
            rows.append([f"{share:.0%}", shown_spread(cell["ffd"].spread(groups.loss)), *_against(cell, "ffd")])
    heads = ["multi-turn", "greedy: loss"]
    heads += [f"{method} minus greedy: {name}" for method in ("random", "hybrid") for name, _ in FIGURES]
    return f"{table(heads, rows)}\n\n![Held-out loss by share of multi-turn conversations](paper/turns.svg)"


def _against(cell: dict[str, Group], base: str) -> list[str]:
    return [
        shown_difference(gap) if (gap := difference(cell[method], cell[base], figure)) else "-"
        for method in ("random", "hybrid")
        for _, figure in FIGURES
    ]


def quality(found: Sequence[Group], plots: Path) -> str:
    """Tabulate the gain of packing by quality and diversity of the data."""

    def name(group: Group) -> str:
        settings = group.settings
        if settings.labels == "shuffled":
            return "answers of other questions"
        return (
            "each conversation four times" if settings.repeated > 1 else "one source" if settings.only else "as it is"
        )

    return gains(found, name, "data", plots / "quality.svg")


def kinds(found: Sequence[Group], plots: Path) -> str:
    """Tabulate the gain of packing by kind of data."""
    names = {"sgd_train": "dialogue", "gpteacher_codegen": "code and tool calls", "gsm8k": "mathematics"}
    return gains(found, lambda group: names[(group.settings.only or ("",))[0]], "kind", plots / "kinds.svg")


def languages(found: Sequence[Group], plots: Path) -> str:
    """Tabulate the gain of packing by language."""
    names = {"en": "English", "de": "languages in Latin letters", "ar": "languages in other letters"}
    return gains(found, lambda group: names[(group.settings.only or ("",))[0]], "language", plots / "languages.svg")


def sizes(found: Sequence[Group], plots: Path) -> str:
    """Tabulate the gain of packing by model and by number of conversations."""
    figure, axes = new_plot("Gain of packing", "conversations", "loss of padding minus loss of packing, nats")
    rows = []
    for model in dict.fromkeys(group.settings.model for group in found):
        for method, name in _PACKED.items():
            points = []
            for count in sorted({group.settings.conversations for group in found}):
                cell: dict[str, Group] = {
                    one.settings.method: one
                    for one in found
                    if (one.settings.model, one.settings.conversations) == (model, count)
                }
                padded, packed = cell.get("padding"), cell.get(method)
                gap = padded and packed and difference(padded, packed, groups.loss)
                if padded and packed and gap:
                    run, other = padded.runs[0], packed.runs[0]
                    rows.append([f"{model}, {name}", f"{count:,}", f"{run.steps:,}, {other.steps:,}",
                                 shown_spread(padded.spread(groups.loss)), shown_spread(packed.spread(groups.loss)),
                                 shown_difference(gap)])  # fmt: skip
                    points.append((count, gap.mean, gap.deviation or 0.0))
            if points:
                style = "-" if method == "ffd" else ":"
                counts, gains, deviations = zip(*points, strict=True)
                axes.errorbar(counts, gains, deviations, linestyle=style, marker="o", markersize=3, capsize=2,
                              label=f"{model}, {name}")  # fmt: skip
    axes.set_xscale("log", base=2)
    axes.axhline(0, color="#888888", linewidth=0.6)
    axes.legend(frameon=False, fontsize=7)
    save_plot(figure, plots / "sizes.svg")
    heads = ["model and method", "conversations", "steps: padding, packing", "padding", "packing", "gain of packing"]
    return f"{table(heads, rows)}\n\n![Gain of packing by model and conversations](paper/sizes.svg)"


_PACKED = {"ffd": "packing", "ffd_sample": "packing, conversations weighted alike"}


def gains(found: Sequence[Group], name: Callable[[Group], str], head: str, path: Path) -> str:
    """Tabulate the loss of padding minus that of packing, by some name of a group."""
    rows, bars = [], []
    for label in dict.fromkeys(map(name, found)):
        cell = [group for group in found if name(group) == label]
        padded, packed = _first(cell, _is_padding), _first(cell, lambda group: not _is_padding(group))
        gap = padded and packed and difference(padded, packed, groups.loss)
        if not (padded and packed and gap):
            continue
        calibration = difference(padded, packed, groups.calibration)
        losses = [shown_spread(one.spread(groups.loss)) for one in (padded, packed)]
        rows.append([label, *losses, shown_difference(gap), shown_difference(calibration) if calibration else "-"])
        bars.append((label, gap.mean, gap.deviation or 0.0))
    figure, axes = new_plot("Gain of packing", "loss of padding minus loss of packing, nats", "", (7.2, 2.4))
    places = np.arange(len(bars))[::-1]
    axes.barh(places, [bar[1] for bar in bars], xerr=[bar[2] for bar in bars], color=COLOURS["ffd"], capsize=2)
    axes.set_yticks(places, [bar[0] for bar in bars], fontsize=8)
    axes.axvline(0, color="#888888", linewidth=0.6)
    save_plot(figure, path)
    heads = [head, "padding", "packing", "gain of packing", "calibration error, padding minus packing"]
    return f"{table(heads, rows)}\n\n![Gain of packing](paper/{path.name})"


def _is_padding(group: Group) -> bool:
    return group.settings.method == "padding"


def _first(cell: Sequence[Group], chosen: Callable[[Group], bool]) -> Group | None:
    return next((group for group in cell if chosen(group)), None)


SECTIONS = {
    "time": time,
    "methods": methods,
    "batch": batch,
    "turns": turns,
    "quality": quality,
    "kinds": kinds,
    "languages": languages,
    "sizes": sizes,
}
