"""Iterate ahead of whoever takes the items, on threads."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")


def read_ahead(items: Iterator[T]) -> Iterator[T]:
    """Yield items of an iterator whose next one is computed on a thread meanwhile.

    Example:
        >>> list(read_ahead(iter("abc")))
        ['a', 'b', 'c']
    """
    with ThreadPoolExecutor(1, thread_name_prefix="packsort-read") as pool:
        following = pool.submit(_next, items)
        while found := following.result():
            following = pool.submit(_next, items)
            yield found[0]


def run_ahead(calls: Iterable[Callable[[], T]], most: int) -> Iterator[T]:
    """Yield the results of calls in order, of which several run at a time.

    Args:
        calls: The calls.
        most: The most calls that run, or whose result waits.

    Example:
        >>> list(run_ahead([lambda: 5, lambda: 6], 2))
        [5, 6]
    """
    with ThreadPoolExecutor(most, thread_name_prefix="packsort-read") as pool:
        running: deque[Future[T]] = deque()
        for call in calls:
            if len(running) == most:
                yield running.popleft().result()
            running.append(pool.submit(call))
        while running:
            yield running.popleft().result()


def _next(items: Iterator[T]) -> tuple[T] | None:
    for item in items:
        return (item,)
    return None
