"""Report the progress of long calls.

A function that works in stages takes `stage`, a callable that opens one: `stage(name, total=, unit=)` returns a context
manager, which yields a function to call with the units done since its last call and an optional note.

By default stages are reported to the logger `packsort`: a line every 15 seconds at level INFO, and one at their end at
level DEBUG. Where that logger shows neither, nothing is measured. A function that is called everywhere, such as the one
that opens a source, uses `current_stage`, which a command replaces.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar

TYPE_CHECKING = False
if TYPE_CHECKING:
    import logging

Advance = Callable[..., None]
"""Called with the units done since its last call, and `note=` for a text to show."""

Stage = Callable[..., AbstractContextManager[Advance]]
"""Called with a name, `total=` and `unit=`; opens a stage of the work."""

SearchProgress = Callable[[int, int, float], None]
"""Called by the search for the fewest packs with packs, their lower bound, and the gap between them."""

SECONDS_BETWEEN_LINES = 15.0


def logger() -> logging.Logger:
    """Return the logger of packsort."""
    import logging

    return logging.getLogger("packsort")


def ignore(done: int, note: str = "") -> None:
    """Take progress that nobody wants to see."""


class StageReport:
    """Progress of one stage, in words.

    Args:
        name: Name of the stage, such as "tokenizing".
        total: Number of units, or None where it is not known.
        unit: Name of the units, such as "sequences".

    Example:
        >>> report = StageReport("tokenizing", 300, "sequences", clock=iter([0, 4, 4]).__next__)
        >>> report.advance(200)
        >>> report.line()
        'tokenizing 200/300, 50/s, 2 s left'
        >>> report.summary()
        'tokenizing took 4.00 s: 200 sequences, 50/s'
        >>> report = StageReport("opening", 9_000_000, "bytes", clock=iter([0, 4]).__next__)
        >>> report.advance(6_000_000)
        >>> report.line()
        'opening 6/9 MB, 2 MB/s, 2 s left'
    """

    def __init__(
        self, name: str, total: int | None = None, unit: str = "", clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.name, self.total, self._unit, self._clock = name, total, unit, clock
        self._size, self._sign = (1_000_000, " MB") if unit == "bytes" else (1, "")
        self.done, self._note, self._start = 0, "", clock()

    def advance(self, done: int, note: str = "") -> None:
        """Count units that are done."""
        self.done += done
        self._note = note

    def line(self) -> str:
        """Return one line: what is done, how fast, and how long the rest takes."""
        return f"{self.name} {self.figures()}"

    def figures(self) -> str:
        """Return the line without the name of the stage."""
        seconds = self._clock() - self._start
        parts = []
        if self._unit or self.total is not None:
            of = "" if self.total is None else f"/{self.total // self._size:,}{self._sign}"
            parts.append(f"{self.done // self._size:,}{of}" + (f" {self._unit}" if self.total is None else ""))
        if self.done and seconds:
            speed = self.done / seconds
            slow = f"{1 / speed:,.0f} s each"
            parts.append(f"{speed / self._size:,.0f}{self._sign}/s" if speed >= 1 else slow)
            if self.total is not None:
                parts.append(f"{duration(max(0, self.total - self.done) / speed)} left")
        else:
            parts.append(duration(seconds))
        return ", ".join([*parts, self._note] if self._note else parts)

    def summary(self) -> str:
        """Say how long the stage took."""
        seconds = self._clock() - self._start
        if not self.done or not seconds:
            return f"{self.name} took {seconds:.2f} s"
        done, unit = self.done // self._size, self._sign.strip() or self._unit
        speed = self.done / seconds / self._size
        return f"{self.name} took {seconds:.2f} s: {done:,} {unit}, {speed:,.0f}{self._sign}/s"


def duration(seconds: float) -> str:
    """Return a time as a person says it.

    Example:
        >>> duration(40.4), duration(130), duration(7300)
        ('40 s', '2 min', '2 h 2 min')
    """
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60:,} h {minutes % 60} min"


@contextmanager
def log_stage(name: str, *, total: int | None = None, unit: str = "") -> Iterator[Advance]:
    """Report a stage to the logger `packsort`."""
    log = logger()
    if not log.isEnabledFor(20):  # logging.INFO
        yield ignore
        return
    report, last = StageReport(name, total, unit), time.monotonic()

    def advance(done: int, note: str = "") -> None:
        nonlocal last
        report.advance(done, note)
        if (now := time.monotonic()) - last >= SECONDS_BETWEEN_LINES:
            last = now
            log.info(report.line())

    yield advance
    log.debug(report.summary())


STAGE: ContextVar[Stage] = ContextVar("STAGE", default=log_stage)
"""Progress reporter of functions that are given none."""


def current_stage(name: str, *, total: int | None = None, unit: str = "") -> AbstractContextManager[Advance]:
    """Open a stage of the reporter that is current."""
    return STAGE.get()(name, total=total, unit=unit)


def note_search(advance: Advance) -> SearchProgress:
    """Return a `SearchProgress` that shows packs and bound as the note of a stage."""
    return lambda packs, bound, gap: advance(0, f"{packs:,} packs, {gap:.3%} above the bound of {bound:,}")
