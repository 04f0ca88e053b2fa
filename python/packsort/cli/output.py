"""Output of commands: names and foreign text cannot command the terminal, and every stream can hold every letter.

Text that comes from elsewhere, such as names of files, columns and splits, and messages of other libraries, goes
through `shown`. `prepare_streams` makes streams that are closed, or whose encoding lacks letters, safe to print to.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, TextIO

# Control characters of 7 and 8 bits, marks that turn the direction of text, and halves of letters that are no UTF-8.
_UNSEEN = re.compile("[\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
_COMMANDS = re.compile(f"[\x00-\x1f]|{_UNSEEN.pattern}")


def shown(text: object) -> str:
    r"""Return text for one line, in which characters that command a terminal are escaped.

    Args:
        text: The text, or what turns into it.

    Example:
        >>> shown("red\x1b[31m\nok: 3 packs")
        'red\\x1b[31m\\nok: 3 packs'
    """
    return _COMMANDS.sub(lambda found: ascii(found[0])[1:-1], str(text))


def line_width(stream: TextIO | None = None) -> int | None:
    """Return the columns of a stream: `COLUMNS`, or those of the terminal, or None for a pipe without `COLUMNS`.

    Args:
        stream: The stream; None is stdout.
    """
    if os.environ.get("COLUMNS", "").isdecimal() or (stream or sys.stdout).isatty():
        return shutil.get_terminal_size().columns
    return None


def wrapped(text: str, width: int | None) -> str:
    """Return a sentence in lines of a width, whole words only, further lines indented; None is one line."""
    if width is None or len(text) <= width:
        return text
    return textwrap.fill(text, width, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)


def say(*lines: object) -> None:
    """Print lines on stdout, as they are: others may read them."""
    for line in lines:
        print(shown(line))


def say_text(*sentences: object) -> None:
    """Print sentences on stdout, in lines that fit."""
    for sentence in sentences:
        print(wrapped(shown(sentence), line_width()))


def tell(*sentences: object) -> None:
    """Print sentences on stderr, on a terminal in lines that fit; where it cannot be written, nobody is told."""
    try:
        width = line_width(sys.stderr) if sys.stderr.isatty() else None
        for sentence in sentences:
            print(wrapped(shown(sentence), width), file=sys.stderr)
        sys.stderr.flush()
    except OSError:
        give_up(sys.stderr)


def give_up(stream: TextIO) -> None:
    """Send what a stream still holds to nowhere: it cannot be written, and would fail again as the process ends."""
    with suppress(OSError, ValueError):
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, stream.fileno())
        os.close(null)


def say_json(facts: dict[str, Any]) -> None:
    """Print an object as JSON on stdout, letters as they are and the rest escaped."""
    text = json.dumps(facts, ensure_ascii=False)
    print(_UNSEEN.sub(lambda found: f"\\u{ord(found[0]):04x}", text))


@contextmanager
def prepare_streams() -> Iterator[bool]:
    """Make streams print every letter, escaped where their encoding lacks it, and yield whether stdout is open.

    A number that a closed stream leaves free would go to the next file that is opened, and what is printed into it.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    is_open = sys.stdout is not None
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115 - for the rest of the process
    before = [(stream, getattr(stream, "errors", None)) for stream in (sys.stdout, sys.stderr)]
    for stream, errors in before:
        if errors == "strict" or errors == "surrogateescape":
            stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    try:
        yield is_open
    finally:
        for stream, errors in before:
            with suppress(OSError, ValueError):
                if errors in ("strict", "surrogateescape"):
                    stream.reconfigure(errors=errors)  # type: ignore[union-attr]
