"""Token columns of some rows of a file, checked, in the types that packing works on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pyarrow import types

from packsort._arrow import from_numpy, list_offsets, to_numpy
from packsort._options.choices import EmptySequences
from packsort.schema import (
    ATTENTION_MASK,
    INPUT_IDS,
    INT32_COLUMNS,
    LABELS,
    LENGTH,
    MAX_TOKEN_ID,
    NO_LOSS,
    POSITION_IDS,
)
from packsort.sources.source import Source
from packsort.sources.tokens import rules
from packsort.sources.tokens.disagreeing import values_in_rows
from packsort.sources.tokens.loss_masks import apply_masks
from packsort.sources.tokens.padding import find_padding
from packsort.sources.tokens.roles import MASKS
from packsort.sources.tokens.rules import Where


class CheckedRows:
    """Token columns of some rows of a file. Columns that may not be per token wait until all rows have been read.

    Args:
        table: The columns as they are stored.
        source: The source of the rows, which names them in messages.
        first_row: Row of the source that is the table's first.
        empty: Treatment of sequences without tokens.

    Attributes:
        lengths: Values of `input_ids` in each row: int64 (rows,).
        padding: Padding that is left out, or None if there is none.
        padding_left_out: Tokens of padding of each row that are left out: int64 (rows,).
        undecided: Columns that are packed if they have a value for each token.
    """

    def __init__(self, table: pa.Table, source: Source, first_row: int, empty: EmptySequences) -> None:
        self._table = table
        self._where: Where = lambda row: source.where(first_row + row)
        ids, self.lengths = checked_column(table[INPUT_IDS], INPUT_IDS, self._where)
        columns = {INPUT_IDS: ids}
        for name in table.column_names:
            if name == LABELS or name in MASKS:
                columns[name] = self._checked(name)
        self.undecided = [name for name in table.column_names if name not in (*columns, LENGTH)]
        mask = columns.pop(ATTENTION_MASK, None)
        self.padding = None if mask is None else find_padding(mask, self._where)
        kept, first = self.lengths, None
        self.padding_left_out = np.zeros_like(self.lengths)
        if self.padding is not None:
            kept, first, self.padding_left_out = self.padding.kept, self.padding.first, self.padding.left_out
            columns = {name: self.padding.strip(column) for name, column in columns.items()}
        if empty == "error":
            rules.check_not_empty(kept, self._where, self.padding_left_out)
        if LENGTH in table.column_names:
            rules.check_stored_lengths(table[LENGTH], self.lengths, kept, self._where)
        self._ready = apply_masks(pa.table(columns), self._where, first)
        self._table = table.select(self.undecided)  # the other columns are no longer needed as they are stored

    def trained(self) -> NDArray[np.bool_] | None:
        """Return whether a token of each row carries loss, bool (rows,); None where there are no labels."""
        if LABELS not in self._ready.column_names:
            return None
        trained = [_any_loss(chunk) for chunk in self._ready[LABELS].chunks]
        return np.concatenate(trained) if trained else np.zeros(0, np.bool_)

    def found(self, name: str) -> NDArray[np.int64]:
        """Return the number of values of an undecided column in each row, -1 where it is null: int64 (rows,)."""
        return values_in_rows(self._table[name])

    def read(self, names: Sequence[str]) -> pa.Table:
        """Return token columns, in the order of `names`; labels that masks became follow `input_ids`."""
        columns = {name: self._ready[name] for name in self._ready.column_names if name not in names}
        for name in names:
            if name in self.undecided:
                column = self._checked(name)
                columns[name] = column if self.padding is None else self.padding.strip(column)
                if name == POSITION_IDS:
                    rules.check_positions(columns[name], self._where)
            elif name in self._ready.column_names:
                columns[name] = self._ready[name]
        return pa.table({INPUT_IDS: columns.pop(INPUT_IDS), **columns})

    def _checked(self, name: str) -> pa.ChunkedArray:
        column, found = checked_column(self._table[name], name, self._where)
        rules.check_same_lengths(name, found, self.lengths, self._where)
        return column


def _any_loss(labels: pa.Array) -> NDArray[np.bool_]:
    """Return whether each list holds a label that carries loss: bool (rows,)."""
    ends = list_offsets(labels)
    before = np.concatenate([[0], np.cumsum(to_numpy(labels.flatten()) != NO_LOSS, dtype=np.int64)])
    found: NDArray[np.bool_] = before[ends[1:]] > before[ends[:-1]]
    return found


def checked_column(column: pa.ChunkedArray, name: str, where: Where) -> tuple[pa.ChunkedArray, NDArray[np.int64]]:
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
    if chunk.null_count:
        raise rules.null_list(name, where(int(np.argmax(to_numpy(chunk.is_null())))))
    target = _target_type(chunk.type, name)
    # `flatten` returns the values of the slice only, so nulls and values outside it do not count.
    values = chunk.flatten()
    offsets = list_offsets(chunk)
    if values.null_count:
        row, position = _locate(int(np.argmax(to_numpy(values.is_null()))), offsets)
        raise rules.null_value(name, position, where(row))
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
    index = rules.first_out_of_range(numbers, name)
    assert index is not None
    row, position = _locate(index, offsets)
    raise rules.out_of_range(name, numbers[index], position, where(row))


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
