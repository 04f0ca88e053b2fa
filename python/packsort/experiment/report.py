"""Report of an experiment: `report.md`, with plots beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from packsort._atomic import replace_file
from packsort._install import pip_install
from packsort.errors import OptionError
from packsort.experiment.groups import Group, group_runs
from packsort.experiment.methods import FIXED_STEPS
from packsort.experiment.records import Run
from packsort.experiment.settings import METHODS, RunSettings
from packsort.experiment.studies import Study
from packsort.experiment.tables import NAMES, kinds_table, quality_table, time_table, work_table

NAME = "report.md"
_FEW_STEPS = 100


def check_report() -> None:
    """Check that the library of the plots is installed.

    Raises:
        OptionError: It is not.
    """
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise OptionError(f"the report needs matplotlib ({error}): {pip_install('packsort[experiment]')}") from error


def write_report(folder: Path, study: Study, runs: Sequence[Run], data: Mapping[str, Any]) -> Path:
    """Write the report of finished runs.

    Args:
        folder: Folder to write to.
        study: The study whose runs these are.
        runs: Its finished runs.
        data: Facts about the data.

    Returns:
        Its path.
    """
    check_report()
    from packsort.experiment.plots import plot_curves, plot_times

    found = group_runs(runs)
    parts = [f"# {study.title}", _setting(runs, data)]
    times = time_table(found)
    if times is not None:
        parts += [
            "## Time",
            "Seconds of greedy packing with document masks, and times as multiples of that of greedy packing, for the "
            "same number of real tokens.",
            times,
        ]
    pictures = []
    for number, cell in enumerate(_by_method(found)):
        name = _describe(cell[0].settings)
        if plot_times(cell, folder / f"time-{number}.svg"):
            pictures.append(f"![Time by method, {name}](time-{number}.svg)")
        plot_curves(cell, folder / f"loss-{number}.svg")
        pictures.append(f"![Training loss by method, {name}](loss-{number}.svg)")
    parts += [
        "## Work",
        "Time is a multiple of that of greedy packing with masks. Samples are conversations or pieces of them. "
        "*8 ranks wait*: how many times longer a step lasts where each of 8 ranks takes a batch at random and all wait "
        "for the slowest, by counted operations. Cut and truncated are conversations.",
        work_table(found),
        "## Quality",
        "Loss on whole conversations that were held out, in nats a token, and the expected calibration error of the "
        "most probable next token. ± is the standard deviation over seeds. A difference that is not larger than its "
        "own deviation is none.",
        quality_table(found),
    ]
    kinds = kinds_table(found)
    if kinds is not None:
        parts += ["## Kinds", "Held-out loss by kind of conversation.", kinds]
    parts += pictures
    parts += ["## What this does not show", "\n".join(f"- {note}" for note in _notes(study, found, runs, data))]
    with replace_file(folder / NAME) as file:
        file.write(("\n\n".join(parts) + "\n").encode())
    return folder / NAME


def _setting(runs: Sequence[Run], data: Mapping[str, Any]) -> str:
    first = runs[0]
    machine = ", ".join(f"{name} {value}" for name, value in first.machine.items() if name not in ("device", "date"))
    used = max(run.settings.conversations for run in runs)
    seeds = len({run.settings.seed for run in runs})
    lines = [
        f"- data: {data['conversations']:,} conversations, {data['multi_turn']:,} of them multi-turn, "
        f"{data['tokens']:,} tokens",
        f"- used: up to {used:,} conversations, {used / data['conversations']:.1%} of them; "
        f"{first.settings.held_out:,} others are held out",
        f"- runs: {len(runs):,}, with {seeds} seed{'s' if seeds > 1 else ''}",
        f"- device: {first.machine['device']}, {machine}, {first.machine['date']}",
    ]
    for model in dict.fromkeys(run.settings.model for run in runs):
        weights = next(run.weights for run in runs if run.settings.model == model)
        shared = data["shared"].get(model)
        text = f"- model `{model}`: {weights:,} weights"
        if shared is not None:
            text += f", random at the start; the rarest tokens, {shared:.1%} of all, share one id"
        lines.append(text)
    return "\n".join(lines)


def _notes(study: Study, found: Sequence[Group], runs: Sequence[Run], data: Mapping[str, Any]) -> list[str]:
    methods = {run.settings.method for run in runs}
    notes = []
    if missing := [NAMES[name] for name in METHODS if name not in methods]:
        notes.append(f"Methods that were not run: {'; '.join(missing)}.")
    if "padding_fixed" in methods:
        notes.append(
            f"Padding to max_length was timed on {FIXED_STEPS} steps, which all have the same shape. It trains on the "
            "same rows as padding to the longest, so its losses are those."
        )
    if not study.times:
        notes.append("Times are left out: the machine did other work too.")
    if all(len(group.runs) == 1 for group in found):
        notes.append("There is one seed, so no difference in quality is known to be more than chance.")
    fewest = min(run.steps for run in runs if run.after is not None) if any(run.after for run in runs) else 0
    if 0 < fewest < _FEW_STEPS:
        notes.append(
            f"Some runs have as few as {fewest:,} steps. Packed runs have fewer and larger steps than padded ones, and "
            "after so few the number of steps decides the loss more than anything else."
        )
    if diverged := sum(run.after is not None and run.after["loss"] is None for run in runs):
        notes.append(f"Runs whose loss is no number at the end, because training diverged: {diverged:,}.")
    if empty := [run for run in runs if run.without_loss]:
        most = max(empty, key=lambda run: run.without_loss / run.steps)
        notes.append(
            "Steps in which no token carries loss train on nothing: up to "
            f"{most.without_loss:,} of the {most.steps:,} of a run ({NAMES[most.settings.method]})."
        )
    if data["without_loss"]:
        notes.append(f"{data['without_loss']:,} conversations were left out: none of their tokens carries loss.")
    if lost := max((run.tokens_lost / (run.tokens_lost + run.real_tokens) for run in runs), default=0):
        notes.append(f"Conversations longer than max_length lost their end: up to {lost:.1%} of the tokens of a run.")
    notes.append(
        "Random packing cuts no tokens off, and the last packs that do not fill a step are left out. So the real "
        "tokens of methods differ a little; times are for the same number of them."
    )
    return notes


def _by_method(found: Sequence[Group]) -> list[list[Group]]:
    """Gather the groups that differ in nothing but their method, where there are several."""
    cells: dict[RunSettings, list[Group]] = {}
    for group in found:
        cells.setdefault(replace(group.settings, method="ffd", seed=0), []).append(group)
    return [cell for cell in cells.values() if len(cell) > 1][:6]


def _describe(settings: RunSettings) -> str:
    return f"max_length {settings.max_length:,}, {settings.conversations:,} conversations"
