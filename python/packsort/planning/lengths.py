"""Convert lengths of any kind to one Arrow column; Arrow columns and NumPy arrays are not copied."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

from packsort._arrow import as_chunked, first_null, from_numpy
from packsort.errors import LengthError, LengthTypeError

_RULE = "must be integers, int8 to int64 or uint8 to uint64"


def as_column(lengths: Any) -> pa.ChunkedArray:
    """Convert lengths to an integer column without nulls.

    Args:
        lengths: Arrow column, table of one column, NumPy array, tensor on the CPU, or sequence of ints, (n,).

    Raises:
        LengthTypeError: The lengths are no integers, or no single column.
        LengthError: A length is null; the error has its row.
    """
    column = _chunked(lengths)
    if pa.types.is_dictionary(column.type) or pa.types.is_run_end_encoded(column.type):
        column = column.cast(column.type.value_type)
    if len(column) == 0 and pa.types.is_null(column.type):
        column = pa.chunked_array([], pa.int64())
    if column.null_count:
        raise _null(first_null(column))
    if not pa.types.is_integer(column.type):
        hint = ""
        if pa.types.is_list(column.type) or pa.types.is_large_list(column.type):
            hint = "; for a column of tokens pass pyarrow.compute.list_value_length(column)"
        raise LengthTypeError(f"lengths {_RULE}, got {column.type}{hint}")
    return column


def _chunked(lengths: Any) -> pa.ChunkedArray:
    if isinstance(lengths, (pa.Table, pa.RecordBatch)):
        return _only_column(lengths)
    if isinstance(lengths, (pa.ChunkedArray, pa.Array)):
        return as_chunked(lengths)
    if hasattr(lengths, "__arrow_c_stream__"):
        return _of_stream(lengths)
    if hasattr(lengths, "__arrow_c_array__"):
        return pa.chunked_array([pa.array(lengths)])
    if hasattr(lengths, "__array__"):  # NumPy, pandas, torch on the CPU
        return pa.chunked_array([_of_numpy(np.asarray(lengths))])
    if isinstance(lengths, (str, bytes, dict)) or not hasattr(lengths, "__iter__"):
        raise LengthTypeError(f"lengths {_RULE}, got {type(lengths).__name__}")
    return pa.chunked_array([_of_list(list(lengths))])


def _of_stream(lengths: Any) -> pa.ChunkedArray:
    """Read a stream: polars and duckdb give a table as a column of structs."""
    column = pa.chunked_array(lengths)
    if not pa.types.is_struct(column.type):
        return column
    fields = [column.type.field(i) for i in range(column.type.num_fields)]
    if len(fields) == 1 and not column.null_count:
        return pa.chunked_array([chunk.flatten()[0] for chunk in column.chunks], fields[0].type)
    return _only_column(pa.Table.from_batches([], pa.schema(fields)))


def _only_column(table: pa.Table | pa.RecordBatch) -> pa.ChunkedArray:
    if table.num_columns != 1:
        names = ", ".join(f"`{name}`" for name in table.column_names)
        raise LengthTypeError(f"lengths must be one column of integers, got a table of columns {names}")
    return as_chunked(table.column(0))


def _of_numpy(array: np.ndarray[Any, Any]) -> pa.Array:
    if array.dtype.kind == "O" and array.ndim == 1:
        return _of_list(array.tolist())
    if array.ndim != 1 or (array.dtype.kind not in "iu" and array.size):
        raise LengthTypeError(f"lengths {_RULE}, of shape (n,), got {array.dtype} of shape {array.shape}")
    return from_numpy(array if array.dtype.kind in "iu" else array.astype(np.int64))


def _of_list(lengths: list[Any]) -> pa.Array:
    for row, length in enumerate(lengths):
        if length is None:
            raise _null(row)
        if isinstance(length, bool) or not hasattr(length, "__index__"):
            raise LengthTypeError(f"lengths {_RULE}, got {length!r} at sequence {row}", row)
    try:
        return from_numpy(np.fromiter((length.__index__() for length in lengths), np.int64, len(lengths)))
    except OverflowError:
        row = next(r for r, length in enumerate(lengths) if not -(2**63) <= int(length) < 2**63)
        raise LengthError(f"sequence {row} has length {lengths[row]}, more than 64 bits hold", row) from None


def _null(row: int) -> LengthError:
    return LengthError(f"lengths has a null at sequence {row}; every sequence needs a length", row)
