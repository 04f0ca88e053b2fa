"""Entry of the command line: signals are handled before anything slow is imported."""

from __future__ import annotations

import os
import sys

from packsort.cli.interrupts import Interrupts

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        argv: Arguments without the program's name. None takes those of the process, which is then to end with the
            status that is returned.

    Returns:
        0 if the command succeeded, 1 if it failed, 2 if its arguments cannot be parsed. Exceptions that packsort does
        not raise on purpose pass through, with their traceback.
    """
    if argv is None:
        _use_utf8()
    with Interrupts(program=argv is None) as interrupts:
        from packsort.cli.frame import run

        return run(argv, interrupts)


def _use_utf8() -> None:
    """Start again in Python's UTF-8 mode where names of files have another encoding, as in an ASCII locale.

    Names and files that packsort reads are UTF-8 in any locale. What it prints keeps the encoding of the terminal.
    """
    if sys.getfilesystemencoding() == "utf-8" or not sys.executable:
        return
    encoding = getattr(sys.stdout, "encoding", "ascii")
    os.environ.setdefault("PYTHONIOENCODING", f"{encoding}:backslashreplace")
    os.execv(sys.executable, [sys.executable, "-X", "utf8", *sys.orig_argv[1:]])
