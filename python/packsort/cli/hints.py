"""Translate the Python options that an error names into options of the running command.

The library names its options as a Python call takes them: `overwrite=True`, `overlong='drop', 'truncate' or 'split'`,
or "pass `tokenizer`". The way out of an error comes last in its message, after a colon or a semicolon.
"""

from __future__ import annotations

import argparse
import re

_VALUE = r"(?:'[^']*'|True|False|None|-?\d+(?:\.\d+)?)"
# A name in backticks may also be a column, so it counts only where the message says to pass it.
_OPTION = re.compile(
    rf"(?<![\w.])(?P<name>[a-z]\w*)=(?P<values>{_VALUE}(?:(?:, | or |, or ){_VALUE})*)"
    r"|(?:pass|set|set its|with) `(?P<bare>[a-z]\w*)`"
)
_CLAUSES = re.compile(r"[:;] ")
_COLUMNS = re.compile(r"columns=\{(?P<pairs>[^}]*)\}")
_PAIR = re.compile(r"'([^']+)': (?:'([^']+)'|\.\.\.)")


def hint(message: str, parser: argparse.ArgumentParser) -> str | None:
    """Return the options of a command that an error's way out names in words, or None if it names none.

    Args:
        message: The text of an error.
        parser: Parser of the command.

    Example:
        >>> parser = argparse.ArgumentParser()
        >>> _ = parser.add_argument("--overwrite", action="store_true")
        >>> _ = parser.add_argument("--overlong", choices=["error", "drop"])
        >>> hint("folder `out` is not empty; pass overwrite=True to replace it", parser)
        '`--overwrite`'
        >>> hint("50 tokens, more than max_length 40: pass overlong='drop' or 'split' to pack the others", parser)
        '`--overlong drop`'
    """
    flags = [f"`{flag}`" for flag in named_options(message, parser)]
    return " or ".join([", ".join(flags[:-1]), flags[-1]] if len(flags) > 1 else flags) or None


def named_options(message: str, parser: argparse.ArgumentParser) -> list[str]:
    """Return the options of a command that an error's way out names, as they are typed.

    Args:
        message: The text of an error.
        parser: Parser of the command.
    """
    actions = {action.dest: action for action in parser._actions if action.option_strings}
    way_out = _CLAUSES.split(_COLUMNS.sub("", message))[-1]
    found: list[str] = []
    if "columns" in actions:
        for match in _COLUMNS.finditer(message):
            pairs = [f"{name}={column or 'COLUMN'}" for name, column in _PAIR.findall(match["pairs"])]
            found.append(f"--columns {','.join(pairs)}")
    for match in _OPTION.finditer(way_out):
        action = actions.get(match["name"] or match["bare"])
        if action is not None:
            found += _flags(action, match["values"])
    return list(dict.fromkeys(found))


def _flags(action: argparse.Action, values: str | None) -> list[str]:
    """Write an option with each of its values as the command takes them."""
    flag = action.option_strings[-1]
    if action.nargs == 0:  # a switch has no value on the command line
        return [flag] if values in (None, "True") else []
    if values is None:
        return [f"{flag} {action.metavar or action.dest.upper()}"]
    texts = [text.strip("'") for text in re.findall(_VALUE, values)]
    return [f"{flag} {text}" for text in texts if action.choices is None or text in action.choices]
