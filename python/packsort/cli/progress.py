"""Progress bars on stderr, only where it is a terminal."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, Task, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.text import Text

from packsort._progress import Advance


@contextmanager
def stage(name: str, *, total: int | None = None, unit: str = "") -> Iterator[Advance]:
    """Show a progress bar for one stage of a command.

    Args:
        name: Name of the stage, such as "tokenizing".
        total: Number of units, or None where it is not known.
        unit: Name of the units, such as "sequences".

    Yields:
        A function to call with the number of units done since its last call and an optional note.

    Example:
        >>> with stage("tokenizing", total=3, unit="sequences") as advance:
        ...     advance(3)
    """
    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda done, note="": None
        return
    columns = (
        SpinnerColumn("line" if console.options.ascii_only else "dots"),
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        _Count(unit),
        TextColumn("{task.fields[note]}", markup=False),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    # The bar is erased at the end, so that only the result stays.
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task(name, total=total, note="")
        yield lambda done, note="": bar.update(task, advance=done, note=note)


class _Count(TextColumn):
    """Column with the units done, their total, and their number per second."""

    def __init__(self, unit: str) -> None:
        super().__init__("")
        self._unit = unit

    def render(self, task: Task) -> Text:
        if not self._unit:
            return Text()
        of = f"/{task.total:,.0f}" if task.total is not None else ""
        speed = f" {task.speed:,.0f}/s" if task.speed else ""
        return Text(f"{task.completed:,.0f}{of} {self._unit}{speed}")
