"""Check lengths of any kind. Arrow columns and NumPy arrays are not copied."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from packsort.planning.length_arrays import array_of_numpy, array_of_sequence

if TYPE_CHECKING:
    import pyarrow as pa
    from numpy.typing import NDArray


def as_lengths(lengths: Any) -> NDArray[Any] | pa.ChunkedArray:
    """Convert lengths to integers without nulls, as the core takes them.

    Only Arrow columns import pyarrow, and only lists and arrays import NumPy.

    Args:
        lengths: Arrow column, table of one column, NumPy array, tensor on the CPU, or sequence of ints, (n,).

    Returns:
        Column of what has an Arrow interface, array (n,) of all else; of int8 to int64 or uint8 to uint64.

    Raises:
        LengthTypeError: The lengths are no integers, or no single column.
        LengthError: A length is null, or 64 bits do not hold it; the error has its row.

    Example:
        >>> as_lengths([3, 5, 2])
        array([3, 5, 2])
    """
    if hasattr(lengths, "__arrow_c_stream__") or hasattr(lengths, "__arrow_c_array__"):
        from packsort.planning.length_columns import as_column

        return as_column(lengths)
    if hasattr(lengths, "__array__"):  # NumPy, torch on the CPU
        return array_of_numpy(lengths)
    return array_of_sequence(lengths)
