"""Groups, flags and piece starts in Arrow columns, and in all that Arrow makes a column of."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from packsort._arrow import as_chunked, first_null, is_list, to_numpy
from packsort.errors import OptionError

_NEEDS = {"groups": "a group", "splittable": "True or False", "alone": "True or False", "piece_starts": "a list"}


def codes_of_column(groups: Any, rows: int) -> NDArray[np.uint32]:
    """Number the groups of a column; see `packsort.planning.constraints.as_codes`."""
    import pyarrow.compute as pc  # takes as long as all of packsort, and flags do without

    column = _checked("groups", groups, rows)
    if pa.types.is_integer(column.type) and rows:
        bounds = pc.min_max(column).as_py()
        if bounds["min"] >= 0 and bounds["max"] < 2 * rows:
            # Copied: the core reads them more than once, and another thread may write to the caller's.
            return _joined([to_numpy(chunk).astype(np.uint32) for chunk in column.chunks], np.uint32)
    try:
        encoded = column if pa.types.is_dictionary(column.type) else pc.dictionary_encode(column)
        encoded = encoded.unify_dictionaries()
    except (pa.ArrowNotImplementedError, pa.ArrowInvalid) as error:
        raise OptionError(f"groups must be of a type whose values can be compared, got {column.type}") from error
    return _joined([np.asarray(to_numpy(chunk.indices), np.uint32) for chunk in encoded.chunks], np.uint32)


def flags_of_column(name: str, flags: Any, rows: int) -> NDArray[np.bool_]:
    """Convert a column of booleans; see `packsort.planning.constraints.as_flags`."""
    column = _checked(name, flags, rows)
    if not pa.types.is_boolean(column.type) and len(column):
        raise OptionError(f"{name} must be booleans, got {column.type}")
    return _joined([to_numpy(chunk) for chunk in column.chunks if len(chunk)], np.bool_)


def lists_of_column(name: str, lists: Any, rows: int) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """Convert a column of lists of integers.

    Args:
        name: The option's name, for messages.
        lists: Column of lists, (rows,).
        rows: Number of sequences.

    Returns:
        (offsets of the lists int64 (rows + 1,), values of all lists int32).

    Raises:
        OptionError: There is a value that is no list of 32-bit integers, a null, or the number of lists is not `rows`.
    """
    import pyarrow.compute as pc

    column = _checked(name, lists, rows)
    if not len(column):
        return np.zeros(1, np.int64), np.zeros(0, np.int32)
    if not is_list(column.type) or not pa.types.is_integer(column.type.value_type):
        raise OptionError(f"{name} must be lists of integers, got {column.type}")
    lengths = to_numpy(pc.list_value_length(column)).astype(np.int64)
    try:
        values = pc.list_flatten(column).cast(pa.int32())
    except pa.ArrowInvalid as error:
        raise OptionError(f"{name} must be integers of 32 bits: {error}") from error
    if values.null_count:
        raise OptionError(f"{name} must be lists without nulls, got a null")
    # Copied: the core reads them more than once, and another thread may write to the caller's.
    return np.concatenate([[0], np.cumsum(lengths)]), to_numpy(values).copy()


def _joined(chunks: list[NDArray[Any]], dtype: Any) -> NDArray[Any]:
    if len(chunks) == 1:
        return np.ascontiguousarray(chunks[0])
    return np.concatenate(chunks) if chunks else np.zeros(0, dtype)


def _checked(name: str, values: Any, rows: int) -> pa.ChunkedArray:
    try:
        column = as_chunked(values)
    except (TypeError, ValueError, pa.ArrowException) as error:
        raise OptionError(f"{name} must be a column of values, got {type(values).__name__}: {error}") from error
    if len(column) != rows:
        raise OptionError(f"{name} must have a value for each of {rows:,} sequences, got {len(column):,}")
    if column.null_count:
        raise OptionError(
            f"{name} has a null at sequence {first_null(column)}; every sequence needs {_NEEDS.get(name, 'a value')}"
        )
    return column
