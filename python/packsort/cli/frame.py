"""The frame that commands share: arguments in, exit status out, errors and hints on stderr.

A command is a module with `add_parser(subparsers)`, which sets `run=run` among the parser's defaults, and `run(args)`,
which returns the exit status. Slow imports are inside `run`, so that `--help` is quick.
"""

from __future__ import annotations

import argparse
import difflib
import os
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from packsort.cli import check, compare, completion, experiment, export, inspect, pack, plan, tokenize, verify
from packsort.cli.hints import hint
from packsort.cli.interrupts import Interrupts
from packsort.cli.output import give_up, prepare_streams, tell
from packsort.cli.parser import Formatter, Parser, WrongCallError, in_examples
from packsort.errors import PacksortError

COMMANDS = (pack, tokenize, plan, compare, inspect, verify, check, export, experiment, completion)
_EXAMPLES = (
    "packsort pack chats.jsonl -o packed --max-length 8k\n--tokenizer Qwen/Qwen3-0.6B",
    "packsort verify packed --source chats.jsonl",
)
OK, FAILED, WRONG_CALL = 0, 1, 2


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
            args = _parse(argv)
        except SystemExit:  # after --help and --version
            sys.stdout.flush()
            return OK
        parser = args.parser
        with _warnings_as_lines(parser):
            status: int = args.run(args)
            sys.stdout.flush()
        return status
    except WrongCallError as error:
        tell(*error.parser.format_usage().splitlines(), f"error: {error}")
        return WRONG_CALL
    except KeyboardInterrupt:
        tell(f"error: {interrupts.message()}")
        return interrupts.status
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


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Parse arguments.

    Raises:
        WrongCallError: They cannot be parsed.
        SystemExit: The help or the version was asked for, and is printed.
    """
    parser = _parser()
    if "_ARGCOMPLETE" in os.environ:  # a shell asks what comes next
        from packsort.cli.completion import complete

        complete(parser)
    args, unknown = parser.parse_known_args(argv)
    if unknown:
        known = [option for action in args.parser._actions for option in action.option_strings]
        close = difflib.get_close_matches(unknown[0].partition("=")[0], known, 1)
        hint = f": did you mean {close[0]}?" if close else ""
        raise WrongCallError(f"unrecognized arguments: {' '.join(unknown)}{hint}", args.parser)
    return args


def _parser() -> argparse.ArgumentParser:
    import packsort

    parser = Parser(
        prog="packsort",
        usage="packsort COMMAND ... [options]",
        description="Pack tokenized sequences for supervised fine-tuning.",
        epilog="`packsort COMMAND --help` shows the options of a command, with examples. Results go to stdout, "
        "progress and errors to stderr. Exit status: 0 success, 1 failure, 2 wrong arguments, 130 after Ctrl-C. "
        + in_examples(_EXAMPLES),
        formatter_class=Formatter,
    )
    parser.add_argument("--version", action="version", version=f"packsort {packsort.__version__}")
    subparsers = parser.add_subparsers(required=True, metavar="COMMAND", title="commands")
    for command in COMMANDS:
        command.add_parser(subparsers)
    for subparser in subparsers.choices.values():
        subparser.set_defaults(parser=subparser)
    return parser


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
