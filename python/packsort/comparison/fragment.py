"""A comparison as an HTML fragment: answer, bars of time, and tables.

A notebook shows the fragment as it is. It has no scripts, refers to nothing outside itself, and takes its colours of
text and page from where it stands; the colours of bars stand out from white and from dark pages alike. The report is
made of the same pieces.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from importlib.resources import files

from packsort.comparison import figures
from packsort.comparison.answer import BARS, answer, answer_at, bars
from packsort.comparison.results import AtLength, ComparisonFigures

_COLOURS = {"random": "random", "padding": "padding", "padding_best": "padding", "padding_fixed": "padding"}
_METHODS_BESIDE = 6  # wider tables stand alone
_PERCENT_OF_LONGEST = 80  # leaves room for the number behind the bar


def style() -> str:
    """Return the style sheet of the fragment, whose rules concern nothing else on a page."""
    return files("packsort.comparison").joinpath("fragment.css").read_text(encoding="utf-8")


def render_fragment(comparison: ComparisonFigures) -> str:
    """Return the fragment that a notebook shows."""
    facts = ", ".join(f"{name}: {value}" for name, value in figures.facts(comparison))
    parts = [f'<p class="answer">{sentence(answer(comparison))}</p>', f'<p class="quiet">{escape(facts)}</p>']
    for at in comparison.at:
        if len(comparison.at) > 1:
            parts.append(f"<p><strong>max_length {at.max_length:,}</strong>: {escape(answer_at(at))}</p>")
        first, more = tables(comparison, at)
        parts += [
            beside(at, first),
            f"<details><summary>All figures</summary>{more}{_reasons(at)}</details>",
        ]
    parts.append(f'<p class="quiet">{escape(figures.time_note(comparison))}</p>')
    return f'<div class="packsort-compare"><style>{style()}</style>{"".join(parts)}</div>'


def sentence(text: str) -> str:
    """Return a text as a sentence: with a capital and a full stop, escaped."""
    return escape(f"{text[0].upper()}{text[1:]}.")


def beside(at: AtLength, table: str) -> str:
    """Return the bars of one `max_length` beside a table, where both fit, and above it elsewhere."""
    stacked = " stacked" if len(at.methods) > _METHODS_BESIDE else ""
    return f'<div class="side{stacked}">{_bar_table(at)}{table}</div>'


def tables(comparison: ComparisonFigures, at: AtLength) -> tuple[str, str]:
    """Return the table that everybody sees, and the one with the other figures."""
    heads = figures.heads(at, comparison.window)
    chosen = list(at.methods).index(at.advice.choice)
    first, more = figures.table(at, comparison.epochs)
    return _table(heads, first, chosen), _table(heads, more, chosen)


def _bar_table(at: AtLength) -> str:
    rows = []
    for bar in bars(at):
        classes = _COLOURS.get(bar.method, "greedy") + (" chosen" if bar.is_chosen else "")
        drawn = f'<span><i style="width:{bar.share * _PERCENT_OF_LONGEST:.1f}%"></i>{bar.time:.2f}</span>'
        rows.append(f'<tr class="{classes}"><th scope="row">{escape(bar.name)}</th><td>{drawn}</td></tr>')
    return f'<table class="bars"><caption>{BARS}</caption><tbody>{"".join(rows)}</tbody></table>'


def _table(heads: Sequence[tuple[str, str]], lines: Sequence[figures.Line], chosen: int) -> str:
    def cell(tag: str, at: int, content: str) -> str:
        mark = ' class="chosen"' if at == chosen else ""
        scope = ' scope="col"' if tag == "th" else ""
        return f"<{tag}{scope}{mark}>{content}</{tag}>"

    head = "".join(
        cell("th", at, f"{escape(name)}<small>{escape(below)}</small>") for at, (name, below) in enumerate(heads)
    )
    rows = "".join(
        f'<tr><th scope="row" title="{escape(line.meaning)}">{escape(line.name)}</th>'
        + "".join(cell("td", at, escape(text)) for at, text in enumerate(line.cells))
        + "</tr>"
        for line in lines
    )
    body = f"<thead><tr><td></td>{head}</tr></thead><tbody>{rows}</tbody>"
    return f'<div class="scroll"><table class="figures">{body}</table></div>'


def _reasons(at: AtLength) -> str:
    return f"<ul>{''.join(f'<li>{escape(text)}</li>' for text in (*at.advice.reasons, at.batch.note))}</ul>"
