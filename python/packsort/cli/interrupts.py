"""SIGINT and SIGTERM while a command runs.

Before a command opens its output, a signal ends the process at once: there is nothing to clean up, and an exception in
the middle of an import may be lost or print a traceback. While the output is written, it is a `KeyboardInterrupt`,
which cleans up. Once the output is in its place, signals are ignored: the command has done what it was asked for, and
ends in a moment.
"""

from __future__ import annotations

import os
import signal
import threading

from packsort._interrupts import OUTPUTS, Outputs

TYPE_CHECKING = False  # `typing` takes a third of the time until signals are handled
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType
    from typing import NoReturn, Self

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_CLEAR_LINE_SHOW_CURSOR = b"\r\x1b[K\x1b[?25h"


class Interrupts:
    """Context that handles signals for a command.

    Args:
        program: Whether the process ends with the command, and may be ended at once.

    Attributes:
        outputs: What the command has written.
        say: Called with the message and the status where the command ends at once; None says it on stderr only.
        status: Exit status of a command that a signal ended, as shells count it: 128 and the number of the signal.
    """

    def __init__(self, *, program: bool) -> None:
        self._program = program
        self.outputs = Outputs()
        self.say: Callable[[str, int], object] | None = None
        self.status = 128 + signal.SIGINT

    def __enter__(self) -> Self:
        self._token = OUTPUTS.set(self.outputs)
        self._before = {}
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._handle) for number in _SIGNALS}
        return self

    def __exit__(self, *error: object) -> None:
        OUTPUTS.reset(self._token)
        for number, handler in self._before.items():
            signal.signal(number, signal.SIG_IGN if self._program else handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.outputs.whole:
            return
        self.status, self.outputs.interrupted = 128 + number, True
        if self._program and not self.outputs.begun:
            self._end()
        raise KeyboardInterrupt

    def _end(self) -> NoReturn:
        if os.isatty(2):  # of a progress bar
            os.write(2, _CLEAR_LINE_SHOW_CURSOR)
        os.write(2, f"error: {self.message()}\n".encode("ascii", "backslashreplace"))
        if self.say is not None:
            self.say(self.message(), self.status)
        os._exit(self.status)

    def message(self) -> str:
        """Say what an interrupted command has written."""
        if self.outputs.unfinished:
            names = ", ".join(f"`{name}`" for name in self.outputs.unfinished)
            return f"interrupted, {names} is unfinished; the same command goes on with it"
        if not self.outputs.kept:
            return "interrupted, nothing was written"
        kept = ", ".join(f"`{path}`" for path in self.outputs.kept)
        return f"interrupted, only {kept} was written"
