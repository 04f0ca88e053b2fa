"""Arrow without pandas, and predicates and promotion rules for Arrow types."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyarrow import types

_MOST_DESCRIBED = 12  # columns in a message


def from_numpy(array: NDArray[Any]) -> pa.Array:
    """Wrap a NumPy array as an Arrow array without importing pandas.

    `pyarrow.array(ndarray)` imports pandas, which takes 150 ms and holds an import lock that can hang a forked worker.
    Contiguous arrays of numbers in native byte order are not copied.

    Args:
        array: (n,). Numbers and booleans take the short way; `pyarrow.array` converts all other types.

    Example:
        >>> import numpy as np
        >>> from_numpy(np.array([3, 5])).type
        DataType(int64)
    """
    kind = array.dtype.kind
    if array.ndim != 1 or kind not in "biuf" or array.dtype.itemsize > 8:
        return pa.array(array)
    if kind == "b":
        bits = np.packbits(array, bitorder="little")
        return pa.Array.from_buffers(pa.bool_(), len(array), [None, pa.py_buffer(bits)], 0)
    values = np.ascontiguousarray(array, array.dtype.newbyteorder("="))
    return pa.Array.from_buffers(pa.from_numpy_dtype(values.dtype), len(values), [None, pa.py_buffer(values)], 0)


def to_numpy(values: pa.Array | pa.ChunkedArray) -> NDArray[Any]:
    """Return numbers or booleans without nulls as a NumPy array without importing pandas.

    `pyarrow.Array.to_numpy` imports pandas as `pyarrow.array` does.

    Args:
        values: (n,). Numbers in one chunk are not copied.

    Returns:
        Array of the same type, (n,); read-only where it shares the column's memory.

    Raises:
        pyarrow.ArrowInvalid: There are nulls.

    Example:
        >>> import pyarrow as pa
        >>> to_numpy(pa.chunked_array([[True, False], [True]]))
        array([ True, False,  True])
    """
    if isinstance(values, pa.ChunkedArray):
        chunks = [to_numpy(chunk) for chunk in values.chunks]
        if len(chunks) == 1:
            return chunks[0]
        return np.concatenate(chunks) if chunks else np.empty(0, values.type.to_pandas_dtype())
    if values.null_count:
        raise pa.ArrowInvalid(f"{values.null_count} nulls in an array without a place for them")
    if types.is_boolean(values.type):
        return to_numpy(values.cast(pa.uint8())).view(np.bool_)
    if not (types.is_integer(values.type) or types.is_floating(values.type)):
        raise pa.ArrowTypeError(f"{values.type} is no type of numbers")
    dtype = np.dtype(values.type.to_pandas_dtype())
    data = values.buffers()[1]
    if not len(values) or data is None:
        return np.empty(0, dtype)
    return np.frombuffer(data, dtype, len(values), values.offset * dtype.itemsize)


def fill_null(values: pa.Array | pa.ChunkedArray, value: int) -> pa.Array | pa.ChunkedArray:
    """Replace nulls by a number without importing pandas, as `pyarrow.compute.fill_null` does to convert it.

    Args:
        values: Numbers, (n,).
        value: The number.

    Example:
        >>> import pyarrow as pa
        >>> fill_null(pa.array([3, None]), -1).to_pylist()
        [3, -1]
    """
    import pyarrow.compute as pc

    return pc.fill_null(values, from_numpy(np.array([value], values.type.to_pandas_dtype()))[0])


def as_array(values: Any) -> pa.Array:
    """Convert a NumPy array or a sequence to an Arrow array; integers and booleans without importing pandas.

    Raises:
        pyarrow.ArrowException, TypeError, ValueError: `pyarrow.array` does not take them.
    """
    if isinstance(values, pa.Array):
        return values
    if isinstance(values, np.ndarray):
        return from_numpy(values)
    kinds = set(map(type, values)) if isinstance(values, (list, tuple)) else set()
    if kinds == {int} or kinds == {bool}:
        array = np.array(values)
        if array.dtype in (np.int64, np.bool_):
            return from_numpy(array)
    return pa.array(values)


def as_chunked(values: Any) -> pa.ChunkedArray:
    """Convert a column of any library, a NumPy array or a sequence to a chunked Arrow array that is valid.

    Raises:
        pyarrow.ArrowException, TypeError, ValueError: They are no column, or break the rules of Arrow.
    """
    if isinstance(values, pa.ChunkedArray) or hasattr(values, "__arrow_c_stream__"):
        column = values if isinstance(values, pa.ChunkedArray) else pa.chunked_array(values)
    else:
        column = pa.chunked_array([as_array(values)])
    check_valid(column)
    return column


def check_valid(column: pa.Array | pa.ChunkedArray) -> None:
    """Check that a column keeps the rules of Arrow, which reading a damaged file does not.

    Arrow trusts offsets, sizes and indices, and ends the process where they point outside of their buffers. Checking
    costs time by rows: numbers inside lists are not read, and text is read once, to see that it is UTF-8.

    Args:
        column: (rows,), of any type.

    Raises:
        pyarrow.ArrowException: It breaks a rule.
    """
    check_type_names(column.type)
    column.validate(full=True)


def check_type_names(kind: pa.DataType) -> None:
    """Check that the names inside a type are UTF-8; other libraries take it for granted.

    Raises:
        pyarrow.ArrowInvalid: A name is not.
    """
    inner = [kind.field(index) for index in range(kind.num_fields)]
    try:
        _ = [field.name for field in inner], getattr(kind, "tz", None)
    except UnicodeDecodeError:
        raise pa.ArrowInvalid("a name inside its type is not UTF-8") from None
    for name in ("value_type", "storage_type", "run_end_type"):
        if not inner and isinstance(other := getattr(kind, name, None), pa.DataType):
            check_type_names(other)
    for field in inner:
        check_type_names(field.type)


def first_null(column: pa.ChunkedArray) -> int:
    """Return the index of the first null of a column that has one."""
    return int(np.argmax(to_numpy(column.is_null())))


def empty_table(schema: pa.Schema) -> pa.Table:
    """Return a table of no rows; `Schema.empty_table` imports pandas."""
    return pa.Table.from_batches([], schema)


def list_offsets(lists: pa.Array) -> NDArray[np.int64]:
    """Return where each list begins and ends in the values that `flatten` gives: int64 (rows + 1,), from 0.

    Args:
        lists: Lists of any of Arrow's five types without nulls: (rows,).
    """
    if types.is_list(lists.type) or types.is_large_list(lists.type):
        offsets = to_numpy(lists.offsets).astype(np.int64, copy=False)
        return offsets - offsets[0] if len(offsets) and offsets[0] else offsets
    # Views and lists of a fixed size have no offsets of this kind, so their lengths give them.
    import pyarrow.compute as pc

    return np.concatenate([[0], np.cumsum(to_numpy(pc.list_value_length(lists)), dtype=np.int64)])


def is_list(kind: pa.DataType) -> bool:
    """Return whether a type is one of Arrow's five list types."""
    plain = types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind)
    return bool(plain or is_list_view(kind))


