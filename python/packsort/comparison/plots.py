"""Plots of the HTML report, as SVG with the colours and fonts of the page."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from html import escape
from typing import Any

from matplotlib import rc_context
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullLocator

from packsort.comparison.histograms import Histogram
from packsort.comparison.results import ComparisonFigures, Method, StepCosts

# Placeholders for variables of the style sheet, whose colours differ between light and dark.
_INK, _MUTED, _GRID, _NEUTRAL = "#010101", "#020202", "#030303", "#070707"
_SERIES = {"padding": "#040404", "random": "#050505", "ffd": "#060606"}
_VARIABLES = {
    _INK: "var(--ink)",
    _MUTED: "var(--muted)",
    _GRID: "var(--grid)",
    "#040404": "var(--padding)",
    "#050505": "var(--random)",
    "#060606": "var(--greedy)",
    "#070707": "var(--bars)",
}
_TITLES = {"padding": "padding", "random": "random packing", "ffd": "greedy packing"}


def length_plot(comparison: ComparisonFigures, *, wide: bool) -> str:
    """Plot the histogram of lengths, with the limits that were compared."""
    figure, axes = _axes((7.4 if wide else 3.5, 2.3))
    edges, counts = comparison.lengths.edges, comparison.lengths.counts
    axes.stairs(counts, edges, fill=True, color=_NEUTRAL)
    axes.set_xscale("log", base=2)
    axes.set_xlim(edges[0], max(edges[-1], *(one.max_length * 1.1 for one in comparison.at)))
    top = max(counts) * 1.16
    axes.set_ylim(0, top)
    for one in comparison.at:
        axes.axvline(one.max_length, color=_INK, linewidth=1, linestyle=(0, (3, 2)))
        axes.annotate(
            f"{one.max_length:,}",
            (one.max_length, top),
            xytext=(-3, 0),
            textcoords="offset points",
            ha="right",
            va="top",
            rotation=90,
            fontsize=8,
            color=_INK,
        )
    axes.xaxis.set_major_locator(_powers(edges[0], edges[-1], 12 if wide else 6))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:,.0f}"))
    axes.set_xlabel("tokens of a sequence (logarithmic)")
    axes.set_ylabel("sequences")
    label = f"{comparison.num_sequences:,} sequences by length; the longest has {comparison.longest:,} tokens"
    return _svg(figure, f"lengths-{wide}", label)


def fill_plot(method: Method, key: str) -> str:
    """Plot packs by the share of `max_length` that is tokens."""
    figure, axes = _axes((3.5, 2.0), _TITLES[method.name])
    _bars(axes, method.fill, _SERIES[method.name], method.rows)
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1)
    axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:.0%}"))
    axes.set_xlabel("share of the pack that is tokens")
    full = method.fill.counts[-1] / method.rows
    return _svg(figure, f"fill-{key}", f"{_TITLES[method.name]}: {full:.0%} of packs are at least 95% full")


def samples_plot(method: Method, key: str) -> str:
    """Plot packs by their number of samples."""
    figure, axes = _axes((3.5, 2.0), _TITLES[method.name])
    _bars(axes, method.samples_counts, _SERIES[method.name], method.rows)
    axes.axvline(method.samples.mean, color=_INK, linewidth=1, linestyle=(0, (3, 2)))
    axes.set_xlim(0, method.samples_counts.edges[-1])
    axes.set_ylim(0, max(method.samples_counts.counts) / method.rows * 1.15)
    axes.annotate(
        f"mean {method.samples.mean:,.1f}",
        (method.samples.mean, 1),
        xycoords=("data", "axes fraction"),
        xytext=(4, -2),
        textcoords="offset points",
        va="top",
        fontsize=8,
        color=_INK,
    )
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    axes.set_xlabel("samples in a pack")
    text = f"{_TITLES[method.name]}: {method.samples.mean:,.1f} samples per pack, up to {method.samples.most:,}"
    return _svg(figure, f"samples-{key}", text)


def steps_plot(method: Method, steps: StepCosts, key: str, scale: tuple[float, float]) -> str:
    """Plot the cost of the first steps for the slowest rank, relative to the mean over ranks and steps."""
    name = _TITLES[method.name]
    if steps is method.with_masks.scheduled:
        name = f"{name.split()[0]}, scheduled"  # the whole name would not fit
    figure, axes = _axes((3.5, 2.0), f"{name}: ranks busy {steps.utilization:.1%}")
    numbers = range(1, len(steps.mean_costs) + 1)
    means, slowest = _relative(steps)
    colour = _SERIES[method.name]
    axes.fill_between(numbers, means, slowest, color=colour, alpha=0.25, linewidth=0, step="mid")
    axes.step(numbers, slowest, where="mid", color=colour, linewidth=1.3)
    axes.step(numbers, means, where="mid", color=_INK, linewidth=1)
    axes.set_ylim(*scale)
    axes.set_xlim(0.5, max(len(numbers), 2) + 0.5)
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    axes.set_xlabel("step")
    axes.set_ylabel("cost, mean = 1")
    return _svg(figure, f"steps-{key}", f"{name}: ranks are busy {steps.utilization:.1%} of the time")


def steps_scale(shown: Sequence[StepCosts], *, zoomed: bool = False) -> tuple[float, float]:
    """Return one scale for several plots of steps.

    It starts at 0, or just below the least cost if `zoomed`, because packs cost nearly the same.
    """
    costs = [cost for steps in shown for line in _relative(steps) for cost in line]
    least, most = (min(costs), max(costs)) if zoomed else (0.0, max(costs))
    # Without a margin, rounding errors would fill the plot and look like waiting.
    room = max(0.08 * (most - least), 0.005)
    return (least - room if zoomed else 0.0), most + room


def _relative(steps: StepCosts) -> tuple[list[float], list[float]]:
    """Return the mean and the slowest rank's costs, relative to the mean over steps."""
    mean = sum(steps.mean_costs) / len(steps.mean_costs) or 1.0
    return [cost / mean for cost in steps.mean_costs], [cost / mean for cost in steps.slowest_costs]


