"""Lengths as NumPy arrays.

NumPy is imported where it is used, because `import packsort` imports this module.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from packsort.errors import LengthError, LengthTypeError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

FOR_TOKENS = "; for tokens pass [len(ids) for ids in sequences]"
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
        hint = FOR_TOKENS if array.ndim > 1 else ""
        raise LengthTypeError(f"lengths {RULE}, of shape (n,), got {array.dtype} of shape {array.shape}{hint}")
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
        hint = "; rows of a file are planned where they are packed: pass it to `packsort.pack`"
        raise LengthTypeError(f"lengths {RULE}, got {type(lengths).__name__}{hint * isinstance(lengths, str)}")
    import numpy as np

    lengths = list(lengths)
    for row, length in enumerate(lengths):
        if length is None:
            raise null_at(row)
        if isinstance(length, bool) or not hasattr(length, "__index__") or getattr(length, "ndim", None):
            raise LengthTypeError(f"lengths {RULE}, got {_described(length, row)}", row)
    try:
        return np.fromiter((length.__index__() for length in lengths), np.int64, len(lengths))
    except OverflowError:
        row = next(r for r, length in enumerate(lengths) if not -(2**63) <= int(length) < 2**63)
        raise LengthError(f"sequence {row} has length {lengths[row]}, more than 64 bits hold", row) from None


def _described(length: Any, row: int) -> str:
    """Describe what is no length; tokens of a whole sequence would fill pages."""
    if isinstance(length, dict):
        return f"a dict at sequence {row}; for rows pass [len(row['input_ids']) for row in rows]"
    if isinstance(length, (list, tuple)) or getattr(length, "ndim", None):
        return f"a {type(length).__name__} at sequence {row}{FOR_TOKENS}"
    return f"{length!r} at sequence {row}"


def null_at(row: int) -> LengthError:
    """Return the error for a null among lengths."""
    return LengthError(f"lengths has a null at sequence {row}; every sequence needs a length", row)
