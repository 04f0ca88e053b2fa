"""Messages of the logger `packsort` on stderr."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Iterator
from contextlib import contextmanager

from packsort._progress import logger
from packsort.cli.output import tell
from packsort.cli.parser import GENERAL, group


def add_verbosity(parser: argparse.ArgumentParser) -> None:
    """Add `--quiet` and `--verbose`."""
    levels = group(parser, GENERAL).add_mutually_exclusive_group()
    levels.add_argument("-q", "--quiet", action="store_true", help="show no progress, only warnings and errors")
    levels.add_argument("-v", "--verbose", action="store_true", help="show what is done, and how long it takes")


@contextmanager
def show_logs(*, quiet: bool, verbose: bool) -> Iterator[None]:
    """Show the messages of packsort on stderr while a command runs.

    Args:
        quiet: Whether to show warnings only.
        verbose: Whether to show details.
    """
    log, handler = logger(), _Handler()
    before = log.level
    log.setLevel(logging.WARNING if quiet else logging.DEBUG if verbose else logging.INFO)
    log.addHandler(handler)
    try:
        yield
    finally:
        log.removeHandler(handler)
        log.setLevel(before)


class _Handler(logging.Handler):
    """Handler that prints lines as the command line prints them."""

    def emit(self, record: logging.LogRecord) -> None:
        """Print a message."""
        level = f"{record.levelname.lower()}: " if record.levelno >= logging.WARNING else ""
        tell(level + record.getMessage())
