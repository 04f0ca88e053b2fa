"""Files of a source that change while a call works on it."""

from __future__ import annotations

from pathlib import Path

from packsort.errors import SourceError
from packsort.sources.formats.stamp import stamp_of
from packsort.sources.source import Source


class Unchanged:
    """Stamps of the files of a source, as they are now. Rows in memory and objects in stores have none.

    Args:
        source: The rows.
    """

    def __init__(self, source: Source) -> None:
        self._stamps = {file.path: stamp_of(file.path) for file in source.files if Path(file.path).is_file()}

    def check(self) -> None:
        """Refuse a file that has changed since.

        Raises:
            SourceError: A file has another inode, size or date, or is gone; the message names it.
        """
        for path, stamp in self._stamps.items():
            if not Path(path).is_file() or stamp_of(path) != stamp:
                raise changed_file(path)


def changed_file(path: str) -> SourceError:
    """Return the error for a file whose tokens are not those that were planned."""
    return SourceError(
        f"`{path}` was changed while it was read: its tokens are not those that were planned, so run it again"
    )
