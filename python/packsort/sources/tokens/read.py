"""Token columns of a source, read into memory and checked, in the types that packing works on.

A fault in the tokens must not pass in silence. A null that reads as 0, or labels that are shifted against their tokens,
trains a model on something else without any later error.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pyarrow import types

from packsort._arrow import from_numpy, list_offsets, to_numpy
from packsort._options import EmptySequences
from packsort.schema import ATTENTION_MASK, INPUT_IDS, INT32_COLUMNS, LABELS, LENGTH, MAX_TOKEN_ID, POSITION_IDS
from packsort.sources.source import Source
from packsort.sources.tokens import rules
from packsort.sources.tokens.disagreeing import uneven_across_files, values_in_rows
from packsort.sources.tokens.loss_masks import apply_masks
from packsort.sources.tokens.padding import find_padding
from packsort.sources.tokens.roles import MASKS, column_roles, fits, unknown_masks
from packsort.sources.tokens.rules import Where
from packsort.sources.tokens.uses import ColumnUses


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
        uses: What became of columns that are not packed as they are.
    """

    table: pa.Table
    left_out: tuple[str, ...]
    source: Source
    piece_starts: pa.ChunkedArray | None = None
    by_file: tuple[dict[str, int], ...] = ()
    uses: ColumnUses = field(default_factory=ColumnUses)

    @property
    def lengths(self) -> pa.ChunkedArray:
        """Number of tokens of each sequence: int32 or int64, (rows,)."""
        return pc.list_value_length(self.table[INPUT_IDS])


def read_tokens(source: Source, empty: EmptySequences = "error") -> Tokens:
    """Read all token columns of a source into memory and check them.

    Padding at an end of a row, where `attention_mask` is 0, is left out, and masks of the loss become labels. Other
    columns of Arrow files that hold int32 already are not copied.

    Args:
        source: Rows with `input_ids`, lists of integers.
        empty: Treatment of sequences without tokens; `"drop"` keeps them as empty lists, which `plan` then drops.

    Raises:
        SourceError: There is no usable `input_ids`; or a value is wrong, and the message names file, row, column and
            value: a null list, a null in a list, a sequence without tokens, a column with more or fewer values than
            `input_ids`, a token id below 0 or above 2**31 - 1, a stored `length` that differs from the list's, or a
            mask that cannot be applied.

    Example:
        >>> import pyarrow as pa
        >>> from packsort.sources.source import open_source
        >>> table = pa.table({"input_ids": [[1, 2, 0], [3, 0, 0]], "attention_mask": [[1, 1, 0], [1, 0, 0]]})
        >>> read_tokens(open_source(table)).table["input_ids"].to_pylist()
        [[1, 2], [3]]
    """
    with source.naming():
        roles = column_roles(source.schema)
    uneven = uneven_across_files(source, roles.lists)
    columns = [name for name in roles.read if name not in uneven]
    first = 0
    files: list[_FileTokens] = []
    for index, file in enumerate(source.files):
        files.append(_FileTokens(source.read_file(index, columns), source, first, empty))
        first += file.rows
    lengths = np.concatenate([file.lengths for file in files])
    for name in files[0].undecided:
        found = np.concatenate([file.found(name) for file in files])
        if not fits(name, found, lengths):
            uneven[name] = int((found != lengths).sum())
    packed = [name for name in roles.lists if name not in uneven]
    tables = [file.read(packed) for file in files]
    padding = [file.padding_left_out for file in files]
    return Tokens(
        pa.concat_tables(tables),
        tuple(name for name in source.schema.names if name in roles.other or name in uneven),
        source,
        uses=ColumnUses(
            masks=tuple(name for name in roles.lists if name in MASKS),
            unknown_masks=unknown_masks(packed),
            uneven=uneven,
            nested=roles.nested,
            padding=np.concatenate(padding) if any(rows.any() for rows in padding) else None,
        ),
    )


class _FileTokens:
    """Token columns of one file. Columns that may not be per token wait until all files have been read.

    Args:
        table: The columns as they are stored.
        source: The source of the rows, which names them in messages.
        first_row: Row of the source that is the table's first.
        empty: Treatment of sequences without tokens.

    Attributes:
        lengths: Values of `input_ids` in each row: int64 (rows,).
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
        self._padding = None if mask is None else find_padding(mask, self._where)
        kept, first = self.lengths, None
        self.padding_left_out = np.zeros_like(self.lengths)
        if self._padding is not None:
            kept, first, self.padding_left_out = self._padding.kept, self._padding.first, self._padding.left_out
            columns = {name: self._padding.strip(column) for name, column in columns.items()}
        if empty == "error":
            rules.check_not_empty(kept, self._where, self.padding_left_out)
        if LENGTH in table.column_names:
            rules.check_stored_lengths(table[LENGTH], self.lengths, kept, self._where)
        self._ready = apply_masks(pa.table(columns), self._where, first)

    def found(self, name: str) -> NDArray[np.int64]:
        """Return the number of values of an undecided column in each row, -1 where it is null: int64 (rows,)."""
        return values_in_rows(self._table[name])

    def read(self, names: Sequence[str]) -> pa.Table:
        """Return token columns, in the order of `names`; labels that masks became follow `input_ids`."""
        columns = {name: self._ready[name] for name in self._ready.column_names if name not in names}
        for name in names:
            if name in self.undecided:
                column = self._checked(name)
                columns[name] = column if self._padding is None else self._padding.strip(column)
                if name == POSITION_IDS:
                    rules.check_positions(columns[name], self._where)
            elif name in self._ready.column_names:
                columns[name] = self._ready[name]
        return pa.table({INPUT_IDS: columns.pop(INPUT_IDS), **columns})

    def _checked(self, name: str) -> pa.ChunkedArray:
        column, found = checked_column(self._table[name], name, self._where)
        rules.check_same_lengths(name, found, self.lengths, self._where)
        return column


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
