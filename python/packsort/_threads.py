"""Threads whose start cannot hang."""

from __future__ import annotations

import _thread
from collections.abc import Callable


def start_thread(work: Callable[[], object]) -> bool:
    """Start a thread that nobody needs to wait for.

    `Thread.start` waits until the thread runs: forever, if it ends for lack of memory before it does
    (python/cpython#140746). Here such a thread does nothing.

    Args:
        work: What it does. An exception ends the thread and is printed on stderr.

    Returns:
        Whether the system has a thread left.

    Example:
        >>> from queue import SimpleQueue
        >>> done = SimpleQueue()
        >>> start_thread(lambda: done.put(1))
        True
        >>> done.get()
        1
    """
    try:
        _thread.start_new_thread(work, ())
    except (RuntimeError, MemoryError):
        return False
    return True
