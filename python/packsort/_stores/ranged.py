"""An object as an open file that is read by ranges.

Readers ask for what they need: a footer, some columns, a block. Each answer is compared with what was asked for, and
the object with the one that was opened, so that no reader gets a part of an object, or parts of two, without an error.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor

from packsort._stores.store import ObjectInfo, Store

PIECE_BYTES = 8 << 20
"""Bytes of one request. Larger reads are several requests at once."""
_REQUESTS_AT_ONCE = 4


class ChangedError(OSError):
    """An object is another one than was opened."""


class RangedFile:
    """Object that is open for reading, as Python's files are.

    Args:
        store: The store.
        url: The object.
        facts: What is known of the object. None asks the store.
        least: The least bytes to ask for: footers and headers are read in small steps.

    Raises:
        FileNotFoundError, PermissionError: There is no such object, or it may not be read.
        OSError: The store does not answer.
    """

    mode = "rb"

    def __init__(self, store: Store, url: str, facts: ObjectInfo | None = None, least: int = 64 << 10) -> None:
        self._store, self._url, self._least = store, url, least
        self.facts = self._ask() if facts is None else facts
        self._place = 0
        self._near = (0, b"")  # what was read last, beyond what was asked for
        self.closed = False

    def _ask(self) -> ObjectInfo:
        facts = self._store.info(self._url)
        if facts is None:
            raise IsADirectoryError("it is a folder")
        return facts

    def read(self, size: int = -1) -> bytes:
        """Read the next bytes, as many as there are up to `size`."""
        left = self.facts.size - self._place
        size = left if size < 0 else min(size, left)
        found = self.read_range(self._place, self._place + size)
        self._place += size
        return found

    def read_range(self, start: int, stop: int) -> bytes:
        """Read bytes `start` to `stop`."""
        first, near = self._near
        if first <= start and stop <= first + len(near):
            return near[start - first : stop - first]
        if stop - start < self._least:
            end = min(start + self._least, self.facts.size)
            first = max(0, end - self._least)
            near = self._store.read(self._url, first, end)
            self._near = first, near
            return near[start - first : stop - first]
        if stop - start <= PIECE_BYTES:
            return self._store.read(self._url, start, stop)
        starts = range(start, stop, PIECE_BYTES)
        with ThreadPoolExecutor(min(_REQUESTS_AT_ONCE, len(starts))) as pool:
            pieces = pool.map(lambda at: self._store.read(self._url, at, min(at + PIECE_BYTES, stop)), starts)
            return b"".join(pieces)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move to a place, and return it."""
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._place, os.SEEK_END: self.facts.size}[whence]
        self._place = max(0, base + offset)
        return self._place

    def tell(self) -> int:
        """Return the place."""
        return self._place

    def size(self) -> int:
        """Return the bytes of the object."""
        return self.facts.size

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def writable(self) -> bool:
        """Return False."""
        return False

    def flush(self) -> None:
        """Do nothing."""

    def check_unchanged(self) -> None:
        """Check that the object is still the one that was opened.

        Raises:
            ChangedError: It is another one.
        """
        now = self._ask()
        if now != self.facts:
            raise ChangedError(_changed(self.facts, now))

    def close(self) -> None:
        """Close the file."""
        self.closed = True
        self._near = (0, b"")

    def __enter__(self) -> RangedFile:
        return self

    def __exit__(self, *error: object) -> None:
        if not self.closed and error[0] is None:
            self.check_unchanged()
        self.close()


def _changed(before: ObjectInfo, now: ObjectInfo) -> str:
    if before.size != now.size:
        return f"it had {before.size:,} bytes and now has {now.size:,}: open it anew"
    return "it was changed since it was opened: open it anew"
