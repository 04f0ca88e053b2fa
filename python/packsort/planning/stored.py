"""Stored form of a plan's parts, of which files, pickles and fingerprints are made.

It keeps the option names of version 0.1, so that files and fingerprints stay valid.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from packsort import _core
from packsort.errors import DamagedError, PacksortError
from packsort.planning.check_parts import check_parts

if TYPE_CHECKING:
    from numpy.typing import NDArray


def to_stored(core: _core.Plan) -> dict[str, Any]:
    """Return the parts of a plan under the names and values that are stored."""
    parts = {_STORED_NAMES.get(name, name): value for name, value in core.parts().items()}
    parts["keep_end"] = parts["keep_end"] == "left"
    parts["max_sequences"] = parts["max_sequences"] or 0
    if parts.get("order", ...) is None:  # a plan made from counts lists no ids
        del parts["order"]
    if parts["strategy"] != "in_order":  # the only one that has a window
        del parts["window"]
    # Version 0.1 knew no empty sequences: plans that drop none are stored, and have fingerprints, as it wrote them.
    del parts["empty"]
    if not parts["num_empty"]:
        del parts["num_empty"]
    return parts


def from_stored(stored: Mapping[str, Any], *, counted: bool | None = None) -> _core.Plan:
    """Restore a plan from its stored parts.

    Args:
        stored: The parts.
        counted: Whether they are to be those of a plan made from counts; None takes both kinds.

    Raises:
        DamagedError: A part is missing, unknown or of another type, or the parts contradict each other.
    """
    check_parts(stored)
    if counted is not None and is_counted(stored) != counted:
        raise DamagedError(f"the parts are {'not ' if counted else ''}those of a plan made from counts")
    parts = {_NAMES.get(name, name): value for name, value in stored.items()}
    parts["truncation_side"] = "left" if parts["truncation_side"] else "right"
    parts["max_sequences"] = parts["max_sequences"] or None
    if is_counted(stored):
        parts["items"] = None
    parts["num_empty"] = parts.get("num_empty", 0)
    parts["window"] = parts.get("window", 0)
    parts["empty"] = "drop" if parts["num_empty"] else "error"
    try:
        return _core.Plan.from_parts(parts)
    except DamagedError:
        raise
    except PacksortError as error:  # an option that no plan has
        raise DamagedError(str(error)) from error


def is_counted(stored: Mapping[str, Any]) -> bool:
    """Return whether the parts are those of a plan made from counts."""
    return "repeats" in stored and "order" not in stored


_STORED_NAMES = {
    "truncation_side": "keep_end",
    "num_packs_multiple_of": "packs_multiple",
    "pad_to_multiple_of": "pad_multiple",
    "separator": "separated",
    "items": "order",
}
_NAMES = {stored: name for name, stored in _STORED_NAMES.items()}


def fingerprint_of(parts: Mapping[str, Any], order: tuple[type[Any], Iterable[NDArray[Any]]] | None = None) -> str:
    """Return the XXH3-128 digest of the stored parts of a plan as 32 hexadecimal digits.

    Args:
        parts: The parts.
        order: Type and stretches of the array `order`, where the parts have none.
    """
    import numpy as np
    import xxhash

    digest = xxhash.xxh3_128()
    for name, value in sorted((parts if order is None else {**parts, "order": order}).items()):
        if name == "order" and order is not None:
            kind, stretches = order
            digest.update(f"{name}:{np.dtype(kind)};".encode())
            for stretch in stretches:
                digest.update(stretch.astype(kind, copy=False).data)
            continue
        digest.update(f"{name}:{getattr(value, 'dtype', value)};".encode())
        if hasattr(value, "dtype"):
            digest.update(value.data)
    return digest.hexdigest()
