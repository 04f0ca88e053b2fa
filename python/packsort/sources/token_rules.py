"""Rules that token columns keep, and the words for breaking them; the same for files, loaders and streams.

A token column has one value a token: it is a list column of integers, floats or booleans. `input_ids` must be one, and
lists in `labels` must hold integers. Other columns are left out. The columns of `schema.INT32_COLUMNS` become int32 and
have a range; others keep their type.

A check takes `where`, which names a row for the message: "`a.parquet` row 7", or "sequence 7 of the stream". Checks of
whole columns find the first wrong row.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cache
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pyarrow import types

from packsort._arrow import described, is_list, to_numpy
from packsort.errors import SourceError
from packsort.schema import INPUT_IDS, INT32_COLUMNS, LENGTH, MAX_TOKEN_ID, SEGMENT_COLUMNS

Where = Callable[[int], str]


def token_columns(schema: pa.Schema) -> tuple[list[str], tuple[str, ...]]:
    """Tell token columns from others.

    Args:
        schema: Columns of the source.

    Returns:
        The token columns, `input_ids` first; and the columns that are left out.

    Raises:
        SourceError: There is no `input_ids`, `input_ids` or `labels` hold lists of something other than integers, or
            the rows are packs already.

    Example:
        >>> import pyarrow as pa
        >>> ids, text = pa.list_(pa.int32()), pa.string()
        >>> token_columns(pa.schema({"text": text, "labels": ids, "input_ids": ids}))
        (['input_ids', 'labels'], ('text',))
    """
    for name in INT32_COLUMNS:
        kind = schema.field(name).type if name in schema.names else pa.null()
        if is_list(kind) and not types.is_integer(kind.value_type):
            raise wrong_type(name, f"a list of {kind.value_type}")
    if INPUT_IDS not in schema.names or not is_list(schema.field(INPUT_IDS).type):
        raise SourceError(
            f"no usable column: there are {described(schema)}; `{INPUT_IDS}` (lists of integers) is needed; to "
            "make it of conversations or text, pass `tokenizer`"
        )
    refuse_packs(schema.names)
    others = [field.name for field in schema if field.name != INPUT_IDS and _is_token_type(field.type)]
    columns = [INPUT_IDS, *others]
    return columns, tuple(name for name in schema.names if name not in columns)


def has_lengths(schema: pa.Schema) -> bool:
    """Whether the rows store their lengths, in an integer column `length`."""
    return LENGTH in schema.names and bool(types.is_integer(schema.field(LENGTH).type))


def refuse_packs(names: Iterable[str], where: str | None = None) -> None:
    """Refuse rows that have a column that packing adds.

    Args:
        names: Columns of the rows.
        where: Names the row. None if all rows have the columns.
    """
    for name in SEGMENT_COLUMNS:
        if name in names:
            fault = f"column `{name}` is one that packing adds: the rows are packed already, or rename it"
            raise SourceError(fault if where is None else f"{where}: {fault}")


def wrong_type(name: str, found: str, where: str | None = None) -> SourceError:
    """Return the error for a token column of the wrong type.

    Args:
        name: The column.
        found: Its type, in words.
        where: Names the row. None if the column has this type in all rows.
    """
    values = "integers" if name in INT32_COLUMNS else "numbers or booleans"
    fault = f"column `{name}` must hold a list of {values}, got {found}"
    return SourceError(fault if where is None else f"{where}: {fault}")


def no_column(name: str, names: Iterable[str], where: str | None = None) -> SourceError:
    """Return the error for a column that is missing.

    Args:
        name: The column.
        names: Columns that there are.
        where: Names the row. None if no row has the column.
    """
    fault = f"no column `{name}`; there are {', '.join(f'`{one}`' for one in names) or 'none'}"
    return SourceError(fault if where is None else f"{where}: {fault}")


def null_list(name: str, where: str) -> SourceError:
    """Return the error for a row without a list."""
    return SourceError(f"{where}: column `{name}` is null; every sequence needs a list")


def null_value(name: str, position: int, where: str) -> SourceError:
    """Return the error for a null in a row's list."""
    return SourceError(f"{where}: column `{name}` has a null at position {position}; every token needs a value")