def value_bytes(kind: pa.DataType) -> int:
    """Return the bytes of a value, or of a value of a list; 8 where values differ in size.

    Example:
        >>> value_bytes(pa.list_(pa.int32())), value_bytes(pa.bool_()), value_bytes(pa.string())
        (4, 1, 8)
    """
    value = kind.value_type if is_list(kind) else kind
    try:
        return int(max(8, value.bit_width)) // 8
    except ValueError:
        return 8


def is_list_view(kind: pa.DataType) -> bool:
    """Return whether a type is a list view, stored as offsets and sizes."""
    return bool(types.is_list_view(kind) or types.is_large_list_view(kind))


def is_text(kind: pa.DataType) -> bool:
    """Return whether a type is text: one of Arrow's three string types, or a dictionary of one, as categories are."""
    return _is_string(kind.value_type if types.is_dictionary(kind) else kind)


def _is_string(kind: pa.DataType) -> bool:
    return bool(types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind))


def is_messages(kind: pa.DataType) -> bool:
    """Return whether a type holds conversations: lists of structs with a `role`."""
    if not is_list(kind):
        return False
    value = kind.value_type
    return bool(types.is_struct(value) and value.get_field_index("role") >= 0)


def described(schema: pa.Schema) -> str:
    """Describe columns and their types for a message.

    Example:
        >>> import pyarrow as pa
        >>> described(pa.schema({"text": pa.string(), "n": pa.int64()}))
        '`text`: string, `n`: int64'
    """
    shown = [f"`{field.name}`: {_short(_said(field.type))}" for field in [*schema][:_MOST_DESCRIBED]]
    more = len(schema) - len(shown)
    return ", ".join(shown) + (f" and {more:,} more" if more else "") or "none"


def wider(a: pa.DataType, b: pa.DataType) -> pa.DataType | None:
    """Return the type that holds the values of two types, or None if none does.

    Integers, strings, and lists and structs of them are widened. All other types must be equal.

    Example:
        >>> import pyarrow as pa
        >>> print(wider(pa.list_(pa.int32()), pa.large_list(pa.int64())))
        large_list<item: int64>
    """
    if a.equals(b) or types.is_null(b):
        return a
    if types.is_null(a):
        return b
    if types.is_integer(a) and types.is_integer(b):
        return _wider_integer(a, b)
    if _is_string(a) and _is_string(b):
        return pa.large_string()
    # Casting a sliced list view gives an invalid array in pyarrow 26, so views must be equal.
    if is_list(a) and is_list(b) and not is_list_view(a) and not is_list_view(b):
        value = wider(a.value_type, b.value_type)
        large = types.is_large_list(a) or types.is_large_list(b)
        list_type: Callable[[pa.DataType], pa.DataType] = pa.large_list if large else pa.list_
        return None if value is None else list_type(value)
    if types.is_struct(a) and types.is_struct(b) and [f.name for f in a] == [f.name for f in b]:
        values = [wider(left.type, right.type) for left, right in zip(a, b, strict=True)]
        if None not in values:
            return pa.struct([(field.name, value) for field, value in zip(a, values, strict=True)])
    return None


def _wider_integer(a: pa.DataType, b: pa.DataType) -> pa.DataType | None:
    signed, unsigned = (a, b) if types.is_signed_integer(a) else (b, a)
    if types.is_signed_integer(signed) == types.is_signed_integer(unsigned):
        return a if a.bit_width > b.bit_width else b
    if signed.bit_width > unsigned.bit_width:
        return signed
    return pa.int64() if unsigned.bit_width < 64 else None


def _said(kind: pa.DataType) -> str:
    return str(kind).replace("extension<arrow.json>", "JSON")


def _short(text: str, limit: int = 80) -> str:
    return text if len(text) <= limit else text[: limit - 3] + "..."
