"""Parsers of commands: one line of usage, groups in one order, examples, and options that every command has."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any, NoReturn

REQUIRED, SHOWING, RUNNING, PACKING = "required", "showing", "running the model", "packing"
SEARCH, TOKENIZING, READING = "search, for --strategy optimal", "tokenizing", "reading"
OUTPUT, GENERAL = "output", "general"
_ORDER = (REQUIRED, SHOWING, RUNNING, PACKING, SEARCH, TOKENIZING, READING, OUTPUT, GENERAL)
_EXAMPLES = "examples:\n"

Subparsers = Any  # argparse._SubParsersAction[argparse.ArgumentParser]


class WrongCallError(Exception):
    """Arguments that cannot be parsed.

    Attributes:
        parser: Parser of the command.
    """

    def __init__(self, message: str, parser: argparse.ArgumentParser) -> None:
        super().__init__(message)
        self.parser = parser


class Parser(argparse.ArgumentParser):
    """Parser that raises `WrongCallError` where arguments cannot be parsed."""

    def error(self, message: str) -> NoReturn:
        """Refuse arguments."""
        raise WrongCallError(message, self)


class Formatter(argparse.HelpFormatter):
    """Formatter that keeps the lines of examples."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        before, examples, calls = text.partition(_EXAMPLES)
        return (super()._fill_text(before, width, indent) + "\n\n" if before else "") + examples + calls


def add_command(
    subparsers: Subparsers, name: str, *, usage: str, help: str, description: str, examples: Sequence[str]
) -> argparse.ArgumentParser:
    """Add a command, with the groups and options that commands share.

    Args:
        subparsers: Parsers of the commands.
        name: Name of the command.
        usage: Arguments that a call needs, in one line.
        help: What the command does, in one line.
        description: The same at length.
        examples: Calls that work, each in one line or several.

    Returns:
        The parser of the command.
    """
    parser: argparse.ArgumentParser = subparsers.add_parser(
        name,
        help=help,
        prog=f"packsort {name}",
        usage=f"packsort {name} {usage} [options]",
        description=description,
        epilog=in_examples(examples),
        formatter_class=Formatter,
        add_help=False,
    )
    for title in _ORDER:  # groups without arguments are not shown
        group(parser, title)
    general = group(parser, GENERAL)
    general.add_argument("-h", "--help", action="help", help="show this help")
    return parser


def in_examples(calls: Sequence[str]) -> str:
    """Return calls as the end of a help; the lines of one call are those of a shell."""
    return _EXAMPLES + "".join("  " + call.replace("\n", " \\\n      ") + "\n" for call in calls)


def group(parser: argparse.ArgumentParser, title: str) -> argparse._ArgumentGroup:
    """Return the group of a parser with a title; make it where there is none."""
    for one in parser._action_groups:
        if one.title == title:
            return one
    return parser.add_argument_group(title)
