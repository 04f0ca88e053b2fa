"""Commits that Ctrl-C and SIGTERM do not cut in two, and a record of what was written.

While output is moved into place, a signal is only noted. It is delivered when the output is whole and nothing of the
old one is left, so that a program never learns of an interrupt and of half an output.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pathlib import PurePath
    from types import FrameType


class Outputs:
    """Record of what a command has written.

    Attributes:
        begun: Whether it has opened an output, so that an interrupt leaves something to clean up.
        whole: Outputs that are in their place.
        kept: Files that were written on the way, such as tokens for the next call.
        unfinished: Outputs in object stores that the same call goes on with.
        interrupted: Whether a signal has interrupted the command.
    """

    def __init__(self) -> None:
        self.begun = False
        self.whole: list[PurePath] = []
        self.kept: list[PurePath] = []
        self.unfinished: list[str] = []
        self.interrupted = False


OUTPUTS: ContextVar[Outputs | None] = ContextVar("OUTPUTS", default=None)
"""Record of the running command, if there is one."""


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Hold signals back until the block ends. Only the main thread is ever interrupted by them."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    caught: list[tuple[int, FrameType | None]] = []
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    held = {number: handler for number, handler in before.items() if callable(handler)}
    try:
        for number in held:
            signal.signal(number, lambda number, frame: caught.append((number, frame)))
        yield
    finally:
        for number, handler in held.items():
            signal.signal(number, handler)
    for found, frame in caught[:1]:
        held[signal.Signals(found)](found, frame)


def check_interrupted() -> None:
    """Raise `KeyboardInterrupt` again if a signal has interrupted the running command.

    An exception is lost if the signal comes while code runs that has nobody to raise it to: a finalizer, or extension
    code that drops errors.
    """
    if (outputs := OUTPUTS.get()) and outputs.interrupted:
        raise KeyboardInterrupt


def note_begin() -> None:
    """Record that an output is opened."""
    if outputs := OUTPUTS.get():
        outputs.begun = True


def note_commit(output: PurePath, *, on_the_way: bool = False) -> None:
    """Record that an output is in its place.

    Args:
        output: The output.
        on_the_way: Whether it is a file beside the output that the command was called for.
    """
    if outputs := OUTPUTS.get():
        (outputs.kept if on_the_way else outputs.whole).append(output)


def note_unfinished(output: str) -> None:
    """Record that a part of an output stays in an object store.

    Args:
        output: The output.
    """
    if outputs := OUTPUTS.get():
        outputs.unfinished.append(output)
