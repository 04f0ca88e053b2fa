"""Token columns of a source, read into memory and checked, in the types that packing works on.

A fault in the tokens must not pass in silence. A null that reads as 0, or labels that are shifted against their tokens,
trains a model on something else without any later error.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pyarrow import types

from packsort._arrow import from_numpy, to_numpy
from packsort.schema import INPUT_IDS, INT32_COLUMNS, LENGTH, MAX_TOKEN_ID
from packsort.sources import token_rules
from packsort.sources.source import Source
from packsort.sources.token_rules import Where


@dataclass(frozen=True)
class Tokens:
    """Token columns in memory, checked.

    Attributes:
        table: One sequence a row: `input_ids`, then the other token columns in the order of the source. All are `list`
            or `large_list` of integers, floats or booleans; `input_ids` and `labels` hold int32.
        left_out: The source's other columns, which are not packed.
        source: The source of the rows.
        piece_starts: First token of each piece of each row, lists of int32: (rows,). None if no row is cut.
        by_file: For each file of the source, what cutting left out: `turns_left_out`, `tokens_left_out`.
    """

    table: pa.Table
    left_out: tuple[str, ...]
    source: Source
    piece_starts: pa.ChunkedArray | None = None
    by_file: tuple[dict[str, int], ...] = ()

    @property
    def lengths(self) -> pa.ChunkedArray:
        """Number of tokens of each sequence: int32 or int64, (rows,)."""
        return pc.list_value_length(self.table[INPUT_IDS])


def read_tokens(source: Source) -> Tokens:
    """Read all token columns of a source into memory and check them.

    Columns of Arrow files that hold int32 already are not copied.

    Args:
        source: Rows with `input_ids`, lists of integers.

    Raises:
        SourceError: There is no usable `input_ids`; or a value is wrong, and the message names file, row, column and
            value: a null list, a null in a list, a sequence without tokens, a column with more or fewer values than
            `input_ids`, a token id below 0 or above 2**31 - 1, or a stored `length` that differs from the list's.

    Example:
        >>> import pyarrow as pa
        >>> from packsort.sources.source import open_source
        >>> tokens = read_tokens(open_source(pa.table({"input_ids": [[1, 2], [3]], "source": ["a", "b"]})))
        >>> tokens.lengths.to_pylist(), tokens.left_out
        ([2, 1], ('source',))
    """
    columns, left_out = token_rules.token_columns(source.schema)
    stored = [LENGTH] if token_rules.has_lengths(source.schema) else []
    parts: list[pa.Table] = []
    first = 0
    for index, file in enumerate(source.files):
        parts.append(check_tokens(source.read_file(index, [*columns, *stored]), source, first))
        first += file.rows
    return Tokens(pa.concat_tables(parts), left_out, source)


def check_tokens(table: pa.Table, source: Source, first_row: int = 0) -> pa.Table:
    """Check token columns and convert them to the types of `Tokens.table`.

    Args:
        table: `input_ids` and other token columns, and `length` if its values are to be compared.
        source: The source of the rows, which names them in messages.
        first_row: Row of the source that is the table's first.

    Returns:
        The table without `length`.

    Raises:
        SourceError: As for `read_tokens`.
    """

    def where(row: int) -> str:
        return source.where(first_row + row)

    input_ids, lengths = _checked_column(table[INPUT_IDS], INPUT_IDS, where)
    token_rules.check_not_empty(lengths, where)
    columns = {INPUT_IDS: input_ids}
    for name in table.column_names:
        if name not in (INPUT_IDS, LENGTH):
            columns[name], found = _checked_column(table[name], name, where)
            token_rules.check_same_lengths(name, found, lengths, where)
    if LENGTH in table.column_names:
        token_rules.check_stored_lengths(table[LENGTH], lengths, where)
    return pa.table(columns)


def _checked_column(column: pa.ChunkedArray, name: str, where: Where) -> tuple[pa.ChunkedArray, NDArray[np.int64]]:
    """Return a token column as lists without nulls, and the length of each list, (rows,)."""
    chunks: list[pa.Array] = []
    lengths = [np.empty(0, dtype=np.int64)]
    first = 0
    for chunk in column.chunks:

        def where_in_chunk(row: int, first: int = first) -> str:
            return where(first + row)

        chunks.append(_checked_chunk(chunk, name, where_in_chunk))
        lengths.append(np.diff(to_numpy(chunks[-1].offsets)).astype(np.int64, copy=False))
        first += len(chunk)
    return pa.chunked_array(chunks, type=_target_type(column.type, name)), np.concatenate(lengths)


def _checked_chunk(chunk: pa.Array, name: str, where: Where) -> pa.Array:
    try:
        # Offsets of a damaged file may point anywhere. This costs time by rows, not by tokens.
        chunk.validate(full=True)
    except pa.ArrowInvalid as error:
        raise token_rules.damaged(name, error, where(0)) from error
    if chunk.null_count:
        raise token_rules.null_list(name, where(int(np.argmax(to_numpy(chunk.is_null())))))
    target = _target_type(chunk.type, name)
    # `flatten` returns the values of the slice only, so nulls and values outside it do not count.
    values = chunk.flatten()
    # Views and lists of a fixed size have no offsets of this kind, so their lengths give them.
    if types.is_list(chunk.type) or types.is_large_list(chunk.type):
        offsets = to_numpy(chunk.offsets)
        offsets = offsets - offsets[0] if len(offsets) and offsets[0] else offsets
    else:
        ends = np.cumsum(to_numpy(pc.list_value_length(chunk)), dtype=np.int64)
        offsets = np.concatenate([np.zeros(1, dtype=np.int64), ends])
    if values.null_count:
        row, position = _locate(int(np.argmax(to_numpy(values.is_null()))), offsets)
        raise token_rules.null_value(name, position, where(row))
    if name in INT32_COLUMNS:
        _check_range(values, name, offsets, where)
    if chunk.type.equals(target):
        return chunk
    lists = pa.LargeListArray if types.is_large_list(target) else pa.ListArray
    kind = np.int64 if types.is_large_list(target) else np.int32
    return lists.from_arrays(from_numpy(offsets.astype(kind)), values.cast(target.value_type)).cast(target)


def _check_range(values: pa.Array, name: str, offsets: NDArray[Any], where: Where) -> None:
    # Arrow finds the bounds without a copy; NumPy locates the value only if there is one.
    bounds = pc.min_max(values).as_py() if len(values) else None
    if bounds is None or (bounds["min"] >= INT32_COLUMNS[name] and bounds["max"] <= MAX_TOKEN_ID):
        return
    numbers = to_numpy(values)
    index = token_rules.first_out_of_range(numbers, name)
    assert index is not None
    row, position = _locate(index, offsets)
    raise token_rules.out_of_range(name, numbers[index], position, where(row))


def _target_type(kind: pa.DataType, name: str) -> pa.DataType:
    """Return the type that a token column has in `Tokens.table`."""
    large = types.is_large_list(kind) or types.is_large_list_view(kind)
    is_plain_list = types.is_list(kind) or types.is_large_list(kind)
    if name in INT32_COLUMNS:
        if kind.value_type.equals(pa.int32()) and is_plain_list:
            return kind
        return pa.large_list(pa.int32()) if large else pa.list_(pa.int32())
    if is_plain_list:
        return kind
    return pa.large_list(kind.value_type) if large else pa.list_(kind.value_type)


def _locate(index: int, offsets: NDArray[Any]) -> tuple[int, int]:
    """Return the row that holds value `index`, and the value's position in it."""
    row = int(np.searchsorted(offsets, index, side="right")) - 1
    return row, index - int(offsets[row])
