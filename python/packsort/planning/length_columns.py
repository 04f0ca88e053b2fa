"""Lengths as Arrow columns."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from packsort._arrow import as_chunked, first_null
from packsort.errors import LengthError, LengthTypeError
from packsort.planning.length_arrays import RULE, null_at
from packsort.schema import INPUT_IDS


def as_column(lengths: Any) -> pa.ChunkedArray:
    """Check a column of any library that has the Arrow interface.

    Args:
        lengths: Column, or table of one column, (n,). It is not copied.

    Raises:
        LengthTypeError: The lengths are no integers, or no single column.
        LengthError: A length is null; the error has its row. Or the column is damaged.
    """
    try:
        column = _chunked(lengths)
    except pa.ArrowException as error:
        raise LengthError(f"lengths {RULE}, got a column that is damaged: {error}") from error
    if pa.types.is_dictionary(column.type) or pa.types.is_run_end_encoded(column.type):
        column = column.cast(column.type.value_type)
    if len(column) == 0 and pa.types.is_null(column.type):
        column = pa.chunked_array([], pa.int64())
    if column.null_count:
        raise null_at(first_null(column))
    if not pa.types.is_integer(column.type):
        hint = ""
        if pa.types.is_list(column.type) or pa.types.is_large_list(column.type):
            hint = "; for a column of tokens pass pyarrow.compute.list_value_length(column)"
        raise LengthTypeError(f"lengths {RULE}, got {column.type}{hint}")
    return column


def _chunked(lengths: Any) -> pa.ChunkedArray:
    if isinstance(lengths, (pa.Table, pa.RecordBatch)):
        return _only_column(lengths)
    if isinstance(lengths, (pa.ChunkedArray, pa.Array)):
        return as_chunked(lengths)
    if hasattr(lengths, "__arrow_c_stream__"):
        return _of_stream(lengths)
    return as_chunked(pa.array(lengths))


def _of_stream(lengths: Any) -> pa.ChunkedArray:
    """Read a stream: polars and duckdb give a table as a column of structs."""
    column = as_chunked(lengths)
    if not pa.types.is_struct(column.type):
        return column
    fields = [column.type.field(i) for i in range(column.type.num_fields)]
    if len(fields) == 1 and not column.null_count:
        return pa.chunked_array([chunk.flatten()[0] for chunk in column.chunks], fields[0].type)
    return _only_column(pa.Table.from_batches([], pa.schema(fields)))


def _only_column(table: pa.Table | pa.RecordBatch) -> pa.ChunkedArray:
    if table.num_columns != 1:
        names = ", ".join(f"`{name}`" for name in table.column_names)
        hint = "; `packsort.pack` takes rows with tokens" if INPUT_IDS in table.column_names else ""
        raise LengthTypeError(f"lengths must be one column of integers, got a table of columns {names}{hint}")
    return as_chunked(table.column(0))
