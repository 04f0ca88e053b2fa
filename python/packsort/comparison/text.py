"""A comparison as text for a terminal: the answer, bars of time, a table, and the reasons."""

from __future__ import annotations

import shutil
import sys
import textwrap
from collections.abc import Sequence

from packsort.comparison import figures
from packsort.comparison.answer import BARS, answer, answer_at, bars
from packsort.comparison.results import AtLength, ComparisonFigures

_NARROWEST = 40
_LONGEST_BAR = 40
_WIDEST_TEXT = 100
_GAP = "  "


def render_text(comparison: ComparisonFigures, width: int | None = None, *, details: bool = False) -> str:
    """Return a comparison as text, without reasons.

    Args:
        comparison: The comparison.
        width: Columns of a line; None is as many as the terminal has, 80 where there is none. `COLUMNS` overrides both.
        details: Whether to show every figure.
    """
    width = find_width() if width is None else max(width, _NARROWEST)
    parts = [wrapped(answer(comparison), width)]
    for at in comparison.at:
        parts += [f"max_length {at.max_length:,}: {answer_at(at)}"] if len(comparison.at) > 1 else []
        parts.append(render_at(comparison, at, width, details=details))
    return "\n\n".join(wrapped(part, width) if "\n" not in part else part for part in parts)


def render_at(comparison: ComparisonFigures, at: AtLength, width: int, *, details: bool = False) -> str:
    """Return the bars and the table of one `max_length`.

    Args:
        comparison: The comparison.
        at: Its figures at the limit.
        width: Columns of a line.
        details: Whether to show every figure.
    """
    first, more = figures.table(at, comparison.epochs)
    lines = first + more if details else first
    rows = [[line.name, *line.cells] for line in lines]
    heads = figures.heads(at, comparison.window)
    return f"{bar_lines(at, width)}\n\n{table_lines(heads, rows, width)}"


def bar_lines(at: AtLength, width: int) -> str:
    """Draw the bars of one `max_length`, with a mark at the method that is recommended."""
    found = bars(at)
    names = max(len(bar.name) for bar in found)
    times = [f"{bar.time:.2f}" for bar in found]
    room = min(_LONGEST_BAR, width - names - max(map(len, times)) - 3 * len(_GAP))
    block = "█" if _prints("█") else "#"
    lines = [wrapped(BARS, width)]
    for bar, time in zip(found, times, strict=True):
        drawn = block * max(1, round(bar.share * room))
        mark = "*" if bar.is_chosen else " "
        lines.append(f"{mark} {bar.name:<{names}}{_GAP}{drawn} {time}")
    return "\n".join(lines)


def table_lines(heads: Sequence[tuple[str, str]], rows: Sequence[Sequence[str]], width: int) -> str:
    """Set a table; columns that do not fit a line follow below, under the same names of lines.

    Args:
        heads: Two lines of heading for each column but the first.
        rows: Name and cells of each line.
        width: Columns of a line.

    Example:
        >>> print(table_lines([("one", "a"), ("two", "b")], [["packs", "1", "2"], ["steps", "33", "4"]], 13))
               one
                 a
        packs    1
        steps   33
        <BLANKLINE>
               two
                 b
        packs    2
        steps    4
    """
    names = max(len(row[0]) for row in rows)
    cells = [[*head, *(row[at + 1] for row in rows)] for at, head in enumerate(heads)]
    blocks: list[list[list[str]]] = [[]]
    left = width - names
    for column in cells:
        needed = len(_GAP) + max(map(len, column))
        if blocks[-1] and needed > left:
            blocks.append([])
            left = width - names
        blocks[-1].append(column)
        left -= needed
    labels = ["", "", *(row[0] for row in rows)]
    return "\n\n".join(_block(labels, names, block) for block in blocks)


def wrapped(text: str, width: int, *, mark: str = "") -> str:
    """Wrap a paragraph, with its lines indented after a mark such as "- "; words are not broken."""
    return textwrap.fill(
        text,
        min(width, _WIDEST_TEXT),
        initial_indent=mark,
        subsequent_indent=" " * len(mark),
        break_long_words=False,
        break_on_hyphens=False,
    )


def find_width() -> int:
    """Return the columns of the terminal; those of `COLUMNS` if it is set, and 80 where nothing tells."""
    return max(shutil.get_terminal_size().columns, _NARROWEST)


def _block(labels: list[str], names: int, columns: list[list[str]]) -> str:
    widths = [max(map(len, column)) for column in columns]
    lines = []
    for at, label in enumerate(labels):
        cells = "".join(f"{_GAP}{column[at]:>{size}}" for column, size in zip(columns, widths, strict=True))
        lines.append(f"{label:<{names}}{cells}".rstrip())
    return "\n".join(lines)


def _prints(text: str) -> bool:
    """Return whether stdout has these letters."""
    try:
        text.encode(getattr(sys.stdout, "encoding", None) or "utf-8")
    except (UnicodeEncodeError, LookupError):
        return False
    return True
