"""Progress on stderr: a bar on a terminal, else a line every 15 seconds."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from packsort._interrupts import check_interrupted
from packsort._progress import SECONDS_BETWEEN_LINES, STAGE, Advance, StageReport, logger
from packsort._threads import start_thread


@contextmanager
def stage(name: str, *, total: int | None = None, unit: str = "") -> Iterator[Advance]:
    """Show the progress of one stage of a command.

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
    report, log = StageReport(name, total, unit), logger()
    shown = log.isEnabledFor(20)  # logging.INFO, which --quiet turns off
    if shown and sys.stderr.isatty():
        from packsort.cli.bar import show_bar as show
    else:
        show = _lines if shown else _nothing

    def advance(done: int, note: str = "") -> None:
        report.advance(done, note)
        check_interrupted()

    with show(report):
        yield advance
    log.debug(report.summary())


@contextmanager
def current() -> Iterator[None]:
    """Make this the progress reporter of functions that are given none."""
    token = STAGE.set(stage)
    try:
        yield
    finally:
        STAGE.reset(token)


@contextmanager
def _nothing(report: StageReport) -> Iterator[None]:
    yield


@contextmanager
def _lines(report: StageReport) -> Iterator[None]:
    """Log a line every 15 seconds, also while the stage does not call back.

    Where there is no memory for a thread, that costs the lines, and no more.
    """
    ended = threading.Event()
    running = threading.Lock()
    running.acquire()

    def tick() -> None:
        try:
            while not ended.wait(SECONDS_BETWEEN_LINES):
                logger().info(report.line())
        finally:
            running.release()

    if not start_thread(tick):
        running.release()
    try:
        yield
    finally:
        ended.set()
        running.acquire(timeout=1)
