"""Work on a source without the files that cannot be read, where the user allows it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from packsort._options.input import InputConfig
from packsort.errors import SourceError
from packsort.sources.source import Source, open_source

T = TypeVar("T")


def open_readable(source: Any, config: InputConfig) -> Source:
    """Open a source for work that must not begin anew; with `on_error="skip"`, read every file to its end before.

    Args:
        source: Rows of any kind, as for `open_source`.
        config: Options of what goes in.

    Raises:
        SourceError, OptionError: As for `open_source`; or no file can be read.
    """
    opened = open_source(source, config)
    return opened.readable() if config.on_error == "skip" else opened


def without_unreadable(
    source: Source,
    config: InputConfig,
    work: Callable[[Source], T],
    readable: Callable[[Source], Source] = Source.readable,
) -> T:
    """Do some work on a source; with `on_error="skip"`, again without the files that prove to be damaged.

    Damage within a file shows only when it is read. All files are then read to find those that are damaged, and the
    work begins anew, because rows are numbered through all files.

    Args:
        source: The rows.
        config: Options of what goes in.
        work: Called with the source, and once more without its damaged files.
        readable: Returns a source without its damaged files.

    Raises:
        SourceError: The work failed, and no file is damaged, or none is to be skipped.
    """
    try:
        return work(source)
    except SourceError:
        if config.on_error != "skip":
            raise
        sound = readable(source)
        if sound is source:
            raise
    return work(sound)
