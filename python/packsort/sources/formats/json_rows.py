"""Rows of JSON text as Python objects: slower than pyarrow, but exact, and with words for what is wrong."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

MAX_DEPTH = 100

Row = dict[str, Any]

_SPACE = re.compile(r"[ \t\r\n]*")
_KINDS = {dict: "an object", list: "a list", str: "text", bool: "a boolean", int: "a number", float: "a number"}


class JsonError(Exception):
    """Fault in JSON text.

    Attributes:
        line: Newlines before it in the text, or None if not known.
        row: Rows before it in the text, or None if not known.
    """

    def __init__(self, what: str, line: int | None, row: int | None) -> None:
        super().__init__(what)
        self.line = line
        self.row = row


def _object(pairs: list[tuple[str, Any]]) -> Row:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise _DuplicateKeyError(f"key `{twice}` is there twice in one object")
    return found


class _DuplicateKeyError(Exception):
    pass


_decode = json.JSONDecoder(object_pairs_hook=_object).raw_decode


def skip_space(text: str, at: int) -> int:
    """Return the position of the first character from `at` on that is not white space, or the end."""
    found = _SPACE.match(text, at)
    assert found is not None
    return found.end()


def read_row(text: str, at: int, row: int) -> tuple[Row, int]:
    """Read one JSON object.

    Args:
        text: The text.
        at: Position where the object begins.
        row: Rows before it, for messages.

    Returns:
        The object, and the position after it.

    Raises:
        JsonError: There is no valid JSON, a value that is no object, a key twice in one object, or too deep a nesting.
        json.JSONDecodeError: The text ends before the object does.
    """
    try:
        value, end = _decode(text, at)
    except json.JSONDecodeError as error:
        # Text that is cut off is faulty at its end, except that a string is named by its beginning.
        if error.pos >= len(text) - 16 or error.msg.startswith("Unterminated string"):
            raise
        raise invalid(error, text, row) from error
    except _DuplicateKeyError as error:
        raise JsonError(f"{error}; keep one", text.count("\n", 0, at), row) from error
    except RecursionError as error:
        raise _too_deep(text, at, row) from error
    if not isinstance(value, dict):
        fault = f"a row must be a JSON object, got {kind_of(value)}"
        raise JsonError(fault, text.count("\n", 0, at), row)
    if _depth(value) > MAX_DEPTH:
        raise _too_deep(text, at, row)
    return value, end


def invalid(error: json.JSONDecodeError, text: str, row: int) -> JsonError:
    """Return the fault of text that is not valid JSON."""
    reason = (error.msg[0].lower() + error.msg[1:]).removesuffix(" at").removesuffix(" starting")
    at_end = error.pos >= len(text.rstrip())
    # What is missing is missing at the end of the line before, not where the next one begins.
    place = len(text[: error.pos].rstrip()) if at_end or "delimiter" in reason else error.pos
    before = text.rfind("\n", 0, place)
    fault = f"not valid JSON: {reason} at character {place - before}"
    if at_end or reason.startswith("unterminated"):
        fault += "; is the file cut off?"
    return JsonError(fault, text.count("\n", 0, place), row)


def read_rows(text: str) -> Iterator[Row]:
    """Read JSON objects that follow one another, with nothing but white space between them.

    Raises:
        JsonError: As for `read_row`, also for an object that is cut off.

    Example:
        >>> list(read_rows('{"a": 1}' + '{"a": 2}'))
        [{'a': 1}, {'a': 2}]
    """
    at, row = skip_space(text, 0), 0
    while at < len(text):
        try:
            value, at = read_row(text, at, row)
        except json.JSONDecodeError as error:
            raise invalid(error, text, row) from error
        yield value
        at = skip_space(text, at)
        row += 1


def kind_of(value: Any) -> str:
    """Name the kind of a JSON value for a message."""
    return _KINDS.get(type(value), "null")


def _depth(value: Any) -> int:
    """Return how deep lists and objects are nested."""
    depth, level = 0, [value]
    while level:
        depth += 1
        inner = [item.values() if isinstance(item, dict) else item for item in level if isinstance(item, (dict, list))]
        level = [item for items in inner for item in items if isinstance(item, (dict, list))]
    return depth


def _too_deep(text: str, at: int, row: int) -> JsonError:
    return JsonError(f"JSON is nested deeper than {MAX_DEPTH} levels", text.count("\n", 0, at), row)
