"""The per-token columns of a source, checked, in the types that packing works on.

Nothing wrong with tokens may pass silently: a null that reads as 0, or labels shifted against their tokens, trains a
model on something else without any error later.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pyarrow import types

from packsort._arrow import described, is_list
from packsort.errors import SourceError
from packsort.schema import INT32_COLUMNS, MAX_TOKEN_ID
from packsort.sources.source import Source


@dataclass(frozen=True)
class Tokens:
    """The columns to pack.

    Attributes:
        table: one row a sequence: `input_ids`, then the other per-token columns as the source orders them. All are
            `list` or `large_list` of integers, floats or booleans; `input_ids` and `labels` hold int32.
        left_out: the source's other columns, which are not packed.
        source: where the rows come from.
        piece_starts: where each row is cut: lists of the first token of each piece; None where none is.
        by_file: for each file of the source, what cutting left out: `turns_left_out`, `tokens_left_out`.
    """

    table: pa.Table
    left_out: tuple[str, ...]
    source: Source
    piece_starts: pa.ChunkedArray | None = None
    by_file: tuple[dict[str, int], ...] = ()

    @property
    def lengths(self) -> pa.ChunkedArray:
        """Tokens of each sequence, int32 or int64, (num_rows,)."""
        return pc.list_value_length(self.table["input_ids"])


def read_tokens(source: Source) -> Tokens:
    """Reads all per-token columns into memory and checks them.

    Columns of Arrow files that hold int32 already are not copied.

    Args:
        source: must have `input_ids`, a list column of integers.

    Raises:
        SourceError: There is no usable `input_ids`; or a value is wrong, and the message names file, column, row and
            value: a null list or a null in a list, a sequence without tokens, a column with more or fewer values than
            `input_ids`, a token id below 0 or over 2**31 - 1, a stored `length` that is not the list's.

    Examples:
        >>> import pyarrow as pa
        >>> from packsort.sources.source import open_source
        >>> tokens = read_tokens(open_source(pa.table({"input_ids": [[1, 2], [3]], "source": ["a", "b"]})))
        >>> tokens.lengths.to_pylist(), tokens.left_out
        ([2, 1], ('source',))
    """
    columns, left_out = token_columns(source)
    extra = ["length"] if _has_length(source) else []
    parts: list[pa.Table] = []
    first = 0
    for index, file in enumerate(source.files):
        part = source.read_file(index, [*columns, *extra])
        parts.append(check_tokens(part, source, first))
        first += file.rows
    table = pa.concat_tables(parts)
    return Tokens(table, left_out, source)


def token_columns(source: Source) -> tuple[list[str], tuple[str, ...]]:
    """Tells the per-token columns of a source from the others.

    Returns:
        The columns to pack, `input_ids` first, and those left out.

    Raises:
        SourceError: There is no `input_ids`, it is no list of integers, or `labels` is a list of something else.
    """
    schema = source.schema
    if "input_ids" not in schema.names or not _is_list_of(schema.field("input_ids").type, types.is_integer):
        raise SourceError(
            f"no usable column: there are {described(schema)}; "
            "`input_ids` (lists of integers) is needed, or, with a tokenizer, `messages`, `text` or `prompt` and "
            "`completion`"
        )
    if "labels" in schema.names:
        kind = schema.field("labels").type
        if is_list(kind) and not _is_list_of(kind, types.is_integer):
            raise SourceError(f"column `labels` is {kind}; lists of integers are needed")
    made = [name for name in ("seq_lengths", "sequence_ids", "piece_starts") if name in schema.names]
    if made:
        raise SourceError(f"column `{made[0]}` is one that packing makes: the source is packed already, or rename it")
    others = [field.name for field in schema if field.name != "input_ids" and _is_list_of(field.type, _is_plain)]
    columns = ["input_ids", *others]
    return columns, tuple(name for name in schema.names if name not in columns)


def check_tokens(table: pa.Table, source: Source, first_row: int = 0) -> pa.Table:
    """Checks per-token columns and brings them to the types of `Tokens.table`.

    Args:
        table: `input_ids` and other per-token columns, and `length` where its values shall be compared.
        source: names the rows in messages.
        first_row: the row of the source that is the table's first.

    Returns:
        The table without `length`.

    Raises:
        SourceError: As for `read_tokens`.
    """

    def where(row: int) -> str:
        return source.where(first_row + row)

    input_ids, lengths = _checked_lists(table["input_ids"], "input_ids", where)
    _raise_first(lengths == 0, where, lambda row: "sequence has no tokens: `input_ids` is an empty list")
    columns = {"input_ids": input_ids}
    for name in table.column_names:
        if name not in ("input_ids", "length"):
            columns[name], found = _checked_lists(table[name], name, where)
            _raise_other_length(name, found, lengths, where)
    if "length" in table.column_names:
        stored = table["length"]
        given = pc.fill_null(stored.cast(pa.int64(), safe=False), -1).to_numpy()
        _raise_first(
            given != lengths,
            where,
            lambda row: f"column `length` says {stored[row].as_py()}, `input_ids` has {lengths[row]} values",
        )
    return pa.table(columns)


def _raise_other_length(
    name: str, found: NDArray[np.int64], lengths: NDArray[np.int64], where: Callable[[int], str]
) -> None:
    _raise_first(
        found != lengths, where, lambda row: f"`{name}` has {found[row]} values, `input_ids` has {lengths[row]}"
    )


def _checked_lists(
    column: pa.ChunkedArray, name: str, where: Callable[[int], str]
) -> tuple[pa.ChunkedArray, NDArray[np.int64]]:
    """One per-token column as lists without nulls, and the length of each, (rows,)."""
    chunks: list[pa.Array] = []
    lengths = [np.empty(0, dtype=np.int64)]
    first = 0
    for chunk in column.chunks:

        def where_in_chunk(row: int, first: int = first) -> str:
            return where(first + row)

        chunks.append(_checked_chunk(chunk, name, where_in_chunk))
        lengths.append(np.diff(chunks[-1].offsets.to_numpy()).astype(np.int64, copy=False))
        first += len(chunk)
    return pa.chunked_array(chunks, type=_target(column.type, name)), np.concatenate(lengths)


def _checked_chunk(chunk: pa.Array, name: str, where: Callable[[int], str]) -> pa.Array:
    try:
        # Offsets of a damaged file may point anywhere; this costs rows, not tokens.
        chunk.validate(full=True)
    except pa.ArrowInvalid as error:
        raise SourceError(f"{where(0)} and after: column `{name}` is damaged: {error}") from error
    if chunk.null_count:
        _raise_first(_to_numpy(chunk.is_null()), where, lambda row: f"column `{name}` is null")
    target = _target(chunk.type, name)
    # Of what the slice holds only: nulls and values outside it do not count.
    values = chunk.flatten()
    # Views and lists of a fixed size have no offsets of the kind wanted, so these come from the lengths.
    if types.is_list(chunk.type) or types.is_large_list(chunk.type):
        offsets = chunk.offsets.to_numpy()
        offsets = offsets - offsets[0] if len(offsets) and offsets[0] else offsets
    else:
        ends = np.cumsum(_to_numpy(pc.list_value_length(chunk)), dtype=np.int64)
        offsets = np.concatenate([np.zeros(1, dtype=np.int64), ends])
    if values.null_count:
        row, at = _locate(int(np.argmax(_to_numpy(values.is_null()))), offsets)
        raise SourceError(f"{where(row)}: column `{name}` has a null at position {at}")
    if name in INT32_COLUMNS:
        _check_range(values, name, offsets, where)
    if chunk.type.equals(target):
        return chunk
    make = pa.LargeListArray if types.is_large_list(target) else pa.ListArray
    kind = pa.int64() if types.is_large_list(target) else pa.int32()
    return make.from_arrays(pa.array(offsets, type=kind), values.cast(target.value_type)).cast(target)


def _check_range(values: pa.Array, name: str, offsets: NDArray[Any], where: Callable[[int], str]) -> None:
    least = INT32_COLUMNS[name]
    if not len(values):
        return
    bounds = pc.min_max(values).as_py()
    if bounds["min"] >= least and bounds["max"] <= MAX_TOKEN_ID:
        return
    numbers = _to_numpy(values)
    index = int(np.argmax((numbers < least) | (numbers > MAX_TOKEN_ID)))
    row, at = _locate(index, offsets)
    raise SourceError(
        f"{where(row)}: column `{name}` has {numbers[index]} at position {at}; {least} to {MAX_TOKEN_ID} is allowed"
    )


def _target(kind: pa.DataType, name: str) -> pa.DataType:
    large = types.is_large_list(kind) or types.is_large_list_view(kind)
    if name in INT32_COLUMNS:
        if kind.value_type.equals(pa.int32()) and (types.is_list(kind) or types.is_large_list(kind)):
            return kind
        return pa.large_list(pa.int32()) if large else pa.list_(pa.int32())
    if types.is_list(kind) or types.is_large_list(kind):
        return kind
    return pa.large_list(kind.value_type) if large else pa.list_(kind.value_type)


def _locate(index: int, offsets: NDArray[Any]) -> tuple[int, int]:
    """The row that holds value `index`, and the value's position in it."""
    row = int(np.searchsorted(offsets, index, side="right")) - 1
    return row, index - int(offsets[row])


def _raise_first(wrong: NDArray[np.bool_], where: Callable[[int], str], what: Callable[[int], str]) -> None:
    if wrong.any():
        row = int(np.argmax(wrong))
        raise SourceError(f"{where(row)}: {what(row)}")


def _to_numpy(array: pa.Array) -> NDArray[Any]:
    return np.asarray(array.to_numpy(zero_copy_only=False))


def _is_list_of(kind: pa.DataType, what: Callable[[pa.DataType], bool]) -> bool:
    return is_list(kind) and what(kind.value_type)


def _is_plain(kind: pa.DataType) -> bool:
    return bool(types.is_integer(kind) or types.is_floating(kind) or types.is_boolean(kind))


def _has_length(source: Source) -> bool:
    schema = source.schema
    return "length" in schema.names and bool(types.is_integer(schema.field("length").type))