def _axes(size: tuple[float, float], title: str | None = None) -> tuple[Figure, Any]:
    # Fixed margins, in inches: a layout by the size of labels draws everything twice.
    width, height = size
    figure = Figure(figsize=size)
    top = 0.08 if title is None else 0.3
    figure.subplots_adjust(left=0.68 / width, right=1 - 0.25 / width, bottom=0.46 / height, top=1 - top / height)
    figure.patch.set_visible(False)
    axes = figure.add_subplot()
    axes.patch.set_visible(False)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(_GRID)
    axes.tick_params(colors=_MUTED, labelcolor=_MUTED, labelsize=8.5, color=_GRID)
    axes.xaxis.label.set(color=_MUTED, fontsize=9)
    axes.yaxis.label.set(color=_MUTED, fontsize=9)
    axes.grid(axis="y", color=_GRID, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.yaxis.set_major_locator(MaxNLocator(4))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{y:,.6g}"))
    if title is not None:
        axes.set_title(title, fontsize=9.5, loc="left", color=_INK)
    return figure, axes


def _bars(axes: Any, histogram: Histogram, colour: str, packs: int) -> None:
    axes.stairs([count / packs for count in histogram.counts], histogram.edges, fill=True, color=colour)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{y:.3g}" if y == 0 else f"{100 * y:.3g}%"))
    axes.set_ylabel("packs")


def _powers(least: float, most: float, ticks: int) -> Any:
    """Place ticks at powers of two, at most `ticks` of them."""
    from matplotlib.ticker import FixedLocator

    powers = [2.0**i for i in range(64) if least <= 2**i <= most * 1.5]
    return FixedLocator(powers[:: -(-len(powers) // ticks)] or [least])


def _svg(figure: Figure, salt: str, label: str) -> str:
    """Return the figure as an `<svg>` element without addresses, sizes and fixed colours."""
    file = io.StringIO()
    # With a salt and without the date, the same comparison gives the same file.
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": salt}):
        figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    text = file.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>|<!--.*?-->|<style.*?</style>", "", text, flags=re.DOTALL)
    text = re.sub(r' (xmlns(:\w+)?|version)="[^"]*"', "", text)
    text = re.sub(r'<svg width="[^"]*" height="[^"]*"|<svg height="[^"]*" width="[^"]*"', "<svg", text, count=1)
    for colour, variable in _VARIABLES.items():
        text = text.replace(colour, variable)
    # All figures number their groups in the same way, so ids would clash. Only those that are referred to stay.
    used = set(re.findall(r'(?:href="#|url\(#)([^")]+)', text))
    text = re.sub(r' id="([^"]+)"', lambda match: match[0] if match[1] in used else "", text)
    for name in used:
        text = re.sub(rf'(id="|href="#|url\(#){re.escape(name)}(?=["\)])', rf"\g<1>{salt}-{name}", text)
    return text.replace("<svg", f'<svg role="img" aria-label="{escape(label)}"', 1)
