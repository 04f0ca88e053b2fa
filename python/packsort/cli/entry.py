"""Entry of the command line: signals are handled before anything slow is imported."""

from __future__ import annotations

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
    with Interrupts(program=argv is None) as interrupts:
        from packsort.cli.frame import run

        return run(argv, interrupts)
