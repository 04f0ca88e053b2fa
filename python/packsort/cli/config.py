"""Options of a command in a TOML file, under the names that they have in Python and on the command line."""

from __future__ import annotations

import argparse
import difflib
from collections.abc import Mapping, Sequence
from typing import Any

from packsort.cli.parser import GENERAL, WrongCallError, group

_NOT_IN_FILES = ("help", "config")


def add_config(parser: argparse.ArgumentParser) -> None:
    """Add `--config`."""
    group(parser, GENERAL).add_argument(
        "--config",
        metavar="FILE",
        help='TOML file of options, such as max_length = "8k"; options that are given here as well win',
    )


def find_config(argv: Sequence[str]) -> str | None:
    """Return the file that `--config` names, or None."""
    finder = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    finder.add_argument("--config")
    try:
        path: str | None = finder.parse_known_args(argv)[0].config
    except argparse.ArgumentError:  # no file follows, as the parser of the command says
        return None
    return path


def use_config(parser: argparse.ArgumentParser, path: str) -> None:
    """Make the values of a file the defaults of a command.

    Args:
        parser: Parser of the command.
        path: The file.

    Raises:
        WrongCallError: The file cannot be read, or a name or a value is not one of the command's.
    """
    actions = _by_name(parser)
    for name, value in _read(path, parser).items():
        if name.replace("-", "_") not in actions:
            close = difflib.get_close_matches(name.replace("-", "_"), actions, 3)
            hint = f": did you mean {' or '.join(f'`{one}`' for one in close)}?" if close else ""
            raise WrongCallError(f"`{path}`: `{parser.prog}` has no option `{name}`{hint}", parser)
        action, is_negated = actions[name.replace("-", "_")]
        try:
            _use(parser, action, value, is_negated)
        except (ValueError, TypeError, argparse.ArgumentTypeError) as error:
            raise WrongCallError(f"`{path}`: {name} has a wrong value {value!r}: {error}", parser) from None


def _read(path: str, parser: argparse.ArgumentParser) -> dict[str, Any]:
    import tomllib

    try:
        with open(path, "rb") as file:
            return tomllib.load(file)
    except OSError as error:
        raise WrongCallError(f"`{path}` cannot be read: {(error.strerror or str(error)).lower()}", parser) from None
    except ValueError as error:  # of TOML, or of UTF-8
        raise WrongCallError(f"`{path}` is not TOML: {error}", parser) from None


def _by_name(parser: argparse.ArgumentParser) -> dict[str, tuple[argparse.Action, bool]]:
    """Return the arguments by the names that they have in Python and as options, and whether the name negates them."""
    found = {}
    for action in parser._actions:
        if action.dest in _NOT_IN_FILES:
            continue
        for option in action.option_strings:
            name = option.lstrip("-").replace("-", "_")
            if len(name) > 1:
                found[name] = action, isinstance(action, argparse._StoreFalseAction)
        found[action.dest] = action, False
    return found


def _use(parser: argparse.ArgumentParser, action: argparse.Action, value: Any, is_negated: bool) -> None:
    """Make a value the default of an argument."""
    if action.nargs == 0:
        if not isinstance(value, bool):
            raise TypeError("it must be true or false")
        action.default = value != is_negated
        if value and not is_negated:
            _add_off(parser, action)
        return
    many = action.nargs == "+"
    if isinstance(value, list) and not many:
        raise TypeError("it must be one value")
    values = value if isinstance(value, list) else [value]
    if not values:
        raise ValueError("it must name at least one")
    converted = [_converted(action, one) for one in values]
    action.default = converted if many else converted[0]
    action.required = False
    if not action.option_strings:
        action.nargs = "*" if many else "?"


def _add_off(parser: argparse.ArgumentParser, action: argparse.Action) -> None:
    """Add the option that takes a switch of the file back."""
    option = f"--no-{action.dest.replace('_', '-')}"
    if option not in parser._option_string_actions:
        parser.add_argument(option, dest=action.dest, action="store_false", default=True, help=argparse.SUPPRESS)


def _converted(action: argparse.Action, value: Any) -> Any:
    """Return a value as the command line would give it."""
    if action.dest == "columns" and isinstance(value, Mapping):
        value = ",".join(f"{name}={column}" for name, column in value.items())
    if isinstance(value, (bool, list, Mapping)):
        raise TypeError("it must be text or a number")
    text = str(value)
    found = action.type(text) if callable(action.type) else text
    if action.choices is not None and found not in action.choices:
        raise ValueError(f"it must be one of {', '.join(map(repr, action.choices))}")
    return found
