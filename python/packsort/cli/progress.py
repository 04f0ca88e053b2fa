"""Progress on stderr, for people at a terminal; nothing where stderr goes to a file or a pipe."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, Task, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.text import Text

Advance = Callable[..., None]


@contextmanager
def stage(name: str, *, total: int | None = None, unit: str = "") -> Iterator[Advance]:
    """Shows one stage of a command while it runs.

    Args:
        name: what is going on, such as "tokenizing".
        total: units in all; None where it is not known.
        unit: what is counted, such as "sequences".

    Yields:
        A function to call with the number of units done since its last call and, where there is more to say, a note.

    Examples:
        >>> with stage("tokenizing", total=3, unit="sequences") as advance:
        ...     advance(3)
    """
    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda done, note="": None
        return
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        _Count(unit),
        TextColumn("{task.fields[note]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    # The bar is wiped at the end: what stays is the result.
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task(name, total=total, note="")
        yield lambda done, note="": bar.update(task, advance=done, note=note)


class _Count(TextColumn):
    """Units done, of how many, and how many a second."""

    def __init__(self, unit: str) -> None:
        super().__init__("")
        self._unit = unit

    def render(self, task: Task) -> Text:
        if not self._unit:
            return Text()
        of = f"/{task.total:,.0f}" if task.total is not None else ""
        speed = f" {task.speed:,.0f}/s" if task.speed else ""
        return Text(f"{task.completed:,.0f}{of} {self._unit}{speed}")
