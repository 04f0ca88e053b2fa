"""Batches made ahead of the training step, on a thread.

A process would have to send each batch; a thread hands it over. Filling happens in Rust with the interpreter's lock
released, so one thread keeps ahead of any step.
"""

from __future__ import annotations

import math
import os
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from queue import SimpleQueue
from typing import Any, Generic, TypeVar

import torch

from packsort.errors import OptionError

T = TypeVar("T")


class Prefetcher(Generic[T]):
    """An iterator's items, made ahead on a thread of its own.

    To hand an item over takes some 20 us, more than many a batch takes to fill. So the thread starts when a step, which
    is what lies between an item and the next that is asked for, takes `worth` seconds; until then each item is made
    when it is asked for. The thread ends when the items do, on an error, on `close`, or when nobody holds the
    prefetcher any more. In a forked child, which has no such thread, `next` raises a RuntimeError.

    Args:
        items: made on the thread; it must not hold the prefetcher.
        ahead: how many items may wait; 0 makes each when it is asked for, without a thread.
        worth: seconds of a step from which a thread pays; 0 starts it at once.

    Example:
        >>> list(Prefetcher(iter("abc"), ahead=2))
        ['a', 'b', 'c']
    """

    def __init__(self, items: Iterator[T], ahead: int, worth: float = 0.0) -> None:
        self._items = items
        self._ahead = ahead
        self._worth = worth
        self._given = math.inf  # when the last item was
        # Queues in C: they cost a tenth of a condition, and a finalizer may put into one wherever it runs.
        self._ready: SimpleQueue[tuple[T, None] | tuple[None, BaseException]] | None = None
        if ahead and not worth:
            self._start()

    def _start(self) -> None:
        self._process = os.getpid()
        self._ready = SimpleQueue()
        self._permits: SimpleQueue[bool] = SimpleQueue()  # True: make one more; False: end
        for _ in range(self._ahead):
            self._permits.put(True)
        work = (self._items, self._ready, self._permits)
        thread = threading.Thread(target=_produce, args=work, name="packsort-prefetch", daemon=True)
        # Also at exit: a thread that is left to itself there may be in Rust when the interpreter goes.
        self._finalizer = weakref.finalize(self, _stop, self._permits, thread, self._process)
        thread.start()

    def __iter__(self) -> Iterator[T]:
        return self

    def __next__(self) -> T:
        if self._ready is None:
            pays = self._ahead and time.monotonic() - self._given >= self._worth
            item = next(self._items)
            if pays:
                self._start()
            self._given = time.monotonic()
            return item
        if os.getpid() != self._process:
            raise RuntimeError("an iterator that makes batches ahead does not go on in a forked process: iterate anew")
        made, error = self._ready.get()
        if error is not None:
            self._ready.put((None, StopIteration()))  # for who asks once more
            raise error
        self._permits.put(True)
        return made  # type: ignore[return-value]

    def close(self) -> None:
        """Ends the thread and waits for it."""
        if self._ready is not None:
            self._finalizer()


def _produce(items: Iterator[Any], ready: SimpleQueue[Any], permits: SimpleQueue[bool]) -> None:
    while permits.get():
        try:
            ready.put((next(items), None))
        except BaseException as error:  # raised where the item is taken; StopIteration too
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


def find_device(device: Any) -> torch.device | None:
    """The device that batches are moved to; None for CPU.

    Raises:
        OptionError: there is no such device here.
    """
    if device is None:
        return None
    try:
        found = torch.device(device)
        if found.type == "cpu":
            return None
        if found.type == "cuda" and not torch.cuda.is_available():
            raise RuntimeError("CUDA is not available")
        # With its index: each thread has a current device of its own, and `cuda` alone would be another one there.
        return torch.empty(0, device=found).device
    except (RuntimeError, AssertionError, TypeError, NotImplementedError) as error:
        reason = str(error).strip().splitlines()[0].rstrip(".")
        raise OptionError(f"device is {str(device)!r}, allowed is one that PyTorch has here: {reason}") from None


class Mover:
    """Moves batches to a device; to a GPU on a stream of its own, while the step runs.

    `start` is called where batches are made, `finish` where they are taken.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._stream = torch.cuda.Stream(device) if device.type == "cuda" else None  # type: ignore[no-untyped-call]

    def start(self, batch: dict[str, Any]) -> tuple[dict[str, Any], Any]:
        """The batch on the device, and what says that it has come; its tensors may be pinned."""
        if self._stream is None:
            return self._moved(batch), None
        with torch.cuda.stream(self._stream):
            moved = self._moved(batch)
            # The host memory is let go here; PyTorch keeps pinned blocks until the copies out of them are done.
            return moved, self._stream.record_event()

    def finish(self, moved: tuple[dict[str, Any], Any]) -> dict[str, Any]:
        """The batch, for work on the current stream, which waits for it; the processor does not."""
        batch, come = moved
        if come is not None:
            stream = torch.cuda.current_stream(self.device)
            stream.wait_event(come)
            for value in batch.values():
                if isinstance(value, torch.Tensor) and value.is_cuda:
                    value.record_stream(stream)  # made on another stream: not to be used again before this one is done
        return batch

    def _moved(self, batch: dict[str, Any]) -> dict[str, Any]:
        done: dict[int, Any] = {}  # a tensor that is there twice stays one tensor
        for value in batch.values():
            if id(value) not in done:
                done[id(value)] = self._one(value)
        return {name: done[id(value)] for name, value in batch.items()}

    def _one(self, value: Any) -> Any:
        if isinstance(value, torch.Tensor):
            return value.to(self.device, non_blocking=True)
        move: Callable[[torch.device], Any] | None = getattr(value, "to", None)  # such as a BlockMask
        return value if move is None else move(self.device)
