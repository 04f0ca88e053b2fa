"""Progress bar of one stage on a terminal."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, SpinnerColumn, Task, TextColumn
from rich.table import Column
from rich.text import Text

from packsort._progress import StageReport

_FREE = threading.Lock()


@contextmanager
def show_bar(report: StageReport) -> Iterator[None]:
    """Show a bar with the figures of a stage, or the time that it takes where it has no total.

    A stage inside another has no bar of its own: before version 14.1, rich shows one at a time.

    Args:
        report: The stage.
    """
    if not _FREE.acquire(blocking=False):
        yield
        return
    try:
        with _bar(report):
            yield
    finally:
        _FREE.release()


@contextmanager
def _bar(report: StageReport) -> Iterator[None]:
    console = Console(stderr=True)
    bar = [BarColumn(bar_width=20)] if report.total else []
    columns = (
        SpinnerColumn("line" if console.options.ascii_only else "dots"),
        TextColumn("{task.description}", markup=False),
        *bar,
        _Figures(report),
    )
    # The bar is erased at the end, so that only the result stays.
    with Progress(*columns, console=console, transient=True) as progress:
        progress.add_task(report.name, total=report.total)
        yield


class _Figures(ProgressColumn):
    """Column with the figures of a stage, which it also hands to the bar."""

    max_refresh = None

    def __init__(self, report: StageReport) -> None:
        super().__init__(Column(no_wrap=True, overflow="ellipsis"))
        self._report = report

    def render(self, task: Task) -> Text:
        """Return the figures."""
        task.completed = self._report.done
        return Text(self._report.figures())
