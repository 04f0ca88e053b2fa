"""Gather the tokens of segments, one row after another.

`gather_packs` reads whole columns that were checked before (`sources.tokens`) on all threads. `gather_rows` reads
columns that are checked as they are read (`sources.tokens.lazy`) or stay in files (`sources.tokens.blocks`), for
loaders.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyarrow import types

from packsort import _core
from packsort._arrow import from_numpy
from packsort.gathering.fillers import Fillers, has_fillers
from packsort.gathering.segments import Segments, list_segments
from packsort.planning.plan import Ids, Plan
from packsort.schema import INPUT_IDS, LABELS, PADDING, PIECE_STARTS, SEPARATOR, SEQ_LENGTHS, SEQUENCE_IDS
from packsort.sources.sequence_columns import NONE, SequenceColumns


def gather_packs(
    table: pa.Table,
    planned: Plan,
    start: int,
    stop: int,
    fillers: Fillers | None = None,
    kept: SequenceColumns = NONE,
) -> pa.Table:
    """Gather packs `start` to `stop`, `stop` excluded, as one table.

    Args:
        table: Per-token columns of the rows that were planned: `list` or `large_list`.
        planned: Their plan.
        start: First pack.
        stop: End of the range; cut at the number of packs.
        fillers: Tokens of separators and padding.
        kept: Columns with one value for each row.

    Returns:
        One row for each pack: per-token columns, `seq_lengths`, `sequence_ids`, `piece_starts` where the plan has
        starts, and the columns that are kept, with one value for each segment.
    """
    segments = list_segments(planned, start, stop)
    fillers = fillers if has_fillers(planned) else None
    return table_of_packs(segments, segments, table.column_names, lambda name: table[name], fillers, kept)


def table_of_packs(
    segments: Segments,
    stored: Segments,
    names: Sequence[str],
    column: Callable[[str], pa.ChunkedArray],
    fillers: Fillers | None,
    kept: SequenceColumns,
) -> pa.Table:
    """Gather the tokens of segments and put them into a table of packs, as `gather_packs` returns it.

    Args:
        segments: The segments of the packs, by rows of the source.
        stored: The same segments by rows of the columns, where these are in another order.
        names: Names of the per-token columns.
        column: Returns one of them; one after another is asked for, so that only one need be in memory.
        fillers: Tokens of separators and padding, or None where packs hold neither.
        kept: Columns with one value for each row of the source.
    """
    ends = np.concatenate([[0], np.cumsum(segments.lengths, dtype=np.int64)])
    token_offsets = from_numpy(ends[segments.offsets].astype(np.int32))
    sources = {name: name for name in names}
    if fillers is not None:
        sources.setdefault(LABELS, INPUT_IDS)  # fillers carry no loss, so labels are needed
    columns = {
        name: pa.ListArray.from_arrays(
            token_offsets, gather_values(column(source), name, stored.ids, stored.lengths, stored.starts, fillers)
        )
        for name, source in sources.items()
    }
    return pa.table(columns | segment_columns(segments, kept))


def segment_columns(segments: Segments, kept: SequenceColumns = NONE) -> dict[str, pa.Array]:
    """Return the columns of packs that have one value for each segment.

    Args:
        segments: Segments of the packs.
        kept: Columns with one value for each row.
    """
    offsets = from_numpy(segments.offsets.astype(np.int32))
    columns: dict[str, NDArray[Any]] = {SEQ_LENGTHS: segments.lengths, SEQUENCE_IDS: segments.ids.astype(np.int64)}
    if segments.starts is not None:
        columns[PIECE_STARTS] = segments.starts
    columns |= kept.of_segments(segments.ids)
    return {name: pa.ListArray.from_arrays(offsets, from_numpy(values)) for name, values in columns.items()}


def gather_values(
    column: pa.ChunkedArray,
    name: str,
    ids: Ids,
    lengths: NDArray[np.int32],
    starts: NDArray[np.int32] | None = None,
    fillers: Fillers | None = None,
) -> pa.Array:
    """Gather the values of segments from one column.

    Args:
        column: `list` or `large_list` of numbers or booleans.
        name: Column that the values become. It decides the value of fillers: see `Fillers.values`.
        ids: Row of each segment, or `PADDING` or `SEPARATOR` where there are `fillers`: uint32 or int64 (segments,).
        lengths: Tokens of each segment: int32 (segments,).
        starts: First token of each segment in its row: int32 (segments,); None is 0.
        fillers: Tokens of separators and padding.

    Returns:
        The values of all segments, one after another, in the column's type.
    """
    kind = column.type.value_type
    stored = stored_type(kind)
    values = gather_bytes(column, name, ids, lengths, starts, fillers)
    array = pa.Array.from_buffers(stored, len(values) * 8 // stored.bit_width, [None, pa.py_buffer(values)])
    return array if stored is kind else array.cast(kind)


def gather_bytes(
    column: pa.ChunkedArray,
    name: str,
    ids: Ids,
    lengths: NDArray[np.int32],
    starts: NDArray[np.int32] | None = None,
    fillers: Fillers | None = None,
) -> NDArray[np.uint8]:
    """Gather the values of segments from one column, as bytes; see `gather_values`."""
    kind = column.type.value_type
    stored = stored_type(kind)
    if stored is not kind:
        column = column.cast((pa.large_list if types.is_large_list(column.type) else pa.list_)(stored))
    padding, separator = (fillers or Fillers()).values(name, stored.to_pandas_dtype())
    found: NDArray[np.uint8] = _core.gather(column, ids, starts, lengths, (padding.tobytes(), separator.tobytes()))
    return found


def stored_type(kind: pa.DataType) -> pa.DataType:
    """Return the type that values have while they are gathered.

    Arrow packs eight booleans into a byte, and the core moves whole bytes.
    """
    return pa.uint8() if types.is_boolean(kind) else kind


class RowColumns(Protocol):
    """Token columns to gather pieces of rows from."""

    def gather(
        self, ids: NDArray[np.int64], lengths: NDArray[np.int32], starts: NDArray[np.int32] | None = None
    ) -> dict[str, NDArray[Any]]:
        """Return the values of each column, (tokens,), as `TokenColumns.gather`."""


def gather_rows(
    tokens: RowColumns,
    ids: NDArray[np.int64],
    lengths: NDArray[np.int32],
    starts: NDArray[np.int32] | None,
    fillers: Fillers | None,
) -> dict[str, NDArray[Any]]:
    """Gather the values of segments for a loader.

    Args:
        tokens: The columns.
        ids: Row of each segment, or `PADDING` or `SEPARATOR` where there are `fillers`: int64 (segments,).
        lengths: Tokens of each segment: int32 (segments,).
        starts: First token of each segment in its row: int32 (segments,); None is 0.
        fillers: Tokens of separators and padding, or None where there are none.

    Returns:
        One array for each column, (tokens,).
    """
    if fillers is None:
        return tokens.gather(ids, lengths, starts)
    rows = ids >= 0
    found = tokens.gather(ids[rows], lengths[rows], None if starts is None else starts[rows])
    found.setdefault(LABELS, found[INPUT_IDS])  # fillers carry no loss, so labels are needed
    kinds = np.repeat(ids, lengths)  # (tokens,)
    gathered = {}
    for name, values in found.items():
        spread = np.empty(len(kinds), values.dtype)
        spread[kinds >= 0] = values
        for kind, value in zip((PADDING, SEPARATOR), fillers.values(name, values.dtype), strict=True):
            spread[kinds == kind] = value[0]
        gathered[name] = spread
    return gathered
