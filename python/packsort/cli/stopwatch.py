"""Measure the stages of a command, and show a progress bar for each."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from packsort._progress import Advance
from packsort.cli import progress


class Stopwatch:
    """Seconds of each stage of a command.

    Example:
        >>> watch = Stopwatch()
        >>> with watch.stage("planning"):
        ...     pass
        >>> list(watch.seconds)
        ['planning']
    """

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def stage(self, name: str, *, total: int | None = None, unit: str = "") -> Iterator[Advance]:
        """Measure one stage, and yield a function to call with the units done."""
        start = time.perf_counter()
        with progress.stage(name, total=total, unit=unit) as advance:
            yield advance
        self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - start

    def text(self) -> str:
        """Return the seconds of all stages in one line."""
        stages = ", ".join(f"{name} {seconds:.2f}" for name, seconds in self.seconds.items())
        return f"{sum(self.seconds.values()):.2f} s ({stages})"
