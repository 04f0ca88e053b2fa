"""Token columns of a source that are checked as they are read, so that a file of any size opens at once.

`tokens.read_tokens` looks at every token first, as packing to disk must. A loader checks the lengths of all rows when
it opens a source, and the tokens of a pack when it gathers them.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import xxhash
from numpy.typing import NDArray
from pyarrow import types

from packsort import _core
from packsort._arrow import to_numpy
from packsort._lazy import lazy_property
from packsort.errors import DamagedError, PacksortError
from packsort.schema import INPUT_IDS, INT32_COLUMNS, LENGTH
from packsort.sources import token_rules
from packsort.sources.source import Source
from packsort.sources.tokens import check_tokens

_SAMPLED_ROWS = 64  # rows whose tokens are part of a fingerprint


class TokenColumns:
    """Token columns to gather from.

    Columns of Arrow files are mapped, and columns in memory are used as they are. Parquet is decoded into memory.

    Args:
        source: Rows with `input_ids`, lists of integers.

    Attributes:
        source: The source of the rows.
        names: Names of the columns, `input_ids` first.

    Raises:
        SourceError: There is no usable `input_ids`; or a row is wrong, and the message names file, row and column: a
            null list, a null in a list, a sequence without tokens, a column with more or fewer values than
            `input_ids`, or a stored `length` that differs from the list's.

    Example:
        >>> import numpy as np, pyarrow as pa
        >>> from packsort.sources.source import open_source
        >>> columns = TokenColumns(open_source(pa.table({"input_ids": [[1, 2], [3], [4, 5, 6]]})))
        >>> columns.gather(np.array([2, 0]), np.array([3, 1], np.int32))
        {'input_ids': array([4, 5, 6, 1], dtype=int32)}
    """

    def __init__(self, source: Source) -> None:
        self.source = source
        names, _ = token_rules.token_columns(source.schema)
        self.names = tuple(names)
        stored = [LENGTH] if token_rules.has_lengths(source.schema) else []
        table = source.read([*names, *stored])
        self._columns = {name: _list_column(source, table, name) for name in names}
        lengths = self.lengths(INPUT_IDS)
        token_rules.check_not_empty(lengths, source.where)
        for name in names[1:]:
            token_rules.check_same_lengths(name, self.lengths(name), lengths, source.where)
        if stored:
            token_rules.check_stored_lengths(table[LENGTH], lengths, source.where)

    def gather(
        self, ids: NDArray[np.int64], lengths: NDArray[np.int32], starts: NDArray[np.int32] | None = None
    ) -> dict[str, NDArray[Any]]:
        """Gather pieces of rows, one piece after another.

        Args:
            ids: Row of each piece: int64, (pieces,).
            lengths: Number of tokens of each piece: int32, (pieces,).
            starts: First token of each piece in its row: int32, (pieces,). None is 0.

        Returns:
            Values of each column, (tokens,): int32 for `input_ids` and `labels`, the column's own type for others.

        Raises:
            SourceError: A token id or label is out of range.
            DamagedError: Rows changed since they were planned.
        """
        found = {}
        for name, (column, dtype) in self._columns.items():
            try:
                values = column.gather(ids, starts, lengths).view(dtype)
            except PacksortError as error:
                raise DamagedError(f"column `{name}`: {error}") from error
            if name in INT32_COLUMNS:
                self._check_range(name, values, ids, lengths, starts)
                values = values.astype(np.int32, copy=False)
            found[name] = values
        return found

    @lazy_property
    def fingerprint(self) -> str:
        """32 hexadecimal digits of the columns, the lengths, and the tokens of 64 rows spread over all."""
        digest = xxhash.xxh3_128()
        lengths = self.lengths(INPUT_IDS)
        digest.update(lengths.data)
        ids = np.unique(np.linspace(0, self.source.num_rows - 1, _SAMPLED_ROWS, dtype=np.int64))
        for name, values in self.gather(ids, lengths[ids].astype(np.int32)).items():
            digest.update(f"{name}:{values.dtype};".encode())
            digest.update(np.ascontiguousarray(values).data)
        return digest.hexdigest()

    def lengths(self, name: str) -> NDArray[np.int64]:
        """Return the number of values of a column in each row: int64, (rows,).

        Raises:
            SourceError: The column's lists point outside its values.
        """
        try:
            return self._columns[name][0].lengths()
        except PacksortError as error:
            raise token_rules.damaged(name, error, self.source.where(0)) from error

    def _check_range(
        self,
        name: str,
        values: NDArray[Any],
        ids: NDArray[np.int64],
        lengths: NDArray[np.int32],
        starts: NDArray[np.int32] | None,
    ) -> None:
        index = token_rules.first_out_of_range(values, name)
        if index is None:
            return
        ends = np.cumsum(lengths)
        piece = int(np.searchsorted(ends, index, side="right"))
        position = index - int(ends[piece] - lengths[piece]) + (0 if starts is None else int(starts[piece]))
        raise token_rules.out_of_range(name, values[index], position, self.source.where(int(ids[piece])))


def _list_column(source: Source, table: pa.Table, name: str) -> tuple[_core.ListColumn, Any]:
    """Return a column to gather from, and the dtype of its values."""
    column = table[name]
    if not (types.is_list(column.type) or types.is_large_list(column.type)):
        # Lists of a fixed size and views are rare. Converting them to lists checks every token.
        both = [INPUT_IDS] if name == INPUT_IDS else [INPUT_IDS, name]
        column = check_tokens(table.select(both), source)[name]
    row = 0
    for chunk in column.chunks:
        if chunk.null_count:
            at = row + pc.index(chunk.is_null(), True).as_py()
            raise token_rules.null_list(name, source.where(at))
        if chunk.values.null_count:
            _check_nulls(source, name, chunk, row)
        row += len(chunk)
    kind = column.type.value_type
    if types.is_boolean(kind):  # Arrow stores eight to a byte, and the gather moves bytes
        lists = pa.large_list if types.is_large_list(column.type) else pa.list_
        return _core.ListColumn(column.cast(lists(pa.uint8()))), np.dtype(np.bool_)
    return _core.ListColumn(column), np.dtype(kind.to_pandas_dtype())


def _check_nulls(source: Source, name: str, chunk: pa.Array, first_row: int) -> None:
    """Refuse a null in the lists of a chunk; nulls outside a slice do not count."""
    values = chunk.flatten()
    if not values.null_count:
        return
    at = pc.index(values.is_null(), True).as_py()
    ends = np.cumsum(to_numpy(pc.list_value_length(chunk)))
    row = int(np.searchsorted(ends, at, side="right"))
    first = int(ends[row - 1]) if row else 0
    raise token_rules.null_value(name, at - first, source.where(first_row + row))
