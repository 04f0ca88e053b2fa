"""HTML report of a comparison, in one file."""

from __future__ import annotations

import re
from typing import Any

from packsort._core import __version__
from packsort._install import pip_install
from packsort.comparison import figures, fragment
from packsort.comparison.answer import answer, answer_at
from packsort.comparison.results import AtLength, ComparisonFigures, StepCosts
from packsort.errors import OptionError


def check_report() -> None:
    """Check that the libraries of the report are installed.

    Raises:
        OptionError: matplotlib or jinja2 is not installed.
    """
    try:
        import jinja2  # noqa: F401
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise OptionError(
            f"the report needs matplotlib and jinja2 ({error}): {pip_install('packsort[report]')}"
        ) from error


def render(comparison: ComparisonFigures) -> str:
    """Render the report as a page without scripts and without references to anything outside itself.

    Raises:
        OptionError: matplotlib or jinja2 is not installed.
    """
    check_report()
    import jinja2

    from packsort.comparison import plots

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("packsort.comparison", "."),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters["code"] = _code
    # The recommended limit first: its bars stand below the answer.
    ordered = sorted(comparison.at, key=lambda one: one.max_length != comparison.best_length)
    first, more = figures.table(ordered[0], comparison.epochs)
    return environment.get_template("report.html.j2").render(
        comparison=comparison,
        style=fragment.style(),
        answer=fragment.sentence(answer(comparison)),
        facts=figures.facts(comparison),
        sections=[_section(comparison, at) for at in ordered],
        lengths=[plots.length_plot(comparison, wide=wide) for wide in (True, False)],
        meanings=[
            (figures.full_name(name, ordered[0].max_length), figures.MEANINGS[name]) for name in ordered[0].methods
        ],
        lines=first + more,
        time_note=figures.time_note(comparison),
        version=__version__,
    )


def _section(comparison: ComparisonFigures, at: AtLength) -> dict[str, Any]:
    from packsort.comparison import plots

    key = {name: f"{name}-{at.max_length}" for name in at.methods}
    shown = [at.methods[name] for name in ("padding", "random", "ffd") if name in at.methods]
    first, more = fragment.tables(comparison, at)
    return {
        "at": at,
        "answer": answer_at(at),
        "first": fragment.beside(at, first),
        "more": more,
        "fill": [plots.fill_plot(method, key[method.name]) for method in shown],
        "samples": [plots.samples_plot(method, key[method.name]) for method in shown[1:]],
        "steps": _steps(at),
        "num_steps": len(at.padding.with_masks.mean_costs),
    }


def _steps(at: AtLength) -> list[str]:
    """Plot the steps of padding, and those of packs before and after balancing on a scale of their own."""
    from packsort.comparison import plots

    greedy = at.ffd
    packs = [(at[name], at[name].with_masks) for name in ("random", "ffd") if name in at.methods]
    ordered: list[tuple[Any, StepCosts]] = [*packs, (greedy, greedy.with_masks.scheduled or greedy.with_masks)]
    padded = at.padding.with_masks
    scale = plots.steps_scale([steps for _, steps in ordered], zoomed=True)
    return [
        plots.steps_plot(at.padding, padded, f"padding-{at.max_length}", plots.steps_scale([padded])),
        *(plots.steps_plot(one, steps, f"{i}-{at.max_length}", scale) for i, (one, steps) in enumerate(ordered)),
    ]


def _code(text: str) -> Any:
    """Escape a text and show what is between backticks as code."""
    import markupsafe

    return markupsafe.Markup(re.sub("`([^`]+)`", r"<code>\1</code>", str(markupsafe.escape(text))))
