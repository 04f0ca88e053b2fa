"""Lengths as one Arrow column, whatever they come as; nothing is copied that is Arrow or NumPy already."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

from packsort.errors import LengthError, LengthTypeError

_ALLOWED = "allowed are integers: int8 to int64, uint8 to uint64"


def as_column(lengths: Any) -> pa.ChunkedArray:
    """One integer column without nulls.

    Raises:
        LengthTypeError: not integers, not one column.
        LengthError: a null; its row is named.
    """
    column = _column(lengths)
    if pa.types.is_dictionary(column.type) or pa.types.is_run_end_encoded(column.type):
        column = column.cast(column.type.value_type)
    if len(column) == 0 and pa.types.is_null(column.type):
        column = pa.chunked_array([], pa.int64())
    if column.null_count:
        row = _first_null(column)
        raise LengthError(f"sequence {row} has no length: it is null, allowed is 1 and more", row)
    if not pa.types.is_integer(column.type):
        hint = ""
        if pa.types.is_list(column.type) or pa.types.is_large_list(column.type):
            hint = "; for a column of tokens use pyarrow.compute.list_value_length(column)"
        raise LengthTypeError(f"lengths are {column.type}, {_ALLOWED}{hint}")
    return column


def _column(lengths: Any) -> pa.ChunkedArray:
    if isinstance(lengths, pa.ChunkedArray):
        return lengths
    if isinstance(lengths, pa.Array):
        return pa.chunked_array([lengths])
    if hasattr(lengths, "__arrow_c_stream__"):
        return _stream(lengths)
    if hasattr(lengths, "__arrow_c_array__"):
        return pa.chunked_array([pa.array(lengths)])
    if hasattr(lengths, "__array__"):  # NumPy, pandas, torch on the CPU
        return pa.chunked_array([_from_numpy(np.asarray(lengths))])
    if isinstance(lengths, (str, bytes, dict)) or not hasattr(lengths, "__iter__"):
        raise LengthTypeError(f"lengths are a {type(lengths).__name__}, {_ALLOWED}")
    return pa.chunked_array([_from_list(list(lengths))])


def _stream(lengths: Any) -> pa.ChunkedArray:
    """A column, or the only column of a table: a polars or duckdb query arrives as a stream of structs."""
    if isinstance(lengths, (pa.Table, pa.RecordBatch)):
        table = lengths
    else:
        column = pa.chunked_array(lengths)
        if not pa.types.is_struct(column.type):
            return column
        fields = [column.type.field(i) for i in range(column.type.num_fields)]
        if len(fields) == 1 and not column.null_count:
            return pa.chunked_array([chunk.flatten()[0] for chunk in column.chunks], fields[0].type)
        table = pa.schema(fields).empty_table()
    if table.num_columns != 1:
        names = ", ".join(f"`{name}`" for name in table.column_names)
        raise LengthTypeError(f"lengths are a table of columns {names}, allowed is one column of integers")
    column = table.column(0)
    return column if isinstance(column, pa.ChunkedArray) else pa.chunked_array([column])


def _from_numpy(array: np.ndarray[Any, Any]) -> pa.Array:
    if array.dtype.kind == "O" and array.ndim == 1:
        return _from_list(array.tolist())
    if array.ndim != 1 or (array.dtype.kind not in "iu" and array.size):
        raise LengthTypeError(f"lengths are an array of {array.dtype}, shape {array.shape}, {_ALLOWED}, shape (n,)")
    if array.dtype.kind not in "iu":
        array = array.astype(np.int64)
    return pa.array(np.ascontiguousarray(array.astype(array.dtype.newbyteorder("="), copy=False)))


def _from_list(lengths: list[Any]) -> pa.Array:
    for row, length in enumerate(lengths):
        if length is None:
            raise LengthError(f"sequence {row} has no length: it is None, allowed is 1 and more", row)
        if isinstance(length, bool) or not hasattr(length, "__index__"):
            raise LengthTypeError(f"sequence {row} has length {length!r}, a {type(length).__name__}; {_ALLOWED}", row)
    try:
        return pa.array([int(length.__index__()) for length in lengths], pa.int64())
    except (OverflowError, pa.ArrowInvalid):
        row = next(r for r, length in enumerate(lengths) if not -(2**63) <= int(length) < 2**63)
        raise LengthError(f"sequence {row} has length {lengths[row]}, more than fits 64 bits", row) from None


def _first_null(column: pa.ChunkedArray) -> int:
    row = 0
    for chunk in column.chunks:
        if chunk.null_count:
            return row + int(np.flatnonzero(chunk.is_null().to_numpy(zero_copy_only=False))[0])
        row += len(chunk)
    raise AssertionError("a column with nulls has a chunk with nulls")
