"""The frame that commands share: arguments in, exit status out, errors and hints on stderr.

A command is a module with `add_parser(subparsers)`, which sets `run=run` among the parser's defaults, and `run(args)`,
which returns the exit status. Slow imports are inside `run`, so that `--help` is quick.
"""

from __future__ import annotations

import argparse
import difflib
import os
import sys
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from packsort.cli import check, compare, completion, experiment, export, inspect, pack, plan, progress, tokenize, verify
from packsort.cli.config import add_config, find_config, use_config
from packsort.cli.hints import hint, named_options
from packsort.cli.interrupts import Interrupts
from packsort.cli.logs import add_verbosity, show_logs
from packsort.cli.output import give_up, prepare_streams, tell
from packsort.cli.parser import Formatter, Parser, WrongCallError, in_examples
from packsort.cli.results import say_failure
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
        return _run(sys.argv[1:] if argv is None else list(argv), interrupts)


def _run(argv: list[str], interrupts: Interrupts) -> int:
    args = argparse.Namespace(
        command=None, parser=None, json="--json" in argv, warnings=[], started=time.perf_counter()
    )
    interrupts.say = lambda message, status: _as_json(args, "Interrupted", message, status)
    try:
        try:
            _parse(argv, args)
        except SystemExit:  # after --help and --version
            sys.stdout.flush()
            return OK
        with _warnings_as_lines(args), show_logs(quiet=args.quiet, verbose=args.verbose), progress.current():
            status: int = args.run(args)
            sys.stdout.flush()
        return status
    except WrongCallError as error:
        tell(*error.parser.format_usage().splitlines(), f"error: {error}")
        return _as_json(args, "WrongCall", str(error), WRONG_CALL)
    except KeyboardInterrupt:
        tell(f"error: {interrupts.message()}")
        return _as_json(args, "Interrupted", interrupts.message(), interrupts.status)
    except BrokenPipeError:
        # The reader of the results, such as `head`, needs no more.
        _drop_stdout()
        return OK
    except MemoryError as error:
        message = str(error) or "out of memory"
        tell(f"error: {message}")
        return _as_json(args, "MemoryError", message, FAILED)
    except PacksortError as error:
        tell(f"error: {error}", *getattr(error, "__notes__", ()))
        _say_hint(str(error), args.parser)
        places = {name: getattr(error, name) for name in ("row", "length") if hasattr(error, name)}
        return _as_json(args, type(error).__name__, str(error), FAILED, places)
    except OSError as error:
        _drop_stdout()
        name = f"`{error.filename}`: " if error.filename is not None else ""
        whole = "".join(f"`{path}` is written, but not its summary: " for path in interrupts.outputs.whole)
        message = f"{whole}{name}{(error.strerror or str(error)).lower()}"
        tell(f"error: {message}")
        return _as_json(args, "OSError", message, FAILED)


def _as_json(
    args: argparse.Namespace, kind: str, message: str, status: int, facts: Mapping[str, Any] | None = None
) -> int:
    """Print an error as JSON where the command prints JSON, and return its exit status."""
    if args.json:
        hints = [] if args.parser is None else named_options(message, args.parser)
        with suppress(OSError):  # stdout may be what failed
            say_failure(args, kind, message, hints=hints, status=status, facts=facts or {})
            sys.stdout.flush()
    return status


def _parse(argv: Sequence[str], args: argparse.Namespace) -> None:
    """Parse arguments, and set them as attributes of `args`.

    Raises:
        WrongCallError: They cannot be parsed.
        SystemExit: The help or the version was asked for, and is printed.
    """
    parser = _parser()
    if "_ARGCOMPLETE" in os.environ:  # a shell asks what comes next
        from packsort.cli.completion import complete

        complete(parser)
    commands = parser.get_default("commands")
    if (path := find_config(argv)) is not None and argv[0] in commands:
        use_config(commands[argv[0]], path)
    try:
        _, unknown = parser.parse_known_args(argv, args)
    except WrongCallError as error:
        # argparse misses a required option before it sees an unknown one, which may be that option, mistyped.
        known = _options(error.parser)
        names = [one.partition("=")[0] for one in argv if one.startswith("--")]
        unknown = [name for name in names if not any(option.startswith(name) for option in known)]
        if not unknown or "required" not in str(error):
            raise
        args.parser = error.parser
    if unknown:
        close = difflib.get_close_matches(unknown[0].partition("=")[0], _options(args.parser), 1)
        hint = f": did you mean {close[0]}?" if close else ""
        raise WrongCallError(f"unrecognized arguments: {' '.join(unknown)}{hint}", args.parser)


def _options(parser: argparse.ArgumentParser) -> list[str]:
    return [option for action in parser._actions for option in action.option_strings]


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
    subparsers = parser.add_subparsers(dest="command", required=True, metavar="COMMAND", title="commands")
    for command in COMMANDS:
        command.add_parser(subparsers)
    for subparser in subparsers.choices.values():
        subparser.set_defaults(parser=subparser)
        add_verbosity(subparser)
        add_config(subparser)
    parser.set_defaults(commands=subparsers.choices)
    return parser


@contextmanager
def _warnings_as_lines(args: argparse.Namespace) -> Iterator[None]:
    """Show the warnings that packsort and its libraries have for users as lines, without places in the code.

    They are also added to `args.warnings`.
    """
    with warnings.catch_warnings():
        show = warnings.showwarning

        def show_line(message: Warning | str, category: type[Warning], *place: Any, **more: Any) -> None:
            if category is UserWarning:
                tell(f"warning: {message}")
                _say_hint(str(message), args.parser)
                args.warnings.append(str(message))
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
