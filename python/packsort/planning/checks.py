"""Options of plans: values that are allowed, and messages that say which are."""

from __future__ import annotations

import numpy as np

from packsort.errors import OptionError

_MAX_LENGTH = 2**31 - 1


def check_max_length(max_length: int) -> int:
    """`max_length` as an int, or an OptionError that says what is allowed."""
    limit = integer("max_length", max_length)
    if not 1 <= limit <= _MAX_LENGTH:
        raise OptionError(f"max_length is {limit}, allowed is 1 to {_MAX_LENGTH}")
    return limit


def integer(name: str, value: int) -> int:
    """`value` as an int, or an OptionError."""
    try:
        if isinstance(value, (bool, np.bool_)):
            raise TypeError
        return int(value.__index__())
    except (TypeError, AttributeError):
        raise OptionError(f"{name} is {value!r}, allowed is an integer") from None


def count(name: str, value: int, more: str = "") -> int:
    """`value` as an int of 1 and more; `more` is what the message adds."""
    number = integer(name, value)
    if not 1 <= number < 2**32:
        raise OptionError(f"{name} is {number}, allowed is 1 to 2**32 - 1{more}")
    return number


def one_of(name: str, value: str, allowed: tuple[str, ...]) -> str:
    """`value`, or an OptionError that says what is allowed."""
    if value not in allowed:
        raise OptionError(f"{name} is {value!r}, allowed are {listed(allowed)}")
    return value


def listed(names: tuple[str, ...]) -> str:
    """Names as messages have them."""
    return ", ".join(map(repr, names))


def clash(one: str, other: str, why: str) -> OptionError:
    """The error for two options that contradict each other."""
    return OptionError(f"{one} and {other} clash: {why}")


def natural(name: str, value: int) -> int:
    """`value` as an int of 0 and more that fits 64 bits."""
    number = integer(name, value)
    if not 0 <= number < 2**64:
        raise OptionError(f"{name} is {number}, allowed is 0 to 2**64 - 1")
    return number
