"""HTML report of a comparison, in one file."""

from __future__ import annotations

import re
from typing import Any

from packsort._core import __version__
from packsort._install import pip_install
from packsort.comparison import figures
from packsort.comparison.results import AtLength, ComparisonFigures
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
    sections = []
    for at in comparison.at:
        shown = (at.padding, at.random, at.ffd)
        key = {method.name: f"{method.name}-{at.max_length}" for method in shown}
        sections.append(
            {
                "at": at,
                "heads": figures.heads(at, comparison.window),
                "lines": figures.table(at),
                "chosen": ("padding", "padding_fixed", "random", "ffd").index(at.advice.choice),
                "fill": [plots.fill_plot(method, key[method.name]) for method in shown],
                "samples": [plots.samples_plot(method, key[method.name]) for method in shown[1:]],
                "steps": _steps(at),
                "num_steps": len(at.padding.with_masks.mean_costs),
            }
        )
    return environment.get_template("report.html.j2").render(
        comparison=comparison,
        sections=sections,
        lengths=[plots.length_plot(comparison, wide=wide) for wide in (True, False)],
        multi_turn=figures.multi_turn_note(comparison),
        time_note=figures.time_note(comparison),
        names=figures.NAMES,
        version=__version__,
    )


def _steps(at: AtLength) -> list[str]:
    """Plot the steps of padding, and those of packs before and after balancing on a scale of their own."""
    from packsort.comparison import plots

    ordered = at.ffd.with_masks.scheduled or at.ffd.with_masks
    packs = [(at.random, at.random.with_masks), (at.ffd, at.ffd.with_masks), (at.ffd, ordered)]
    padded = at.padding.with_masks
    scale = plots.steps_scale([steps for _, steps in packs], zoomed=True)
    return [
        plots.steps_plot(at.padding, padded, f"padding-{at.max_length}", plots.steps_scale([padded])),
        *(plots.steps_plot(one, steps, f"{i}-{at.max_length}", scale) for i, (one, steps) in enumerate(packs)),
    ]


def _code(text: str) -> Any:
    """Escape a text and show what is between backticks as code."""
    import markupsafe

    return markupsafe.Markup(re.sub("`([^`]+)`", r"<code>\1</code>", str(markupsafe.escape(text))))
