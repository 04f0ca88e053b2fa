"""Lengths as NumPy arrays.

NumPy is imported where it is used, because `import packsort` imports this module.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from packsort.errors import LengthError, LengthTypeError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

RULE = "must be integers, int8 to int64 or uint8 to uint64"


def array_of_numpy(lengths: Any) -> NDArray[Any]:
    """Check an array, or what converts itself to one.

    Args:
        lengths: Anything with `__array__`, (n,). Contiguous arrays of integers in native byte order are not copied.

    Returns:
        Contiguous integers, (n,).

    Raises:
        LengthTypeError: The array does not hold integers, or has another number of dimensions.
        LengthError: There is a null among objects, or an integer that 64 bits do not hold.
    """
    import numpy as np

    array = np.asarray(lengths)
    if array.dtype.kind == "O" and array.ndim == 1:
        return array_of_sequence(array.tolist())
    if array.ndim != 1 or (array.dtype.kind not in "iu" and array.size):
        raise LengthTypeError(f"lengths {RULE}, of shape (n,), got {array.dtype} of shape {array.shape}")
    dtype = array.dtype.newbyteorder("=") if array.dtype.kind in "iu" else np.int64
    return np.require(array, dtype, ["C", "ALIGNED"])


def array_of_sequence(lengths: Any) -> NDArray[np.int64]:
    """Convert a sequence of integers.

    Args:
        lengths: Python or NumPy integers, (n,).

    Returns:
        int64 (n,).

    Raises:
        LengthTypeError: There is something else than integers.
        LengthError: There is a null, or an integer that 64 bits do not hold.
    """
    if isinstance(lengths, (str, bytes, dict)) or not hasattr(lengths, "__iter__"):
        raise LengthTypeError(f"lengths {RULE}, got {type(lengths).__name__}")
    import numpy as np

    lengths = list(lengths)
    for row, length in enumerate(lengths):
        if length is None:
            raise null_at(row)
        if isinstance(length, bool) or not hasattr(length, "__index__"):
            raise LengthTypeError(f"lengths {RULE}, got {length!r} at sequence {row}", row)
    try:
        return np.fromiter((length.__index__() for length in lengths), np.int64, len(lengths))
    except OverflowError:
        row = next(r for r, length in enumerate(lengths) if not -(2**63) <= int(length) < 2**63)
        raise LengthError(f"sequence {row} has length {lengths[row]}, more than 64 bits hold", row) from None


def null_at(row: int) -> LengthError:
    """Return the error for a null among lengths."""
    return LengthError(f"lengths has a null at sequence {row}; every sequence needs a length", row)
