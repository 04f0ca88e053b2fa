"""Types of JSON columns: one type for all rows of a file, without changing a value.

pyarrow's JSON reader takes strings that look like dates for timestamps, and numbers for floats where one of them has a
fraction or more than 64 bits. In a chat template, `1` would become `1.0`. Columns whose values no Arrow type holds as
they are, such as `content` that is text in one message and a list of parts in the next, stay JSON text.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import types

from packsort._arrow import to_numpy

JSON: pa.DataType | None = pa.json_() if hasattr(pa, "json_") else None
"""Arrow's type of JSON text, as `datasets.Json` uses it. None before pyarrow 19."""

_EXACT = 2.0**53  # every integer below it has a float of its own


def is_json(kind: pa.DataType) -> bool:
    """Return whether a type is `JSON`."""
    return JSON is not None and bool(kind.equals(JSON))


def without_dates(kind: pa.DataType) -> pa.DataType:
    """Return a type that pyarrow inferred, with strings in the place of timestamps.

    Example:
        >>> import pyarrow as pa
        >>> print(without_dates(pa.list_(pa.timestamp("s"))))
        list<item: string>
    """
    if types.is_timestamp(kind):
        return pa.string()
    if types.is_list(kind):
        return pa.list_(without_dates(kind.value_type))
    if types.is_struct(kind):
        return pa.struct([(field.name, without_dates(field.type)) for field in kind])
    return kind


def merged(a: pa.DataType, b: pa.DataType) -> pa.DataType | None:
    """Return the type that holds the values of two inferred types as they are, or None if none does.

    Example:
        >>> import pyarrow as pa
        >>> print(merged(pa.struct({"role": pa.string()}), pa.struct({"name": pa.string()})))
        struct<role: string, name: string>
        >>> print(merged(pa.int64(), pa.string()))
        None
    """
    found = _merged(a, b, in_struct=False)
    return JSON if found is None and _is_nested(a) and _is_nested(b) else found


def _merged(a: pa.DataType, b: pa.DataType, *, in_struct: bool) -> pa.DataType | None:
    if a.equals(b) or types.is_null(b):
        return a
    if types.is_null(a):
        return b
    if types.is_list(a) and types.is_list(b):
        value = _merged(a.value_type, b.value_type, in_struct=in_struct)
        return None if value is None else pa.list_(value)
    if types.is_struct(a) and types.is_struct(b):
        fields = {field.name: field.type for field in a}
        for field in b:
            both = _merged(fields.get(field.name, pa.null()), field.type, in_struct=True)
            if both is None:
                return None
            fields[field.name] = both
        return pa.struct(list(fields.items()))
    # A list of numbers holds values of tokens. A number inside a struct may be shown to the model.
    if not in_struct and {a, b} == {pa.int64(), pa.float64()}:
        return pa.float64()
    return None


def _is_nested(kind: pa.DataType) -> bool:
    return types.is_list(kind) or types.is_struct(kind) or is_json(kind)


def kind_of_type(kind: pa.DataType) -> str:
    """Name the kind of JSON values that a type holds, for messages, as `kind_of` names a value's."""
    if types.is_string(kind):
        return "text"
    if types.is_boolean(kind):
        return "a boolean"
    if types.is_struct(kind):
        return "an object"
    return "a list" if _is_nested(kind) else "a number"


def inexact_row(column: pa.ChunkedArray) -> int | None:
    """Return the first row with a number that may have been an integer which its float does not show, or None."""
    first = 0
    for chunk in column.chunks:
        wrong = _inexact(chunk, in_struct=False)
        if wrong is not None:
            return first + int(wrong)
        first += len(chunk)
    return None


def _inexact(array: pa.Array, *, in_struct: bool) -> Any:
    if types.is_list(array.type):
        at = _inexact(array.flatten(), in_struct=in_struct)
        if at is None:
            return None
        return np.searchsorted(to_numpy(array.offsets) - array.offsets[0].as_py(), at, side="right") - 1
    if types.is_struct(array.type):
        found = [_inexact(part, in_struct=True) for part in array.flatten()]
        return min((at for at in found if at is not None), default=None)
    if not types.is_floating(array.type):
        return None
    values = to_numpy(array.fill_null(0.5))
    wrong = values == np.floor(values) if in_struct else np.abs(values) >= _EXACT
    return np.argmax(wrong) if wrong.any() else None
