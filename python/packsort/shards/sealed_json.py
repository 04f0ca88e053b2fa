"""JSON objects with a checksum over their content, read by known keys and types.

The checksum is the XXH3 of the canonical form: the object without its `checksum`, with sorted keys, no white space,
letters beyond ASCII escaped, and numbers in their shortest form. Another program may therefore format the file anew. It
finds damage and careless edits, and is no protection against malice.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, fields, is_dataclass
from enum import StrEnum
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import xxhash

CHECKSUM = "checksum"
_LARGEST = 2**64 - 1  # of seeds and epochs


def seal(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Return an object with the checksum of its content.

    Args:
        facts: The object. A checksum that it has already is replaced.

    Example:
        >>> sealed = seal({"b": 1, "a": [2]})
        >>> sealed["checksum"], sealed == seal(sealed)
        ('xxh3_128:1ebdd31ebec1e2ebcda20eb611399ea9', True)
    """
    content = {name: value for name, value in facts.items() if name != CHECKSUM}
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return {**content, CHECKSUM: f"xxh3_128:{xxhash.xxh3_128(text.encode()).hexdigest()}"}


def check_types(kind: Any, value: Any, where: str = "") -> None:
    """Check that a value of a JSON file has the keys and types of a record.

    Args:
        kind: Type of the value once it is read: a dataclass, or a type of one of its attributes. Integers are at least
            0 and fit 64 bits, and floats are finite.
        value: The value.
        where: Place of the value in the file, for messages, such as `counts.rows`.

    Raises:
        ValueError: A key is missing or not known, or a value has another type.

    Example:
        >>> check_types(dict[str, int], {"rows": 1.5}, "counts")
        Traceback (most recent call last):
        ValueError: `counts.rows` must be an integer, got 1.5
    """
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in (Union, UnionType):
        if value is None and NoneType in arguments:
            return
        alternatives = [one for one in arguments if one is not NoneType]
        check_types(_of_json_type(alternatives, value), value, where)
    elif is_dataclass(kind) and isinstance(kind, type):
        _check_record(kind, value, where)
    elif origin is Literal:
        if value not in arguments or not isinstance(value, str):
            raise _wrong(where, "one of " + ", ".join(map(repr, arguments)), value)
    elif origin in (dict, Mapping):
        for name, inner in _mapping(value, where).items():
            check_types(arguments[1], inner, _inside(where, name))
    elif origin in (tuple, Sequence):
        if not isinstance(value, (list, tuple)):
            raise _wrong(where, "a list", value)
        for index, inner in enumerate(value):
            check_types(arguments[0], inner, f"{where}[{index}]")
    else:
        _check_scalar(kind, value, where)


def _check_record(kind: type, value: Any, where: str) -> None:
    facts = _mapping(value, where)
    known = {one.name: one.default is MISSING and one.default_factory is MISSING for one in fields(kind)}
    for name in facts:
        if name not in known:
            raise ValueError(f"`{_inside(where, name)}` is not known")
    for name, kind_of_field in get_type_hints(kind).items():
        if name in facts:
            check_types(kind_of_field, facts[name], _inside(where, name))
        elif known.get(name):
            raise ValueError(f"`{_inside(where, name)}` is missing")


def _check_scalar(kind: Any, value: Any, where: str) -> None:
    is_integer = type(value) is int and 0 <= value <= _LARGEST
    if kind is int:
        if not is_integer:
            raise _wrong(where, "an integer", value)
    elif kind is float:
        if not is_integer and not (type(value) is float and math.isfinite(value)):
            raise _wrong(where, "a number", value)
    elif kind is bool:
        if type(value) is not bool:
            raise _wrong(where, "true or false", value)
    elif isinstance(kind, type) and issubclass(kind, StrEnum) and value not in set(kind):
        raise _wrong(where, "one of " + ", ".join(repr(one.value) for one in kind), value)
    elif not isinstance(value, str):
        raise _wrong(where, "a text", value)


def _of_json_type(kinds: list[Any], value: Any) -> Any:
    """Return the alternative that a value may have, or the first one, which then says what is wrong."""
    scalars = {kind: kind for kind in kinds if kind in (int, float, str, bool)}
    return scalars.get(type(value), kinds[0])


def _mapping(value: Any, where: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise _wrong(where, "an object", value)
    return value


def _wrong(where: str, rule: str, value: Any) -> ValueError:
    found = repr(value)
    return ValueError(f"`{where}` must be {rule}, got {found if len(found) <= 60 else found[:57] + '...'}")


def _inside(where: str, name: str) -> str:
    return f"{where}.{name}" if where else name
