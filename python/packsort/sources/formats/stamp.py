"""Stamps of files: facts that tell whether a file is still the one that was opened."""

from __future__ import annotations

import os

from packsort.errors import SourceError
from packsort.sources.formats.reader import naming

Stamp = tuple[int, int, int]
"""Inode, size and time of change, which differ if the file is another one or has other content."""


def stamp_of(path: str) -> Stamp:
    """Return the stamp of a file.

    Args:
        path: The file.

    Raises:
        SourceError: There is no such file, or it may not be looked at.
    """
    with naming(path):
        facts = os.stat(path)
    return facts.st_ino, facts.st_size, facts.st_mtime_ns


def refuse_changed(path: str, stamp: Stamp) -> None:
    """Refuse a file that was changed since it was opened.

    Args:
        path: The file.
        stamp: Its stamp when it was opened.

    Raises:
        SourceError: Its stamp is another one.
    """
    if stamp_of(path) != stamp:
        raise SourceError(f"`{path}` was changed since it was opened: open the source anew")
