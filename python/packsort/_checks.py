"""Checks of option values, with one wording for each rule.

`integer` decides what counts as an integer everywhere in packsort: Python integers, NumPy integers and tensors that
hold one integer do; booleans do not.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Iterable, Mapping
from typing import Any, TypeVar

from packsort.errors import OptionError
from packsort.schema import MAX_LENGTH_LIMIT, MAX_TOKEN_ID

T = TypeVar("T")

_U64 = 2**64 - 1
_SIZE = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([KMGT]?)(i?)B?\s*", re.IGNORECASE)
_POWERS = {"": 0, "K": 1, "M": 2, "G": 3, "T": 4}


def integer(name: str, value: Any, least: int | None = None, most: int | None = None, also: str = "") -> int:
    """Return `value` as an int.

    Args:
        name: The option's name.
        value: The value to check. Anything with `__index__` is an integer, except booleans.
        least: The least value, or None.
        most: The largest value, or None.
        also: What the message names as another way, such as ", or None".

    Raises:
        OptionError: `value` is no integer, or out of range.

    Example:
        >>> integer("batch_size", 0, 1)
        Traceback (most recent call last):
        packsort.errors.OptionError: batch_size must be at least 1, got 0
    """
    number = _index(value)
    if number is None:
        raise OptionError(f"{name} must be an integer{also}, got {shown(value)}")
    if least is not None and most is not None and not least <= number <= most:
        raise OptionError(f"{name} must be between {least} and {_power(most)}{also}, got {shown(number)}")
    if least is not None and number < least:
        raise OptionError(f"{name} must be at least {least}{also}, got {shown(number)}")
    if most is not None and number > most:
        raise OptionError(f"{name} must be at most {_power(most)}{also}, got {shown(number)}")
    return number


def seed(name: str, value: Any) -> int:
    """Return `value` as an int from 0 to 2**64 - 1, as seeds and epochs are."""
    return integer(name, value, 0, _U64)


def max_length(value: Any) -> int:
    """Return a `max_length` as an int."""
    return integer("max_length", value, 1, MAX_LENGTH_LIMIT)


def token_id(name: str, value: Any, vocabulary: int | None = None) -> int:
    """Return a token id as an int.

    Args:
        name: The option's name.
        value: The token id.
        vocabulary: Number of tokens of the tokenizer, or None where it is not known.
    """
    also = "" if vocabulary is None else f" (the tokenizer has {vocabulary:,} tokens)"
    return integer(name, value, 0, MAX_TOKEN_ID if vocabulary is None else vocabulary - 1, also)


def number(name: str, value: Any, least: float = 0.0, most: float | None = None, also: str = "") -> float:
    """Return a finite number as a float; booleans and text are no numbers.

    Args:
        name: The option's name.
        value: The value to check.
        least: The least value.
        most: The largest value, or None.
        also: Another way for the message to name, such as ", or None".

    Raises:
        OptionError: `value` is no number, or out of range.
    """
    try:
        if isinstance(value, (str, bytes)) or is_boolean(value):
            raise TypeError
        found = float(value)
    except (TypeError, ValueError, OverflowError):
        raise OptionError(f"{name} must be a number{also}, got {shown(value)}") from None
    if most is not None and not least <= found <= most:
        raise OptionError(f"{name} must be between {least:g} and {most:g}{also}, got {found:g}")
    if not (math.isfinite(found) and found >= least):
        raise OptionError(f"{name} must be a finite number of at least {least:g}{also}, got {value!r}")
    return found


def boolean(name: str, value: Any) -> bool:
    """Return `value` as a bool; only booleans of Python and NumPy are booleans."""
    if isinstance(value, bool):
        return value
    import numpy as np

    if not isinstance(value, np.bool_):
        raise OptionError(f"{name} must be True or False, got {shown(value)}")
    return bool(value)


def one_of(name: str, value: T, choices: Collection[Any], aliases: Mapping[str, Any] | None = None) -> T:
    """Return `value`, one of `choices`.

    Args:
        name: The option's name.
        value: The value to check.
        choices: Values that are allowed.
        aliases: Choices by their other names, or None; such a name becomes its choice.

    Example:
        >>> one_of("strategy", "greedy", ("ffd", "bfd"), {"greedy": "ffd"})
        'ffd'
        >>> one_of("strategy", "best", ("ffd", "bfd"), {"greedy": "ffd"})
        Traceback (most recent call last):
        packsort.errors.OptionError: strategy must be one of 'ffd', 'bfd' ('greedy' is 'ffd'), got 'best'
    """
    if aliases and isinstance(value, str) and value in aliases:
        found: T = aliases[value]
        return found
    if not any(value is choice or (isinstance(value, str) and value == choice) for choice in choices):
        also = "".join(f", {alias!r} is {choice!r}" for alias, choice in (aliases or {}).items())
        also = f" ({also[2:]})" if also else ""
        raise OptionError(f"{name} must be one of {listed(choices)}{also}, got {shown(value)}")
    return value


def column_names(name: str, value: Any) -> tuple[str, ...]:
    """Return names of columns as a tuple; a single name may stand alone, None is none.

    Args:
        name: The option's name.
        value: The value to check.

    Example:
        >>> column_names("keep", "source"), column_names("keep", ["source", "weight"])
        (('source',), ('source', 'weight'))
    """
    found = () if value is None else (value,) if isinstance(value, str) else value
    if isinstance(found, (list, tuple)) and all(isinstance(one, str) and one for one in found):
        for one in found:
            if found.count(one) > 1:
                raise OptionError(f"{name} must name each column once, got {one!r} twice")
        return tuple(found)
    raise OptionError(f"{name} must be names of columns, such as ['source'], got {value!r}")


def pack_number(index: Any, packs: int, where: str) -> int:
    """Return the number of the pack at an index, which counts from the end where it is negative.

    Args:
        index: The index that a user gave.
        packs: Number of packs.
        where: What holds the packs, for messages.

    Raises:
        TypeError: `index` is no integer.
        IndexError: There is no such pack.

    Example:
        >>> pack_number(-1, 3, "the plan")
        2
        >>> pack_number(1.5, 3, "the plan")
        Traceback (most recent call last):
        TypeError: pack indices must be integers or slices, got 1.5
    """
    number = _index(index)
    if number is None:
        raise TypeError(f"pack indices must be integers or slices, got {index!r}")
    if not -packs <= number < packs:
        raise IndexError(f"pack {number} is not in {where}, which has {packs} packs")
    return number % packs


def keywords(caller: str, given: Iterable[str], known: Collection[str]) -> None:
    """Refuse keyword arguments that a callable does not have.

    Args:
        caller: The callable as the user wrote it, such as "PackedLoader".
        given: Names of the keyword arguments given.
        known: Names of all keyword arguments.

    Raises:
        TypeError: One is not known, as Python itself raises it.

    Example:
        >>> keywords("plan", ["stratgy"], ["strategy", "seed"])
        Traceback (most recent call last):
        TypeError: plan() got an unexpected keyword argument 'stratgy'; did you mean 'strategy'?
    """
    for name in given:
        if name not in known:
            import difflib

            close = difflib.get_close_matches(name, list(known), 1)
            hint = f"; did you mean {close[0]!r}?" if close else ""
            raise TypeError(f"{caller}() got an unexpected keyword argument {name!r}{hint}")


def listed(choices: Iterable[Any]) -> str:
    """Join choices for a message: `'a', 'b', None`."""
    return ", ".join(map(repr, choices))


def clash(one: str, other: str, why: str) -> OptionError:
    """Return the error for two options that contradict each other.

    Args:
        one: An option with its value, such as "splittable" or "tail='drop'".
        other: The other.
        why: Why they do not go together, and the way out.
    """
    return OptionError(f"{one} does not go with {other}: {why}")


def shown(value: Any) -> str:
    """Show a value in a message, also one that Python does not show.

    Example:
        >>> shown("a"), shown(10**5000)
        ("'a'", 'a huge int')
    """
    try:
        return repr(value)
    except ValueError:  # Python writes no integer of more than 4,300 digits
        return f"a huge {type(value).__name__}"


def is_boolean(value: Any) -> bool:
    """Return whether a value is a boolean of Python or NumPy, or a tensor of booleans."""
    return isinstance(value, bool) or str(getattr(value, "dtype", "")).endswith("bool")


def _index(value: Any) -> int | None:
    if type(value) is int:
        return value
    try:
        return None if is_boolean(value) else int(value.__index__())
    except (TypeError, AttributeError, ValueError):
        return None


def _power(number: int) -> str:
    """Write the largest values of 32 and 64 bits as powers."""
    bits = (number + 1).bit_length() - 1
    return f"2**{bits} - 1" if bits >= 31 and number == 2**bits - 1 else str(number)


def byte_size(name: str, size: Any) -> int:
    """Return a size in bytes, given as an integer or as text such as "256MB" or "1GiB".

    Args:
        name: The option's name.
        size: The value to check.

    Raises:
        OptionError: It is no such number or text, or is 0.

    Example:
        >>> byte_size("shard_size", "256MB"), byte_size("shard_size", "1KiB")
        (256000000, 1024)
    """
    if not isinstance(size, str):
        return integer(name, size, 1, also=", or text such as '256MB'")
    match = _SIZE.fullmatch(size)
    if not match:
        raise OptionError(f"{name} must be a number of bytes, such as 256000000, '256MB' or '1GiB', got {size!r}")
    number, unit, binary = match.groups()
    return integer(name, int(float(number) * (1024 if binary else 1000) ** _POWERS[unit.upper()]), 1)
