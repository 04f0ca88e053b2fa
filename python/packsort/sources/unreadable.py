"""Work on a source without the files that cannot be read, where the user allows it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from packsort._options.input import InputConfig
from packsort.errors import SourceError
from packsort.sources.source import Source

T = TypeVar("T")


def without_unreadable(source: Source, config: InputConfig, work: Callable[[Source], T]) -> T:
    """Do some work on a source; with `on_error="skip"`, again without the files that prove to be damaged.

    Damage within a file shows only when it is read. All files are then read to find those that are damaged, and the
    work begins anew, because rows are numbered through all files.

    Args:
        source: The rows.
        config: Options of what goes in.
        work: Called with the source, and once more without its damaged files.

    Raises:
        SourceError: The work failed, and no file is damaged, or none is to be skipped.
    """
    try:
        return work(source)
    except SourceError:
        if config.on_error != "skip":
            raise
        sound = source.readable()
        if sound is source:
            raise
    return work(sound)
