"""Token columns that are checked when they are read, so that a file of any size is open at once.

`tokens.read_tokens` looks at every token first, as packing to disk must. A loader reads the lengths, checks
what takes a step a row, and checks tokens as it gathers them.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import xxhash
from numpy.typing import NDArray
from pyarrow import types

from packsort import _core
from packsort.errors import DamagedError, PacksortError, SourceError
from packsort.schema import INT32_COLUMNS
from packsort.sources.source import Source
from packsort.sources.tokens import check_tokens, token_columns

_INT32 = np.iinfo(np.int32)
_SAMPLED = 64  # rows whose tokens are in a fingerprint


class TokenColumns:
    """The per-token columns of a source, to gather from.

    Columns of Arrow files are mapped, and those in memory are taken as they are; Parquet is decoded into memory.

    Attributes:
        source: where the rows come from.
        names: of the columns, `input_ids` first.

    Raises:
        SourceError: there is no usable `input_ids`; or, with file, column and row: a null, a sequence without tokens, a
            column with more or fewer values than `input_ids`, a stored `length` that is not the list's.
    """

    def __init__(self, source: Source) -> None:
        self.source = source
        names, _ = token_columns(source)
        self.names = tuple(names)
        stored = ["length"] if "length" in source.schema.names else []
        table = source.read([*names, *stored])
        self._columns = {name: _column(source, table, name) for name in names}
        self._check_rows(table["length"] if stored else None)

    def gather(
        self, ids: NDArray[np.int64], lengths: NDArray[np.int32], starts: NDArray[np.int32] | None = None
    ) -> dict[str, NDArray[Any]]:
        """`lengths[i]` values of rows `ids[i]`, from `starts[i]` on, one row after another: (tokens,) each.

        `input_ids` and `labels` are int32, others in their own type.

        Raises:
            SourceError: a token id is below 0, or does not fit.
            DamagedError: rows are no longer as they were planned.
        """
        found = {}
        for name, (column, dtype) in self._columns.items():
            try:
                values = column.gather(ids, starts, lengths).view(dtype)
            except PacksortError as error:
                raise DamagedError(f"column `{name}`: {error}") from error
            found[name] = values if name not in INT32_COLUMNS else self._as_int32(name, values, ids, lengths)
        return found

    @cached_property
    def fingerprint(self) -> str:
        """32 hexadecimal digits of the columns, the lengths, and the tokens of rows spread over all."""
        digest = xxhash.xxh3_128()
        rows = self.source.num_rows
        lengths = self.lengths("input_ids")
        digest.update(lengths.data)
        ids = np.unique(np.linspace(0, rows - 1, _SAMPLED, dtype=np.int64))
        for name, values in self.gather(ids, lengths[ids].astype(np.int32)).items():
            digest.update(f"{name}:{values.dtype};".encode())
            digest.update(np.ascontiguousarray(values).data)
        return digest.hexdigest()

    def _check_rows(self, stored: pa.ChunkedArray | None) -> None:
        """What takes a step a row: lists that do not fit each other."""
        lengths = self.lengths("input_ids")
        self._raise_unequal(np.maximum(lengths, 1), lengths, "sequence has no tokens: `input_ids` is an empty list")
        for name in self.names[1:]:
            self._raise_unequal(self.lengths(name), lengths, f"`{name}` has {{}} values, `input_ids` has {{}}")
        if stored is not None and types.is_integer(stored.type):
            given = pc.fill_null(stored.cast(pa.int64(), safe=False), -1).to_numpy()
            self._raise_unequal(given, lengths, "column `length` says {}, `input_ids` has {} values")

    def lengths(self, name: str) -> NDArray[np.int64]:
        """Values of a column in each row: int64 (rows,)."""
        try:
            return self._columns[name][0].lengths()
        except PacksortError as error:
            raise SourceError(f"column `{name}`: {error}") from error

    def _raise_unequal(self, found: NDArray[np.int64], lengths: NDArray[np.int64], what: str) -> None:
        wrong = found != lengths
        if wrong.any():
            row = int(np.argmax(wrong))
            raise SourceError(f"{self.source.where(row)}: {what.format(found[row], lengths[row])}")

    def _as_int32(
        self, name: str, values: NDArray[Any], ids: NDArray[np.int64], lengths: NDArray[np.int32]
    ) -> NDArray[np.int32]:
        least = INT32_COLUMNS[name]
        if values.dtype == np.int32 and least == _INT32.min:
            return values
        if len(values) and (values.min() < least or (values.dtype != np.int32 and values.max() > _INT32.max)):
            at = int(np.argmax((values < least) | (values > _INT32.max)))
            row = int(ids[np.searchsorted(np.cumsum(lengths), at, side="right")])
            raise SourceError(
                f"{self.source.where(row)}: column `{name}` has {values[at]}, allowed is {least} to {_INT32.max}"
            )
        return values.astype(np.int32, copy=False)


def _column(source: Source, table: pa.Table, name: str) -> tuple[_core.ListColumn, Any]:
    """A column to gather from, and the dtype of its values."""
    column = table[name]
    if not (types.is_list(column.type) or types.is_large_list(column.type)):
        # Lists of a fixed size and views are rare: brought into lists by what checks every token of them.
        both = ["input_ids"] if name == "input_ids" else ["input_ids", name]
        column = check_tokens(table.select(both), source)[name]
    row = 0
    for chunk in column.chunks:
        if chunk.null_count:
            at = row + pc.index(chunk.is_null(), True).as_py()
            raise SourceError(f"{source.where(at)}: column `{name}` is null")
        if chunk.values.null_count:
            _raise_null(source, name, chunk, row)
        row += len(chunk)
    kind = column.type.value_type
    if types.is_boolean(kind):  # eight to a byte: gathered as bytes
        lists = pa.large_list if types.is_large_list(column.type) else pa.list_
        return _core.ListColumn(column.cast(lists(pa.uint8()))), np.dtype(np.bool_)
    return _core.ListColumn(column), np.dtype(kind.to_pandas_dtype())


def _raise_null(source: Source, name: str, chunk: pa.Array, first_row: int) -> None:
    """Names a null in the lists of a chunk; nulls outside a slice do not count."""
    values = chunk.flatten()
    if not values.null_count:
        return
    at = pc.index(values.is_null(), True).as_py()
    ends = np.cumsum(pc.list_value_length(chunk).to_numpy())
    row = int(np.searchsorted(ends, at, side="right"))
    first = int(ends[row - 1]) if row else 0
    raise SourceError(f"{source.where(first_row + row)}: column `{name}` has a null at position {at - first}")
