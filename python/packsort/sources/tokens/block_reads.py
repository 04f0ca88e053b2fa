"""Blocks of files, read on threads: several at a time, and before they are needed."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Hashable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, TypeVar

import pyarrow as pa

_MOST_THREADS = 4

K = TypeVar("K", bound=Hashable)
Read = Callable[[], pa.Table]


class BlockReads(Generic[K]):
    """Reads of blocks, some of which run before their results are asked for.

    Errors of a read are raised where its result is asked for. A forked child, which has none of the threads, reads
    again.
    """

    def __init__(self) -> None:
        self._process = -1

    @property
    def waiting(self) -> frozenset[K]:
        """Blocks whose read was started, and whose result was not asked for yet."""
        return frozenset(self._started) if self._process == os.getpid() else frozenset()

    def start(self, reads: Mapping[K, Read]) -> None:
        """Start reads in their order."""
        self._begin()
        for block, read in reads.items():
            if block not in self._started and (started := self._submit(read)) is not None:
                self._started[block] = started

    def forget(self, but: Collection[K] = ()) -> None:
        """Forget reads that were started, but for those of some blocks."""
        for block in self.waiting - frozenset(but):
            if (future := self._started.pop(block, None)) is not None:
                future.cancel()

    def results(self, reads: Mapping[K, Read]) -> dict[K, pa.Table]:
        """Return what some reads give, of which those that were not started yet run now.

        Raises:
            Exception: What a read raises.
        """
        self._begin()
        found = {block: self._started.pop(block, None) for block in reads}
        alone = len(reads) == 1  # the calling thread would only wait
        futures = {
            block: self._submit(reads[block]) if future is None and not alone else future
            for block, future in found.items()
        }
        return {block: reads[block]() if one is None else one.result() for block, one in futures.items()}

    def _begin(self) -> None:
        if self._process != os.getpid():
            self._started: dict[K, Future[pa.Table]] = {}
            threads = min(_MOST_THREADS, pa.cpu_count())
            self._pool = ThreadPoolExecutor(threads, thread_name_prefix="packsort-read")
            self._process = os.getpid()

    def _submit(self, read: Read) -> Future[pa.Table] | None:
        try:
            return self._pool.submit(read)
        except RuntimeError:  # the system has no thread left, or the interpreter ends
            return None
