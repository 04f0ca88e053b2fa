"""Plots of a report, as SVG."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.figure import Figure

from packsort._atomic import replace_file
from packsort.experiment import groups
from packsort.experiment.groups import Group
from packsort.experiment.tables import NAMES

_COLOURS = {
    "padding": "#9a3412",
    "padding_fixed": "#fdba74",
    "padding_best": "#ea580c",
    "random": "#0369a1",
    "random_unmasked": "#7dd3fc",
    "ffd": "#166534",
    "ffd_unmasked": "#86efac",
    "ffd_sample": "#65a30d",
    "optimal": "#6b21a8",
    "optimal_unmasked": "#d8b4fe",
    "only_single": "#a16207",
    "only_single_unmasked": "#fde047",
    "hybrid": "#0f766e",
}


def new_plot(title: str, across: str, up: str, size: tuple[float, float] = (7.2, 4.0)) -> tuple[Figure, Any]:
    """Return an empty plot with its axes."""
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.add_subplot()
    axes.set_title(title, loc="left", fontsize=11)
    axes.set_xlabel(across)
    axes.set_ylabel(up)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", linewidth=0.4, alpha=0.6)
    return figure, axes


def save_plot(figure: Figure, path: Path) -> None:
    """Write a plot; the same figures give the same file."""
    with rc_context({"svg.hashsalt": path.name}), replace_file(path) as file:
        figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None})


def plot_curves(found: Sequence[Group], path: Path) -> None:
    """Plot the training loss by real tokens seen, the mean over seeds, of groups that differ only in their method."""
    figure, axes = new_plot("Training loss", "real tokens seen", "loss, nats")
    for group in found:
        if group.runs[0].after is None:
            continue
        points = min(len(run.curve) for run in group.runs)
        curves = np.array([run.curve[:points] for run in group.runs], float)
        known = ~np.isnan(curves)
        means = np.where(known, curves, 0).sum(0) / np.where(known.any(0), known.sum(0), np.nan)
        method = group.settings.method
        axes.plot(*means.T, label=NAMES[method], color=_COLOURS[method], linewidth=1.4)
    axes.legend(frameon=False, fontsize=8)
    save_plot(figure, path)


def plot_times(found: Sequence[Group], path: Path) -> bool:
    """Plot the time of a million real tokens by method, and return whether there are times."""
    shown = [(group, spread) for group in found if (spread := group.spread(groups.seconds_per_token)) is not None]
    if not shown:
        return False
    figure, axes = new_plot("Time of a million real tokens", "seconds", "", (7.2, 0.32 * len(shown) + 1))
    places = np.arange(len(shown))[::-1]
    colours = [_COLOURS[group.settings.method] for group, _ in shown]
    axes.barh(places, [spread.mean * 1e6 for _, spread in shown], color=colours)
    axes.set_yticks(places, [NAMES[group.settings.method] for group, _ in shown], fontsize=8)
    axes.grid(visible=False)
    save_plot(figure, path)
    return True
