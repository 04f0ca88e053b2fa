"""Reader of some rows of a table, in any order, such as those of a shuffled dataset."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from packsort._arrow import from_numpy
from packsort.errors import SourceError
from packsort.sources.formats.reader import check_columns, checked_schema, naming

_PART_ROWS = 1 << 16
_PART_BYTES = 256 << 20


class SelectedReader:
    """Rows of a table by their numbers.

    Rows are copied part by part, when they are read. Taking all of them at once would copy the whole table first, and
    fail where its strings have more than 2 GiB.

    Args:
        table: The table.
        rows: Number of each row: int64, (rows,).
        path: Name of the rows in messages.

    Raises:
        SourceError: The table is damaged, or has no such row.

    Attributes:
        path, schema, rows, bytes: As for `Reader`.

    Example:
        >>> import numpy as np, pyarrow as pa
        >>> SelectedReader(pa.table({"n": [10, 11, 12]}), np.array([2, 0]), "<table>").read(["n"])["n"].to_pylist()
        [12, 10]
    """

    def __init__(self, table: pa.Table, rows: NDArray[np.int64], path: str) -> None:
        self.path = path
        with naming(path):
            self.schema = checked_schema(table.schema)
            table.validate()  # `nbytes` follows offsets
        if len(rows) and not (rows.min() >= 0 and rows.max() < table.num_rows):
            raise SourceError(f"`{path}` selects rows up to {rows.max():,} of a table with {table.num_rows:,} rows")
        self.rows = len(rows)
        row_bytes = table.nbytes / max(1, table.num_rows)
        self.bytes = int(row_bytes * self.rows)
        self._table = table
        self._numbers = rows
        self._checked: set[tuple[int, int, str]] = set()  # first row, rows and column of what was checked
        self._part = max(1, min(_PART_ROWS, int(_PART_BYTES / max(1.0, row_bytes))))

    def read(self, columns: Sequence[str]) -> pa.Table:
        """Read all rows of some columns, as `Reader.read`."""
        table = self._table.select(list(columns))
        return pa.concat_tables([pa.Table.from_batches([], table.schema), *self._parts(table)])

    def batches(self, columns: Sequence[str], rows: int) -> Iterator[pa.RecordBatch]:
        """Read some columns in record batches, as `Reader.batches`."""
        for part in self._parts(self._table.select(list(columns))):
            yield from part.to_batches(max_chunksize=rows)

    def _parts(self, table: pa.Table) -> Iterator[pa.Table]:
        batches = table.to_batches()
        starts = np.cumsum([0, *(batch.num_rows for batch in batches)])
        for first in range(0, self.rows, self._part):
            numbers = self._numbers[first : first + self._part]
            for index in np.unique(np.searchsorted(starts, numbers, side="right") - 1).tolist():
                self._check(batches[index], int(starts[index]))
            with naming(self.path):
                yield from _take(batches, starts, numbers)

    def _check(self, batch: pa.RecordBatch, first_row: int) -> None:
        """Check the columns of a batch that were not checked yet: taking rows follows their offsets."""
        keys = {name: (first_row, batch.num_rows, name) for name in batch.schema.names}
        names = [name for name, key in keys.items() if key not in self._checked]
        check_columns(batch.select(names), self.path, first_row)
        self._checked.update(keys.values())


def _join(batches: Sequence[pa.RecordBatch]) -> pa.Table:
    return pa.Table.from_batches(batches).combine_chunks()


def _take(
    batches: Sequence[pa.RecordBatch], starts: NDArray[np.int64], numbers: NDArray[np.int64]
) -> Iterator[pa.Table]:
    """Yield rows by their numbers, in one table or, where its offsets would overflow, in several."""
    order = np.argsort(numbers, kind="stable")
    ascending = numbers[order]
    # Each batch gives its rows in their order; the last step puts them into the order that was asked for.
    ends = np.searchsorted(ascending, starts)
    taken = [
        batch.take(from_numpy(ascending[ends[i] : ends[i + 1]] - starts[i]))
        for i, batch in enumerate(batches)
        if ends[i] < ends[i + 1]
    ]
    places = np.empty(len(order), np.int64)
    places[order] = np.arange(len(order))
    try:
        part = _join(taken).take(from_numpy(places))
    except pa.ArrowInvalid:
        if len(numbers) == 1:
            raise
        yield from _take(batches, starts, numbers[: len(numbers) // 2])
        yield from _take(batches, starts, numbers[len(numbers) // 2 :])
    else:
        yield part
