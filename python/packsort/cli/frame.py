"""The frame that commands share: arguments in, exit status out, errors and hints on stderr.

A command is a module with `add_parser(subparsers)`, which sets `run=run` among the parser's defaults, and `run(args)`,
which returns the exit status. Slow imports are inside `run`, so that `--help` is quick.
"""

from __future__ import annotations

import argparse
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NoReturn

from packsort.cli import check, compare, export, inspect, pack, plan, tokenize, verify
from packsort.cli.hints import hint
from packsort.cli.interrupts import FAILED, Interrupts
from packsort.cli.output import give_up, prepare_streams, shown, tell
from packsort.errors import PacksortError

COMMANDS = (pack, tokenize, plan, compare, inspect, verify, check, export)
OK, WRONG_CALL = 0, 2


def run(argv: Sequence[str] | None, interrupts: Interrupts) -> int:
    """Run one command; see `packsort.cli.main`."""
    with prepare_streams() as is_open:
        if not is_open:
            tell("error: stdout is closed: open it, or send it to /dev/null")
            return FAILED
        return _run(argv, interrupts)


def _run(argv: Sequence[str] | None, interrupts: Interrupts) -> int:
    parser = None
    try:
        try:
            args = _parser().parse_args(argv)
        except SystemExit as stop:
            sys.stdout.flush()
            return stop.code if isinstance(stop.code, int) else WRONG_CALL
        parser = args.parser
        with _warnings_as_lines(parser):
            status: int = args.run(args)
            sys.stdout.flush()
        return status
    except KeyboardInterrupt:
        tell(f"error: {interrupts.message()}")
        return FAILED
    except BrokenPipeError:
        # The reader of the results, such as `head`, needs no more.
        _drop_stdout()
        return OK
    except MemoryError as error:
        tell(f"error: {error}" if str(error) else "error: out of memory")
        return FAILED
    except PacksortError as error:
        tell(f"error: {error}", *getattr(error, "__notes__", ()))
        _say_hint(str(error), parser)
        return FAILED
    except OSError as error:
        _drop_stdout()
        name = f"`{error.filename}`: " if error.filename is not None else ""
        whole = "".join(f"`{path}` is written, but not its summary: " for path in interrupts.outputs.whole)
        tell(f"error: {whole}{name}{(error.strerror or str(error)).lower()}")
        return FAILED


def _parser() -> argparse.ArgumentParser:
    import packsort

    parser = _Parser(
        prog="packsort",
        description="Pack tokenized sequences for supervised fine-tuning.",
        epilog="Results go to stdout, progress and errors to stderr. Exit status: 0 success, 1 failure, 2 wrong "
        "arguments.",
    )
    parser.add_argument("--version", action="version", version=f"packsort {packsort.__version__}")
    subparsers = parser.add_subparsers(required=True, metavar="COMMAND", title="commands")
    for command in COMMANDS:
        command.add_parser(subparsers)
    for subparser in subparsers.choices.values():
        subparser.set_defaults(parser=subparser)
    return parser


class _Parser(argparse.ArgumentParser):
    """Parser of commands and their options."""

    def error(self, message: str) -> NoReturn:
        """Refuse arguments, which the message repeats."""
        super().error(shown(message))


@contextmanager
def _warnings_as_lines(parser: argparse.ArgumentParser) -> Iterator[None]:
    """Show the warnings that packsort and its libraries have for users as lines, without places in the code."""
    with warnings.catch_warnings():
        show = warnings.showwarning

        def show_line(message: Warning | str, category: type[Warning], *place: Any, **more: Any) -> None:
            if category is UserWarning:
                tell(f"warning: {message}")
                _say_hint(str(message), parser)
            else:
                show(message, category, *place, **more)

        warnings.showwarning = show_line
        yield


def _say_hint(message: str, parser: argparse.ArgumentParser | None) -> None:
    if parser is not None and (flags := hint(message, parser)):
        tell(f"hint: use {flags}")


def _drop_stdout() -> None:
    """Discard what is buffered: it has nowhere to go, and the interpreter would complain about it at exit."""
    try:
        sys.stdout.flush()
    except OSError:
        give_up(sys.stdout)
