"""Columns beside the lengths: groups of any type, and booleans; one value for each sequence, none of them null."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from packsort._arrow import is_list
from packsort.errors import OptionError


def as_codes(groups: Any, rows: int) -> NDArray[np.uint32]:
    """A number for each group: by value for small integers, else in the order in which groups first appear.

    Args:
        groups: a column of any type that Arrow can compare, (rows,): Arrow, NumPy, pandas, polars, a list.
        rows: how many sequences there are.

    Returns:
        uint32, (rows,). Integers from 0 up, not many more than rows, are their own numbers.

    Raises:
        OptionError: a null, another number of values than `rows`, or values that cannot be compared.
    """
    column = _column("groups", groups, rows)
    if pa.types.is_integer(column.type) and rows:
        bounds = pc.min_max(column).as_py()
        if bounds["min"] >= 0 and bounds["max"] < 2 * rows:
            return _one_array([chunk.to_numpy().astype(np.uint32, copy=False) for chunk in column.chunks])
    try:
        encoded = column if pa.types.is_dictionary(column.type) else pc.dictionary_encode(column)
        encoded = encoded.unify_dictionaries()
    except (pa.ArrowNotImplementedError, pa.ArrowInvalid) as error:
        raise OptionError(f"`groups` is {column.type}, allowed is a type whose values can be compared") from error
    codes = [np.asarray(chunk.indices.to_numpy(), np.uint32) for chunk in encoded.chunks]
    return _one_array(codes) if codes else np.zeros(0, np.uint32)


def _one_array(chunks: list[NDArray[Any]]) -> NDArray[Any]:
    return np.ascontiguousarray(chunks[0]) if len(chunks) == 1 else np.concatenate(chunks)


def as_flags(name: str, flags: Any, rows: int) -> NDArray[np.bool_]:
    """A boolean for each sequence, (rows,).

    Raises:
        OptionError: not booleans, a null, or another number of values than `rows`.
    """
    column = _column(name, flags, rows)
    if not pa.types.is_boolean(column.type) and len(column):
        raise OptionError(f"`{name}` is {column.type}, allowed are booleans")
    parts = [chunk.to_numpy(zero_copy_only=False).astype(np.bool_, copy=False) for chunk in column.chunks]
    return _one_array(parts) if parts else np.zeros(0, np.bool_)


def as_lists(name: str, lists: Any, rows: int) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """A list of integers for each sequence: where each starts, int64 (rows + 1,), and all values, int32.

    Raises:
        OptionError: not lists of integers, a null, another number of lists than `rows`, or a value over 31 bits.
    """
    column = _column(name, lists, rows)
    if not len(column):
        return np.zeros(1, np.int64), np.zeros(0, np.int32)
    if not is_list(column.type) or not pa.types.is_integer(column.type.value_type):
        raise OptionError(f"`{name}` is {column.type}, allowed are lists of integers")
    lengths = pc.list_value_length(column).to_numpy().astype(np.int64)
    try:
        values = pc.list_flatten(column).cast(pa.int32())
    except pa.ArrowInvalid as error:
        raise OptionError(f"`{name}` has a value that does not fit 32 bits: {error}") from error
    if values.null_count:
        raise OptionError(f"`{name}` has a null, allowed are integers")
    return np.concatenate([[0], np.cumsum(lengths)]), np.ascontiguousarray(values.to_numpy())


def _column(name: str, values: Any, rows: int) -> pa.ChunkedArray:
    try:
        if isinstance(values, pa.ChunkedArray):
            column = values
        elif hasattr(values, "__arrow_c_stream__"):
            column = pa.chunked_array(values)
        else:
            column = pa.chunked_array([values if isinstance(values, pa.Array) else pa.array(values)])
    except (TypeError, ValueError, pa.ArrowException) as error:
        raise OptionError(f"`{name}` is a {type(values).__name__}, allowed is a column: {error}") from error
    if len(column) != rows:
        raise OptionError(f"`{name}` has {len(column):,} values, but there are {rows:,} lengths: allowed is one each")
    if column.null_count:
        row = pc.index(column.is_null(), True).as_py()
        raise OptionError(f"`{name}` is null at sequence {row}, allowed is a value for each sequence")
    return column
