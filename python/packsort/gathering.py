"""Packs as rows: the tokens of a plan's packs, gathered from token columns."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pyarrow import types

from packsort import _core
from packsort._types import described, is_list
from packsort.errors import LengthError, SourceError
from packsort.planning import Ids, Plan, plan
from packsort.sources import Source, open_source, read_tokens

# Arrow's `list` has 32-bit offsets; a chunk of packs stays well below.
_TOKENS_A_CHUNK = 2**29


def pack(table: Any, max_length: int, *, seed: int | None = 0, **plan_options: Any) -> pa.Table:
    """Packs token columns in memory.

    Args:
        table: whatever is a source: a `pyarrow.Table`, a `datasets.Dataset`, a path, a polars DataFrame. It has
            `input_ids`, and may have `labels` and other list columns of numbers or booleans with a value a token.
        max_length: the most tokens a pack may hold.
        seed: shuffles packs and equal lengths; None keeps the order of first-fit decreasing.
        **plan_options: as for `packsort.plan`.

    Returns:
        One row a pack: `input_ids` and `labels` list<int32>, other per-token columns in their own type, `seq_lengths`
        list<int32> (tokens of each sequence, in order), `sequence_ids` list<int64> (its row in `table`), and, only
        where sequences are cut, `piece_starts` list<int32> (the first token of each piece in its sequence).

    Raises:
        SourceError: there is no usable column, or a value in it is wrong.
        LengthError: a sequence is longer than `max_length`.

    Example:
        >>> import packsort
        >>> import pyarrow as pa
        >>> table = pa.table({"input_ids": [[1, 2, 3], [4, 5, 6, 7], [8]]})
        >>> packsort.pack(table, max_length=5, seed=None).to_pylist()
        [{'input_ids': [4, 5, 6, 7, 8], 'seq_lengths': [4, 1], 'sequence_ids': [1, 2]},
         {'input_ids': [1, 2, 3], 'seq_lengths': [3], 'sequence_ids': [0]}]
    """
    tokens = read_tokens(open_source(table))
    planned = plan_lengths(tokens.source, tokens.lengths, "input_ids", max_length, seed=seed, **plan_options)
    step = max(1, _TOKENS_A_CHUNK // planned.max_length)
    parts = [gather_packs(tokens.table, planned, at, at + step) for at in range(0, max(1, planned.num_packs), step)]
    return pa.concat_tables(parts)


def source_lengths(source: Source) -> tuple[pa.ChunkedArray, str]:
    """Tokens of each row of a source: its column `length`, or else how long the lists of `input_ids` are.

    Returns:
        (integers (rows,), the column's name).

    Raises:
        SourceError: there is no such column.
    """
    for name in ("length", "input_ids"):
        if name not in source.schema.names:
            continue
        kind = source.schema.field(name).type
        if types.is_integer(kind):
            return source.read([name])[name], name
        if is_list(kind):
            return pc.list_value_length(source.read([name])[name]), name
        if name == "length":
            files = ", ".join(f"`{file.path}`" for file in source.files[:3])
            raise SourceError(f"{files}: column `length` is {kind}, allowed are integers")
    raise SourceError(
        f"no usable column: there are {described(source.schema)}; `length` (integers) or `input_ids` (lists) is needed"
    )


def plan_lengths(
    source: Source, lengths: Any, column: str, max_length: int, *, groups: Any = None, alone: Any = None, **options: Any
) -> Plan:
    """The plan of a source's lengths; one that is wrong is named with its file, its row there and `column`.

    Args:
        source: the rows.
        lengths: tokens of each row.
        column: where the lengths come from.
        max_length: as for `packsort.plan`.
        groups: as for `packsort.plan`, or the name of a column of the source.
        alone: likewise.
        **options: as for `packsort.plan`.
    """
    groups, alone = _source_column(source, groups), _source_column(source, alone)
    try:
        return plan(lengths, max_length, groups=groups, alone=alone, **options)
    except LengthError as error:
        if error.row is None:
            raise
        where = f"{source.where(error.row)}: column `{column}`"
        if error.length is None:
            text = f"{where} is null, allowed is 1 and more"
        elif error.length < 1:
            text = f"{where} has length {error.length}, allowed is 1 and more"
        else:
            text = (
                f"{where} has {error.length} tokens, more than max_length {max_length}; "
                "overlong `drop`, `truncate` or `split` allows that"
            )
        raise LengthError(text, error.row, error.length) from None


def _source_column(source: Source, values: Any) -> Any:
    """A column of the source where `values` is its name."""
    if not isinstance(values, str):
        return values
    column = source.read([values])[values]
    if column.null_count:
        row = pc.index(column.is_null(), True).as_py()
        raise SourceError(f"{source.where(row)}: column `{values}` is null, allowed is a value for each row")
    return column


def gather_packs(table: pa.Table, planned: Plan, start: int, stop: int) -> pa.Table:
    """Packs `start` to `stop`, not included, as rows.

    Args:
        table: per-token columns of the rows that were planned, `list` or `large_list`.
        planned: their plan.
        start: the first pack.
        stop: the end; cut at the number of packs.
    """
    offsets, ids = planned.list_packs(start, stop)
    lengths = planned.list_lengths(start, stop)
    starts = planned.list_starts(start, stop) if planned.num_split else None
    ends = np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])
    rows = pa.array(ends[offsets].astype(np.int32))
    pieces = pa.array(offsets.astype(np.int32))
    columns = {
        name: pa.ListArray.from_arrays(rows, gather_values(table[name], ids, lengths, starts))
        for name in table.column_names
    }
    columns["seq_lengths"] = pa.ListArray.from_arrays(pieces, pa.array(lengths))
    columns["sequence_ids"] = pa.ListArray.from_arrays(pieces, pa.array(ids.astype(np.int64)))
    if starts is not None:
        columns["piece_starts"] = pa.ListArray.from_arrays(pieces, pa.array(starts))
    return pa.table(columns)


def gather_values(
    column: pa.ChunkedArray, ids: Ids, lengths: NDArray[np.int32], starts: NDArray[np.int32] | None = None
) -> pa.Array:
    """Values `starts[i]` and on, `lengths[i]` of them, of rows `ids[i]`, one row after another, in their own type."""
    kind = column.type.value_type
    if types.is_boolean(kind):  # eight to a byte: gathered as bytes
        lists = pa.large_list if types.is_large_list(column.type) else pa.list_
        return gather_values(column.cast(lists(pa.uint8())), ids, lengths, starts).cast(kind)
    values = _core.gather(column, ids, starts, lengths)
    return pa.Array.from_buffers(kind, len(values) * 8 // kind.bit_width, [None, pa.py_buffer(values)])
