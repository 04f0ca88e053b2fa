"""Checks of the states of loaders and streams, with one wording for each rule.

A state comes from a checkpoint, which another version may have written, and which may be damaged. `bool`, `float` and
`str` are never numbers here, and a key that is not known is refused: what is not understood is not resumed.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import torch

from packsort import _checks
from packsort.errors import OptionError

LARGEST = 2**64 - 1
"""Largest epoch, and number of sequences or packs."""


def wrong(why: str) -> OptionError:
    """Return the error for a state that no loader and no stream has returned.

    Args:
        why: What is wrong with it.
    """
    return OptionError(f"state must be one that `state_dict` returned: {why}")


def mapping(name: str, value: Any, required: Collection[str], optional: Collection[str] = ()) -> dict[str, Any]:
    """Return a part of a state as a dict, if it has the keys that it must have and no others.

    Args:
        name: Place of the part in the state, for messages.
        value: The part.
        required: Keys that it must have.
        optional: Keys that it may have.

    Raises:
        OptionError: It is no mapping, a key is missing, or one is not known.
    """
    if not isinstance(value, Mapping):
        raise wrong(f"{name} must be a mapping, got a {type(value).__name__}")
    for key in required:
        if key not in value:
            raise wrong(f"{name} has no {key!r}")
    for key in value:
        if key not in required and key not in optional:
            raise wrong(f"{name} has {_checks.shown(key)}, which is not known: a newer packsort may have written it")
    return dict(value)


def integer(name: str, value: Any, least: int = 0, most: int = LARGEST) -> int:
    """Return an integer of a state.

    Raises:
        OptionError: It is none, or out of range.
    """
    if isinstance(value, torch.Tensor):  # whose comparisons with large numbers overflow
        raise wrong(f"{name} must be an integer, got a tensor")
    try:
        return _checks.integer(name, value, least, most)
    except OptionError as error:
        raise wrong(str(error)) from None


def flag(name: str, value: Any) -> bool:
    """Return a boolean of a state."""
    if type(value) is not bool:
        raise wrong(f"{name} must be True or False, got {_checks.shown(value)}")
    return value


def text(name: str, value: Any) -> str:
    """Return a text of a state that can be printed."""
    if type(value) is not str or not value.isprintable():
        raise wrong(f"{name} must be a text, got {_checks.shown(value)}")
    return value


def texts(name: str, value: Any) -> list[str]:
    """Return a list of texts of a state, each of which may hold anything."""
    if not isinstance(value, (list, tuple)) or not all(type(one) is str for one in value):
        raise wrong(f"{name} must be a list of texts, got {_checks.shown(value)}")
    return list(value)
