"""Checks of the filters and methods of chat templates whose result may be much larger than what they are given.

A check is called with the limits, the value and the arguments of a filter or method, and raises where these ask for too
much.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from packsort.tokenization.limits import Limits

Check = Callable[..., None]
"""Called with limits, a value, and the arguments."""


def _width(limits: Limits, value: Any, width: Any = 0, *more: Any, **named: Any) -> None:
    limits.check_size(_integer(named.get("width", width)))


def _tabs(limits: Limits, value: Any, tabsize: Any = 8) -> None:
    limits.check_size(len(value) + value.count("\t" if isinstance(value, str) else b"\t") * _integer(tabsize))


def _replace(limits: Limits, value: Any, old: Any = "", new: Any = "", *more: Any, **named: Any) -> None:
    old, new = named.get("old", old), named.get("new", new)
    if _length(value) * _length(new) > limits.size:  # counting takes time
        limits.check_size(_length(value) + value.count(old) * _length(new))


def _join(limits: Limits, items: Any, glue: Any = "", *more: Any, **named: Any) -> None:
    if isinstance(items, (list, tuple, dict)):
        limits.check_size(sum(map(_length, items)) + len(items) * _length(named.get("d", glue)))
    else:
        limits.check_size(_length(items) * (1 + _length(named.get("d", glue))))


def _joined(limits: Limits, glue: Any, items: Any = ()) -> None:
    _join(limits, items, glue)


def _indent(limits: Limits, value: Any, width: Any = 4, *more: Any, **named: Any) -> None:
    width = named.get("width", width)
    lines = str(value).count("\n") + 1
    limits.check_size(_length(value) + lines * (_length(width) if isinstance(width, str) else _integer(width)))


def _wrap(limits: Limits, value: Any, *given: Any, **named: Any) -> None:
    limits.check_size(_length(value) * (1 + max(map(_length, (*given, *named.values())), default=0)))


def _numbers(limits: Limits, value: Any, *given: Any, **named: Any) -> None:
    for one in (*given, *named.values()):
        limits.check_items(_integer(one))


def _sum(limits: Limits, value: Any, *given: Any, **named: Any) -> None:
    sizes = sum(map(_length, value))  # lists are copied once for each item
    limits.check_items(len(value) * sizes // 2)


def _round(limits: Limits, value: Any, precision: Any = 0, *more: Any, **named: Any) -> None:
    limits.check_bits(4 * abs(_integer(named.get("precision", precision))))


def _format(limits: Limits, value: Any, *given: Any, **named: Any) -> None:
    limits.check_widths(value, [*given, *named.values()])


def _format_map(limits: Limits, value: Any, given: Any = ()) -> None:
    limits.check_widths(value, list(given.values()) if isinstance(given, dict) else [])


def _coded(limits: Limits, value: Any, *given: Any, **named: Any) -> None:
    limits.check_size(10 * _length(value))  # a character as `\\U0001f600`


def _translate(limits: Limits, value: Any, table: Any = ()) -> None:
    values = table.values() if isinstance(table, dict) else table
    limits.check_size(_length(value) * max(map(_length, values), default=1))


def lipsum(limits: Limits, n: Any = 5, html: Any = True, min: Any = 20, max: Any = 100) -> None:
    """Check the arguments of Jinja's `lipsum`, which makes paragraphs of words."""
    limits.check_items(_integer(n) * _integer(max))


def _only_list(limits: Limits, value: Any, *given: Any, **named: Any) -> None:
    """Nothing more: items that come one after another are counted for every filter of the table."""


def _length(value: Any) -> int:
    return len(value) if isinstance(value, (str, bytes, list, tuple, dict)) else 1


def _integer(value: Any) -> int:
    return value if isinstance(value, int) else 0


FILTERS: dict[str, Check] = {
    "batch": _numbers,
    "center": _width,
    "format": _format,
    "indent": _indent,
    "join": _join,
    "list": _only_list,
    "replace": _replace,
    "round": _round,
    "slice": _numbers,
    "sum": _sum,
    "tojson": _numbers,
    "wordwrap": _wrap,
}
METHODS: dict[str, Check] = {
    "center": _width,
    "decode": _coded,
    "encode": _coded,
    "expandtabs": _tabs,
    "format": _format,
    "format_map": _format_map,
    "hex": _coded,
    "join": _joined,
    "ljust": _width,
    "replace": _replace,
    "rjust": _width,
    "to_bytes": _width,
    "translate": _translate,
    "zfill": _width,
}
