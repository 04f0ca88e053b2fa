"""Remote tasks, and what passes between them and the driver.

Ray sends results of less than 100 KB through the process that called a task, and keeps larger ones in the object store
of the node that made them. What grows with the number of sequences must not pass through the driver, so `kept_remote`
makes it large enough.
"""

from __future__ import annotations

import errno
import os
import pickle
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
import ray
from numpy.typing import NDArray

from packsort import _core
from packsort.errors import OutputError, PacksortError

Ref: TypeAlias = Any
"""A `ray.ObjectRef`."""

_INLINE_BYTES = 100 * 1024
_THREADS = "RAYON_NUM_THREADS"
_MOST_TASKS = 4096  # that read the source: each sends its counts to the driver
_RETRIES = 8  # of a task whose worker or node is lost, and of an object that is lost with its node


def largest(bytes_of_one: int, total: int) -> int:
    """Return the bytes that one task handles, so that there are at most `_MOST_TASKS` of them.

    Args:
        bytes_of_one: Bytes that it handles at least.
        total: Bytes of the source.
    """
    return max(bytes_of_one, -(-total // _MOST_TASKS))


def task(work: Callable[..., Any]) -> Any:
    """Return a function as a Ray task that is repeated where its worker is lost."""
    return ray.remote(num_cpus=1, max_retries=_RETRIES)(work)


def one_thread() -> None:
    """Compute on one thread in this worker, because every core of a node has a task of its own."""
    given = os.environ.get(_THREADS)
    os.environ[_THREADS] = "1"
    try:
        _core.num_threads()  # starts the threads, where they are not started
    finally:  # other tasks of the worker may want more
        if given is None:
            del os.environ[_THREADS]
        else:
            os.environ[_THREADS] = given


def kept_remote(buffer: Any) -> NDArray[np.uint8]:
    """Return bytes, followed by zeros where they are so few that Ray would send them through the driver."""
    found = np.frombuffer(buffer, np.uint8)
    return found if len(found) > _INLINE_BYTES else np.pad(found, (0, _INLINE_BYTES + 1 - len(found)))


def kept_remote_table(table: pa.Table) -> pa.Table:
    """Return a table, with metadata of zeros where it is so small that Ray would send it through the driver."""
    few = _INLINE_BYTES + 1 - table.nbytes
    return table if few <= 0 else table.replace_schema_metadata({"packsort.room": "0" * few})


@contextmanager
def object_errors() -> Iterator[None]:
    """Raise Ray's error of a full disk as an `OutputError`.

    Raises:
        OutputError: A node has no room for objects, neither in its memory nor on its disk.
    """
    try:
        yield
    except ray.exceptions.OutOfDiskError as error:
        found = OutputError(
            "Ray's object store is full on a node, and so is the disk that it spills to: free that disk, or start Ray "
            "with another `object_spilling_directory`"
        )
        found.errno = errno.ENOSPC
        raise found from error


@dataclass
class Traffic:
    """Bytes that passed through the driver, pickled.

    Attributes:
        received: Bytes of results that the driver fetched.
        sent: Bytes of arguments that it sent.
        results: Number of results.
    """

    received: int = 0
    sent: int = 0
    results: int = 0

    def sending(self, *values: Any) -> None:
        """Count arguments."""
        self.sent += sum(len(pickle.dumps(value)) for value in values)

    def fetch(self, ref: Ref) -> Any:
        """Wait for the result of a task, and return it.

        Raises:
            PacksortError: The task raised it.
        """
        try:
            value = ray.get(ref)
        except ray.exceptions.RayTaskError as error:
            if isinstance(error.cause, PacksortError):
                raise error.cause from None
            raise
        self.received += len(pickle.dumps(value))
        self.results += 1
        return value

    def as_completed(self, refs: Sequence[Ref]) -> Generator[tuple[int, Any], None, None]:
        """Yield the results of tasks as they end, each with its index in `refs`.

        Raises:
            PacksortError: As `fetch`. The other tasks are cancelled, and when the iterator is closed.
        """
        waiting = {ref: index for index, ref in enumerate(refs)}
        try:
            while waiting:
                ray.wait(list(waiting), num_returns=1, fetch_local=False)
                ready, _ = ray.wait(list(waiting), num_returns=len(waiting), timeout=0, fetch_local=False)
                for ref in ready:
                    yield waiting.pop(ref), self.fetch(ref)
        finally:
            stop(list(waiting))


def stop(refs: Sequence[Ref]) -> None:
    """Cancel tasks, and wait until none of them writes any more."""
    for ref in refs:
        ray.cancel(ref)
    if refs:
        ray.wait(list(refs), num_returns=len(refs), timeout=60)