def damaged(name: str, error: Exception, where: str) -> SourceError:
    """Return the error for a column whose lists point outside its values."""
    return SourceError(f"{where} and after: column `{name}` is damaged: {error}")


def check_not_empty(lengths: NDArray[np.int64], where: Where) -> None:
    """Check that every sequence has tokens.

    Args:
        lengths: Values of `input_ids` in each row: (rows,).
        where: Names a row.
    """
    row = _first(lengths == 0)
    if row is not None:
        raise SourceError(f"{where(row)}: column `{INPUT_IDS}` is empty; every sequence needs at least one token")


def check_same_lengths(name: str, found: NDArray[np.int64], lengths: NDArray[np.int64], where: Where) -> None:
    """Check that a column has one value for each token.

    Args:
        name: The column.
        found: Its values in each row: (rows,).
        lengths: Values of `input_ids` in each row: (rows,).
        where: Names a row.
    """
    row = _first(found != lengths)
    if row is not None:
        raise SourceError(
            f"{where(row)}: column `{name}` has {found[row]} values, but `{INPUT_IDS}` has {lengths[row]}; every token "
            "needs one value"
        )


def check_stored_lengths(stored: pa.ChunkedArray, lengths: NDArray[np.int64], where: Where) -> None:
    """Check that the column `length` tells how many tokens there are.

    Args:
        stored: The column, integers: (rows,).
        lengths: Values of `input_ids` in each row: (rows,).
        where: Names a row.
    """
    # No list has -1 values, so a null is wrong as well.
    row = _first(to_numpy(pc.fill_null(stored.cast(pa.int64(), safe=False), -1)) != lengths)
    if row is not None:
        raise wrong_length(stored[row].as_py(), int(lengths[row]), where(row))


def wrong_length(stored: object, tokens: int, where: str) -> SourceError:
    """Return the error for a stored length that is not the number of tokens."""
    return SourceError(f"{where}: column `{LENGTH}` is {stored}, but `{INPUT_IDS}` has {tokens} values")


def first_out_of_range(values: NDArray[Any], name: str) -> int | None:
    """Return the index of the first value that the column may not hold, or None.

    Args:
        values: Values of the column, integers: (values,).
        name: The column, one of `INT32_COLUMNS`.
    """
    least, (smallest, largest) = INT32_COLUMNS[name], _bounds(values.dtype)
    if not len(values):
        return None
    # A bound that the type cannot pass is not searched for.
    if not (smallest < least and values.min() < least) and not (largest > MAX_TOKEN_ID and values.max() > MAX_TOKEN_ID):
        return None
    return int(np.argmax((values < least) | (values > MAX_TOKEN_ID)))


def out_of_range(name: str, value: object, position: int, where: str) -> SourceError:
    """Return the error for a value that `first_out_of_range` found."""
    least = "-2**31" if INT32_COLUMNS[name] else "0"
    return SourceError(
        f"{where}: column `{name}` must hold values from {least} to 2**31 - 1, got {value} at position {position}"
    )


@cache
def _bounds(dtype: np.dtype[Any]) -> tuple[int, int]:
    """Return the smallest and largest integer of a type; streams ask for each sequence."""
    bounds = np.iinfo(dtype)
    return int(bounds.min), int(bounds.max)


def _is_token_type(kind: pa.DataType) -> bool:
    if not is_list(kind):
        return False
    value = kind.value_type
    return bool(types.is_integer(value) or types.is_floating(value) or types.is_boolean(value))


def _first(wrong: NDArray[np.bool_]) -> int | None:
    return int(np.argmax(wrong)) if wrong.any() else None
