"""The HTML report: one file with everything in it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from packsort.errors import OptionError

if TYPE_CHECKING:
    from packsort.comparison.results import Comparison


def check_report() -> None:
    """Raises OptionError where the libraries that a report needs are not installed."""
    try:
        import jinja2  # noqa: F401
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise OptionError(f"a report needs matplotlib and jinja2: `pip install packsort[report]` ({error})") from error


def render(comparison: Comparison) -> str:
    """A page that refers to nothing outside itself: no script, no font, no image, no address.

    Raises:
        OptionError: matplotlib or jinja2 is not installed.
    """
    check_report()
    import jinja2

    import packsort
    from packsort.comparison import figures, plots

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("packsort.comparison", "."),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    sections = []
    for at in comparison.at:
        shown = (at.padding, at.random, at.ffd)
        top = plots.steps_top(shown)
        key = {method.name: f"{method.name}-{at.max_length}" for method in shown}
        sections.append(
            {
                "at": at,
                "heads": figures.heads(at),
                "lines": figures.table(at),
                "chosen": ("padding", "padding_fixed", "random", "ffd").index(at.advice.choice),
                "fill": [plots.fill_plot(method, key[method.name]) for method in shown],
                "samples": [plots.samples_plot(method, key[method.name]) for method in shown[1:]],
                "steps": [plots.steps_plot(method, key[method.name], top) for method in shown],
                "num_steps": len(at.padding.with_masks.mean_costs),
            }
        )
    return environment.get_template("report.html.j2").render(
        comparison=comparison,
        sections=sections,
        lengths=[plots.length_plot(comparison, wide=wide) for wide in (True, False)],
        multi_turn=figures.multi_turn(comparison),
        stated=figures.stated(comparison),
        names=figures.NAMES,
        version=packsort.__version__,
    )
