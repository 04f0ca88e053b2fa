"""Console of rich for tables on stdout."""

from __future__ import annotations

from typing import NoReturn

from rich.console import Console
from rich.table import Table

from packsort.cli.output import line_width

PIPE = 110
"""Columns of tables in a pipe that no `COLUMNS` limits."""


def open_console() -> Console:
    """Return a console that prints to stdout as it is: foreign text is neither markup nor coloured."""
    return _Console(highlight=False, markup=False, emoji=False, width=line_width() or PIPE)


def print_table(console: Console, table: Table) -> None:
    """Print a table without the spaces that rich leaves at the ends of lines."""
    with console.capture() as captured:
        console.print(table)
    print("\n".join(line.rstrip() for line in captured.get().splitlines()))


class _Console(Console):
    """Console that leaves a closed pipe to the frame of commands, which ends without an error."""

    def on_broken_pipe(self) -> NoReturn:
        """Let the error pass; rich would exit with status 1."""
        raise BrokenPipeError
