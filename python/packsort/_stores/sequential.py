"""An object as an open file that is read from its beginning to its end, with the next pieces on their way."""

from __future__ import annotations

from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor

from packsort._stores.ranged import PIECE_BYTES, RangedFile

_AHEAD = 3


class SequentialFile:
    """Reader of a `RangedFile` in order.

    Args:
        file: The object, open.

    Example:
        >>> from packsort._stores import Store
        >>> store = Store()
        >>> store.put("memory://rows/a.jsonl", b"one line")
        >>> with RangedFile(store, "memory://rows/a.jsonl") as opened, SequentialFile(opened) as file:
        ...     file.read(3), file.read(100), file.read(100)
        (b'one', b' line', b'')
    """

    mode = "rb"

    def __init__(self, file: RangedFile) -> None:
        self._file = file
        self._asked = 0  # bytes that are on their way or here
        self._waiting: deque[Future[bytes]] = deque()
        self._piece = memoryview(b"")
        self._pool = ThreadPoolExecutor(_AHEAD, thread_name_prefix="packsort-read-ahead")
        self.closed = False

    def read(self, size: int = -1) -> bytes:
        """Read the next bytes, `size` of them unless the object ends."""
        parts: list[memoryview] = []
        left = self._file.facts.size if size < 0 else size
        while left and (self._piece or self._next()):
            parts.append(self._piece[:left])
            self._piece = self._piece[len(parts[-1]) :]
            left -= len(parts[-1])
        return bytes(parts[0]) if len(parts) == 1 else b"".join(parts)

    def _next(self) -> bool:
        size = self._file.facts.size
        while self._asked < size and len(self._waiting) < _AHEAD:
            stop = min(self._asked + PIECE_BYTES, size)
            self._waiting.append(self._pool.submit(self._file.read_range, self._asked, stop))
            self._asked = stop
        if not self._waiting:
            return False
        self._piece = memoryview(self._waiting.popleft().result())
        return True

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return False."""
        return False

    def close(self) -> None:
        """Close the file."""
        self.closed = True
        self._pool.shutdown(wait=False, cancel_futures=True)

    def __enter__(self) -> SequentialFile:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()
