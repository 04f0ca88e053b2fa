"""Check the names and types of a plan's stored parts, so that the core is asked about their values only."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from packsort.errors import DamagedError

_U32, _U64 = 2**32 - 1, 2**64 - 1
_NUMBERS = {
    "max_length": _U32,
    "max_sequences": _U32,
    "pad_multiple": _U32,
    "packs_multiple": _U32,
    "num_overlong": _U64,
    "tokens_lost": _U64,
    "num_empty": _U64,
    "seed": _U64,
    "epoch": _U64,
}
"""The largest value of each number of a plan."""
_OPTIONAL = frozenset({"num_empty", "order"})  # a plan made from counts lists no ids
_NAMES_OF_OPTIONS = ("strategy", "overlong")
_FLAGS = ("keep_end", "separated")
# Plans of patterns have more numbers, flags and arrays than those of `random`.
_PATTERNED_NUMBERS = {"rows": _U64, "proven": _U64}
_PATTERNED_FLAGS = ("last_alone",)
_PATTERNED_ARRAYS = (
    "cut_rows",
    "cut_rests",
    "piece_rows",
    "piece_starts",
    "class_lengths",
    "class_first",
    "group_first",
    "repeats",
    "slot_offsets",
    "slot_classes",
    "slot_copies",
)
_RANDOM_ARRAYS = ("skipped_rows", "skipped_tokens")


def check_parts(stored: Mapping[str, Any]) -> None:
    """Check that parts from a file or a pickle are all that a plan has, each of its type.

    Args:
        stored: Value of each part by its stored name.

    Raises:
        DamagedError: A part is missing, unknown or of another type.
    """
    import numpy as np

    if not isinstance(stored, Mapping):
        raise DamagedError(f"parts of a plan must be a mapping, got a {type(stored).__name__}")
    is_random = _is_name(stored.get("strategy")) and stored["strategy"] == "random"
    numbers = _NUMBERS if is_random else _NUMBERS | _PATTERNED_NUMBERS
    if _is_name(stored.get("strategy")) and stored["strategy"] == "in_order":
        numbers = numbers | {"window": _U32}
    flags = _FLAGS if is_random else _FLAGS + _PATTERNED_FLAGS
    arrays: dict[str, tuple[str, ...]] = dict.fromkeys(_RANDOM_ARRAYS if is_random else _PATTERNED_ARRAYS, ("int64",))
    arrays["lengths" if is_random else "order"] = ("uint32",) if is_random else ("uint32", "int64")
    known = {*numbers, *flags, *arrays, *_NAMES_OF_OPTIONS}
    for name in stored:
        if name not in known:
            raise DamagedError(f"a plan has no part {_short(name)}")
    for name in sorted(known - _OPTIONAL):
        if name not in stored:
            raise DamagedError(f"the plan has no `{name}`")
    for name, value in stored.items():
        if name in numbers:
            if not (name == "seed" and value is None) and not (type(value) is int and 0 <= value <= numbers[name]):
                raise _wrong(name, f"an integer from 0 to {numbers[name]}", value)
        elif name in flags:
            if type(value) is not bool:
                raise _wrong(name, "True or False", value)
        elif name in arrays:
            if not isinstance(value, np.ndarray) or value.ndim != 1 or value.dtype not in map(np.dtype, arrays[name]):
                raise _wrong(name, f"an array of {' or '.join(arrays[name])}", value)
        elif not _is_name(value):
            raise _wrong(name, "a name", value)


def _is_name(value: Any) -> bool:
    """Return whether a value is text that can be encoded and printed, as not all text of JSON can."""
    return type(value) is str and value.isascii() and value.isprintable()


def _wrong(name: str, rule: str, value: Any) -> DamagedError:
    return DamagedError(f"`{name}` must be {rule}, got {_short(value)}")


def _short(value: Any) -> str:
    """Show a value of any kind and size."""
    if type(value) is int and value.bit_length() > 128:
        return "a number of more than 128 bits"
    found = ascii(value[:60] if type(value) in (str, bytes) else value) if _is_plain(value) else type(value).__name__
    return found if len(found) <= 60 else found[:57] + "..."


def _is_plain(value: Any) -> bool:
    return value is None or type(value) in (bool, int, float, str, bytes)
