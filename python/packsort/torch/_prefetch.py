"""Prefetching of batches on a thread.

A process would have to send each batch; a thread hands it over. The core makes batches with the interpreter's lock
released, so one thread stays ahead of any training step.
"""

from __future__ import annotations

import math
import os
import threading
import time
import weakref
from collections.abc import Iterator
from queue import SimpleQueue
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class Prefetcher(Generic[T]):
    """Iterator over the items of another one, which a thread prefetches.

    Handing an item over takes some 20 us, more than many a batch takes to make. So the thread starts only once a step
    (the time between an item and the request for the next) lasts `min_step_seconds`. Until then each item is made on
    request, and so it is where the system has no thread left. The thread ends with the items, on an error, on `close`,
    and when the prefetcher is garbage collected. A forked child has no such thread; there `next` raises a RuntimeError.

    Args:
        items: The items. It must not refer to the prefetcher.
        ahead: Most items that wait. 0 makes each item on request, without a thread.
        min_step_seconds: Shortest step that starts the thread. 0 starts it at once.

    Example:
        >>> list(Prefetcher(iter("abc"), ahead=2))
        ['a', 'b', 'c']
    """

    def __init__(self, items: Iterator[T], ahead: int, min_step_seconds: float = 0.0) -> None:
        self._items = items
        self._ahead = ahead
        self._min_step_seconds = min_step_seconds
        self._last_item_at = math.inf
        # SimpleQueue is written in C: it costs a tenth of a condition, and a finalizer may put into it anywhere.
        self._ready: SimpleQueue[tuple[T, None] | tuple[None, BaseException]] | None = None
        if ahead and not min_step_seconds:
            self._start()

    def _start(self) -> None:
        self._process = os.getpid()
        self._ready = SimpleQueue()
        self._permits: SimpleQueue[bool] = SimpleQueue()  # True: make one more item; False: end
        for _ in range(self._ahead):
            self._permits.put(True)
        work = (self._items, self._ready, self._permits)
        thread = threading.Thread(target=_produce, args=work, name="packsort-prefetch", daemon=True)
        # The finalizer also runs at exit: a thread left alone could be in Rust while the interpreter shuts down.
        self._finalizer = weakref.finalize(self, _stop, self._permits, thread, self._process)
        try:
            thread.start()
        except RuntimeError:  # the system has no thread left
            self._finalizer.detach()
            self._ready = None
            self._ahead = 0

    def __iter__(self) -> Iterator[T]:
        return self

    def __next__(self) -> T:
        if self._ready is None:
            start = self._ahead and time.monotonic() - self._last_item_at >= self._min_step_seconds
            item = next(self._items)
            if start:
                self._start()
            self._last_item_at = time.monotonic()
            return item
        if os.getpid() != self._process:
            raise RuntimeError(
                "a pass that prefetches batches does not continue in a forked process: iterate the loader again there"
            )
        made, error = self._ready.get()
        if error is not None:
            self._ready.put((None, StopIteration()))  # for a further call of `next`
            raise error
        self._permits.put(True)
        return made  # type: ignore[return-value]

    def close(self) -> None:
        """End the thread and wait for it."""
        if self._ready is not None:
            self._finalizer()


def _produce(items: Iterator[Any], ready: SimpleQueue[Any], permits: SimpleQueue[bool]) -> None:
    while permits.get():
        try:
            ready.put((next(items), None))
        except BaseException as error:  # raised again by the consumer, StopIteration too
            ready.put((None, error))
            return


def _stop(permits: SimpleQueue[bool], thread: threading.Thread, process: int) -> None:
    if os.getpid() != process:
        return  # a forked child has no such thread
    while not permits.empty():
        permits.get_nowait()
    permits.put(False)
    if thread is not threading.current_thread():
        thread.join()
