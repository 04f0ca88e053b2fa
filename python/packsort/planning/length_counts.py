"""Counts of lengths: how many sequences have each number of tokens."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

from packsort.errors import OptionError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

CountsOfLengths: TypeAlias = "tuple[NDArray[np.uint64], NDArray[np.uint64]]"
"""Distinct lengths, ascending, and the number of sequences of each: uint64 (lengths,) both."""


def as_counts(counts: Any, name: str) -> CountsOfLengths:
    """Convert counts to distinct lengths and numbers.

    Args:
        counts: Integer array (n,) whose item `l` counts sequences of `l` tokens, or a mapping from lengths to numbers.
        name: The argument's name, for messages.

    Raises:
        OptionError: The counts are neither, or one is negative or exceeds 63 bits.

    Example:
        >>> as_counts({4: 1, 3: 2}, "counts")
        (array([3, 4], dtype=uint64), array([2, 1], dtype=uint64))
        >>> as_counts([0, 5, 0, 2], "counts")
        (array([1, 3], dtype=uint64), array([5, 2], dtype=uint64))
    """
    import numpy as np

    try:
        if isinstance(counts, Mapping):
            lengths = _integers(np.fromiter(counts.keys(), object, len(counts)))
            numbers = _integers(np.fromiter(counts.values(), object, len(counts)))
            order = np.argsort(lengths)
            lengths, numbers = lengths[order], numbers[order]
        else:
            numbers = _integers(np.asarray(counts))
            lengths = np.arange(len(numbers))
    except (TypeError, ValueError, OverflowError):
        raise OptionError(
            f"{name} must be an array of integers of at least 0, whose item `l` counts sequences of `l` tokens, or a "
            f"mapping from lengths to numbers, got {_described(counts)}"
        ) from None
    there = numbers > 0
    return lengths[there].astype(np.uint64), numbers[there].astype(np.uint64)


def counts_of(lengths: NDArray[Any]) -> CountsOfLengths:
    """Count lengths, (n,)."""
    import numpy as np

    found, numbers = np.unique(lengths, return_counts=True)
    return found.astype(np.uint64), numbers.astype(np.uint64)


def _integers(values: NDArray[Any]) -> NDArray[np.int64]:
    """Return integers of 63 bits, (n,)."""
    import numpy as np

    if values.ndim != 1 or (values.dtype.kind not in "iuO" and values.size):
        raise ValueError
    if values.dtype.kind == "O":
        if any(isinstance(value, bool) or not hasattr(value, "__index__") for value in values):
            raise TypeError
        values = np.array([value.__index__() for value in values], np.int64)
    if values.size and (values.min() < 0 or values.max() > np.iinfo(np.int64).max):
        raise ValueError
    return values.astype(np.int64)


def _described(counts: Any) -> str:
    import numpy as np

    if isinstance(counts, np.ndarray):
        return f"{counts.dtype} of shape {counts.shape}"
    text = repr(counts)
    return text if len(text) < 80 else f"{text[:77]}..."
