"""Token columns of a source that are checked as they are read, so that a file of any size opens at once.

`tokens.read_tokens` looks at every token first, as packing to disk must. A loader checks the lengths of all rows when
it opens a source, and the tokens of a pack when it gathers them.
"""

from __future__ import annotations

from collections.abc import Callable
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
from packsort._options.choices import EmptySequences
from packsort.errors import DamagedError, PacksortError
from packsort.schema import ATTENTION_MASK, INPUT_IDS, INT32_COLUMNS, LABELS, LENGTH, POSITION_IDS
from packsort.sources.source import Source
from packsort.sources.tokens import rules
from packsort.sources.tokens.checked import checked_column
from packsort.sources.tokens.disagreeing import uneven_across_files, values_in_rows
from packsort.sources.tokens.loss_masks import masked_labels
from packsort.sources.tokens.padding import find_padding
from packsort.sources.tokens.roles import MASKS, column_roles, fits, unknown_masks
from packsort.sources.tokens.uses import ColumnUses

_SAMPLED_ROWS = 64  # rows whose tokens are part of a fingerprint


class TokenColumns:
    """Token columns to gather from.

    Columns of Arrow files are mapped, and columns in memory are used as they are. Parquet is decoded into memory. Only
    `attention_mask` is read to its end, to find padding; masks of the loss are applied when a pack is gathered.

    Args:
        source: Rows with `input_ids`, lists of integers.
        empty: Treatment of sequences without tokens; `"drop"` gives them length 0, and `plan` then drops them.

    Attributes:
        source: The source of the rows.
        names: Names of the columns, `input_ids` first.
        lengths: Tokens of each row without padding: int64 (rows,).
        uses: What became of columns that are not packed as they are.

    Raises:
        SourceError: There is no usable `input_ids`; or a row is wrong, and the message names file, row and column: a
            null list, a null in a list, a sequence without tokens, a column with more or fewer values than
            `input_ids`, a stored `length` that differs from the list's, or padding between tokens.

    Example:
        >>> import numpy as np, pyarrow as pa
        >>> from packsort.sources.source import open_source
        >>> columns = TokenColumns(open_source(pa.table({"input_ids": [[1, 2], [3], [4, 5, 6]]})))
        >>> columns.gather(np.array([2, 0]), np.array([3, 1], np.int32))
        {'input_ids': array([4, 5, 6, 1], dtype=int32)}
    """

    def __init__(self, source: Source, empty: EmptySequences = "error") -> None:
        self.source = source
        with source.naming():
            roles = column_roles(source.schema)
        uneven = uneven_across_files(source, roles.lists)
        table = source.read([name for name in roles.read if name not in uneven])
        self._columns: dict[str, tuple[_core.ListColumn, Any]] = {}
        lengths = self._add(INPUT_IDS, plain_lists(table[INPUT_IDS], INPUT_IDS, source.where))
        padding = None
        for name in table.column_names[1 : len(table.column_names) - roles.has_length]:
            if name != LABELS and name not in MASKS:
                found = values_in_rows(table[name])
                if not fits(name, found, lengths):
                    uneven[name] = int((found != lengths).sum())
                    continue
            lists = plain_lists(table[name], name, source.where)
            rules.check_same_lengths(name, self._add(name, lists), lengths, source.where)
            if name == ATTENTION_MASK:
                del self._columns[name]
                padding = find_padding(lists, source.where)
        self.lengths = lengths if padding is None else padding.kept
        self._first = None if padding is None else padding.first
        if empty == "error":
            rules.check_not_empty(self.lengths, source.where, None if padding is None else padding.left_out)
        if roles.has_length:
            rules.check_stored_lengths(table[LENGTH], lengths, self.lengths, source.where)
        self._masks = roles.loss_masks
        packed = [name for name in self._columns if name not in self._masks]
        if self._masks and LABELS not in packed:
            packed.insert(1, LABELS)
        self.names = tuple(packed)
        self.uses = ColumnUses(
            masks=tuple(name for name in roles.lists if name in MASKS),
            unknown_masks=unknown_masks(packed),
            uneven=uneven,
            nested=roles.nested,
            padding=None if padding is None else padding.left_out,
        )

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
            SourceError: A token id or label is out of range, or `position_ids` start anew within a row.
            DamagedError: Rows changed since they were planned.
        """
        if self._first is not None:
            starts = (self._first[ids] + (0 if starts is None else starts)).astype(np.int32)
        found = {}
        for name, (column, dtype) in self._columns.items():
            try:
                values = column.gather(ids, starts, lengths).view(dtype)
            except PacksortError as error:
                raise DamagedError(f"column `{name}`: {error}") from error
            if name in INT32_COLUMNS:
                index = rules.first_out_of_range(values, name)
                if index is not None:
                    raise rules.out_of_range(name, values[index], *self._locate(index, ids, lengths, starts))
                values = values.astype(np.int32, copy=False)
            if name == POSITION_IDS:
                index = rules.first_restart(values, np.cumsum(lengths) - lengths)
                if index is not None:
                    raise rules.restarts(self._locate(index, ids, lengths, starts)[1])
            found[name] = values
        if self._masks:
            masks = {name: found.pop(name) for name in self._masks}
            found[LABELS] = masked_labels(
                found[INPUT_IDS], found.get(LABELS), masks, lambda index: self._locate(index, ids, lengths, starts)
            )
        return {name: found[name] for name in self.names}

    @lazy_property
    def fingerprint(self) -> str:
        """32 hexadecimal digits of the columns, the lengths, and the tokens of 64 rows spread over all."""
        digest = xxhash.xxh3_128()
        digest.update(self.lengths.data)
        ids = np.unique(np.linspace(0, self.source.num_rows - 1, _SAMPLED_ROWS, dtype=np.int64))
        for name, values in self.gather(ids, self.lengths[ids].astype(np.int32)).items():
            digest.update(f"{name}:{values.dtype};".encode())
            digest.update(np.ascontiguousarray(values).data)
        return digest.hexdigest()

    def _add(self, name: str, lists: pa.ChunkedArray) -> NDArray[np.int64]:
        """Add a column to gather from, and return the number of its values in each row: int64, (rows,).

        Raises:
            SourceError: The column's lists point outside its values.
        """
        self._columns[name] = list_column(lists)
        try:
            return self._columns[name][0].lengths()
        except PacksortError as error:
            raise rules.damaged(name, error, self.source.where(0)) from error

    def _locate(
        self,
        index: int,
        ids: NDArray[np.int64],
        lengths: NDArray[np.int32],
        starts: NDArray[np.int32] | None,
    ) -> tuple[int, str]:
        """Return the position of a gathered value in its row, and the name of the row."""
        ends = np.cumsum(lengths)
        piece = int(np.searchsorted(ends, index, side="right"))
        position = index - int(ends[piece] - lengths[piece]) + (0 if starts is None else int(starts[piece]))
        return position, self.source.where(int(ids[piece]))


FillerValues = Callable[[str, Any], tuple[NDArray[Any], NDArray[Any]]]
"""From the name and the dtype of a column to the values of padding and separators, (1,) each."""


def list_column(
    lists: pa.ChunkedArray, name: str = "", fillers: FillerValues | None = None
) -> tuple[_core.ListColumn, np.dtype[Any]]:
    """Return a column to gather from, and the dtype of its values.

    Args:
        lists: `list` or `large_list` without nulls.
        name: Name of the column, for the fillers.
        fillers: Values of padding and separators, or None where there are neither.
    """
    kind = lists.type.value_type
    dtype = np.dtype(kind.to_pandas_dtype())
    if types.is_boolean(kind):  # Arrow stores eight to a byte, and the gather moves bytes
        list_type = pa.large_list if types.is_large_list(lists.type) else pa.list_
        lists, dtype = lists.cast(list_type(pa.uint8())), np.dtype(np.bool_)
    if fillers is None:
        return _core.ListColumn(lists), dtype
    padding, separator = fillers(name, dtype)
    return _core.ListColumn(lists, (padding.tobytes(), separator.tobytes())), dtype


def plain_lists(column: pa.ChunkedArray, name: str, where: rules.Where) -> pa.ChunkedArray:
    """Return a column as `list` or `large_list` without nulls.

    Args:
        column: Lists of any of Arrow's types.
        name: Its name.
        where: Names a row.

    Raises:
        SourceError: There is a null.
    """
    if not (types.is_list(column.type) or types.is_large_list(column.type)):
        # Lists of a fixed size and views are rare. Converting them to lists checks every token.
        return checked_column(column, name, where)[0]
    row = 0
    for chunk in column.chunks:
        if chunk.null_count:
            at = row + pc.index(chunk.is_null(), True).as_py()
            raise rules.null_list(name, where(at))
        if chunk.values.null_count:
            _check_nulls(chunk, name, where, row)
        row += len(chunk)
    return column


def _check_nulls(chunk: pa.Array, name: str, where: rules.Where, first_row: int) -> None:
    """Refuse a null in the lists of a chunk; nulls outside a slice do not count."""
    values = chunk.flatten()
    if not values.null_count:
        return
    at = pc.index(values.is_null(), True).as_py()
    ends = np.cumsum(to_numpy(pc.list_value_length(chunk)))
    row = int(np.searchsorted(ends, at, side="right"))
    first = int(ends[row - 1]) if row else 0
    raise rules.null_value(name, at - first, where(first_row + row))
