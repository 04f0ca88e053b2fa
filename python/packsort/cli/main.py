"""The frame that commands share: arguments in, exit status out, errors on stderr in words.

A command is a module with `add_parser(subparsers)`, which sets its `run` as the default of `run`, and `run(args)`,
which returns the exit status. It imports what is slow inside `run`, so that `--help` is quick.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from packsort.cli import compare, export, inspect, pack, plan, tokenize, verify
from packsort.errors import PacksortError

COMMANDS = (pack, tokenize, plan, compare, inspect, verify, export)
OK, FAILED, WRONG_CALL = 0, 1, 2


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command.

    Args:
        argv: its arguments, without the program's name; None for those the process was called with.

    Returns:
        0 where it worked, 1 where it failed, 2 where its options cannot be parsed. Exceptions that nobody foresaw go
        through, with their traceback.
    """
    try:
        args = _parser().parse_args(argv)
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else WRONG_CALL
    try:
        with _terminated_as_interrupted():
            status: int = args.run(args)
            sys.stdout.flush()
        return status
    except KeyboardInterrupt:
        _say("error: interrupted, nothing was written")
        return FAILED
    except BrokenPipeError:
        # Who read the results, such as `head`, has had enough of them.
        _drop_stdout()
        return OK
    except PacksortError as error:
        _say(f"error: {error}", *getattr(error, "__notes__", ()))
        return FAILED
    except OSError as error:
        _drop_stdout()
        name = f"`{error.filename}`: " if error.filename is not None else ""
        _say(f"error: {name}{(error.strerror or str(error)).lower()}")
        return FAILED


def _parser() -> argparse.ArgumentParser:
    import packsort

    parser = argparse.ArgumentParser(
        prog="packsort",
        description="Packs tokenized sequences for supervised fine-tuning.",
        epilog="Results go to stdout, progress and errors to stderr. Exit status: 0 done, 1 failed, 2 wrong call.",
    )
    parser.add_argument("--version", action="version", version=f"packsort {packsort.__version__}")
    subparsers = parser.add_subparsers(required=True, metavar="COMMAND", title="commands")
    for command in COMMANDS:
        command.add_parser(subparsers)
    return parser


@contextmanager
def _terminated_as_interrupted() -> Iterator[None]:
    """Lets SIGTERM, which a scheduler sends, clean up as Ctrl-C does."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _say(*lines: str) -> None:
    for line in lines:
        print(line, file=sys.stderr)


def _drop_stdout() -> None:
    """What is still buffered has nowhere to go; the interpreter would complain about it at exit."""
    try:
        sys.stdout.flush()
    except OSError:
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, sys.stdout.fileno())
        os.close(null)
