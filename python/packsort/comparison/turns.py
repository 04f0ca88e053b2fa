"""Number of turns of conversations: splitting a multi-turn conversation breaks it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from packsort._arrow import as_chunked, first_null, is_list, is_messages, to_numpy
from packsort._progress import Advance, ignore
from packsort.errors import OptionError, SourceError
from packsort.schema import LABELS
from packsort.sources.source import Source

_ROWS_A_BATCH = 512  # few enough that long rows take little memory


def multi_turn_flags(turns: Any, rows: int) -> NDArray[np.bool_]:
    """Tell conversations of more than one turn from those of one.

    Args:
        turns: Turns of each conversation as integers, or whether each is multi-turn as booleans, (rows,): a column,
            array or list.
        rows: Number of conversations.

    Returns:
        bool (rows,).

    Raises:
        OptionError: `turns` has another length or type, or a null.

    Example:
        >>> multi_turn_flags([1, 3, 2], 3).tolist(), multi_turn_flags([False, True], 2).tolist()
        ([False, True, True], [False, True])
    """
    try:
        column = as_chunked(turns)
    except (pa.ArrowException, TypeError, ValueError) as error:
        raise OptionError(
            f"turns must be a column of integers or booleans, got {type(turns).__name__}: {error}"
        ) from error
    if len(column) != rows:
        raise OptionError(f"turns must have a value for each of {rows:,} sequences, got {len(column):,}")
    if column.null_count:
        raise OptionError(
            f"turns has a null at sequence {first_null(column)}; every sequence needs a number of turns, or True or "
            "False"
        )
    if pa.types.is_boolean(column.type):
        return to_numpy(column)
    if not pa.types.is_integer(column.type):
        raise OptionError(f"turns must be integers or booleans, got {column.type}")
    return to_numpy(column) > 1


def turns_of_messages(messages: pa.ChunkedArray) -> NDArray[np.int64]:
    """Count the messages of the assistant in each conversation.

    Returns:
        int64 (rows,).

    Example:
        >>> ask, answer = {"role": "user", "content": "?"}, {"role": "assistant", "content": "!"}
        >>> turns_of_messages(pa.chunked_array([[[ask, answer], [ask, answer, ask, answer]]])).tolist()
        [1, 2]
    """
    roles = pc.struct_field(pc.list_flatten(messages), "role")
    ends = np.cumsum(to_numpy(pc.fill_null(pc.list_value_length(messages), 0)), dtype=np.int64)
    spoken = to_numpy(pc.fill_null(pc.equal(roles, "assistant"), False))
    before = np.concatenate([np.zeros(1, np.int64), np.cumsum(spoken, dtype=np.int64)])
    counted: NDArray[np.int64] = np.diff(before[np.concatenate([np.zeros(1, np.int64), ends])])
    return counted


def source_turns(source: Source, column: str | None, advance: Advance = ignore) -> tuple[Any, str | None]:
    """Count the turns of the rows of a source.

    Args:
        source: The rows.
        column: Column of integers, booleans, conversations (`messages`), or `labels`, whose runs of tokens with loss
            are counted. None takes the first of `messages` and `labels` that exists.
        advance: Called with the rows whose turns were counted.

    Returns:
        (turns (rows,), name of their column). (None, None) where turns are not known: there is no such column, or every
        token carries loss, so that `labels` do not tell turns apart.

    Raises:
        SourceError: There is no column `column`, or it does not tell turns.
    """
    with source.naming():
        return _found(source, column, advance)


def _found(source: Source, column: str | None, advance: Advance) -> tuple[Any, str | None]:
    names = source.schema.names
    if column is None:
        column = next((name for name in ("messages", LABELS) if name in names), None)
        if column is None:
            return None, None
    if column not in names:
        raise SourceError(f"no column `{column}` to count turns by; there are {', '.join(f'`{n}`' for n in names)}")
    kind = source.schema.field(column).type
    if is_messages(kind):
        found = [turns_of_messages(pa.chunked_array([batch.column(0)])) for batch in _batches(source, column, advance)]
        return np.concatenate(found), column
    if is_list(kind) and pa.types.is_integer(kind.value_type):
        counted = [_runs(batch.column(0)) for batch in _batches(source, column, advance)]
        if not any(masked for _, masked in counted):
            return None, None
        return np.concatenate([runs for runs, _ in counted]), column
    return source.read([column])[column], column


def _batches(source: Source, column: str, advance: Advance) -> Iterator[pa.RecordBatch]:
    for _, _, batch in source.batches([column], _ROWS_A_BATCH):
        yield batch
        advance(batch.num_rows)


def _runs(labels: pa.Array) -> tuple[NDArray[np.int64], bool]:
    """Count the runs of tokens with loss in each row.

    Returns:
        (runs (rows,), whether there is a token without loss).
    """
    with_loss = to_numpy(pc.fill_null(pc.greater_equal(labels.flatten(), 0), False))
    lengths = to_numpy(pc.fill_null(pc.list_value_length(labels), 0))
    offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths, dtype=np.int64)])
    starts = with_loss.copy()
    starts[1:] &= ~with_loss[:-1]
    # A row may end with loss and the next begin with it: two runs.
    firsts = offsets[:-1][lengths > 0]
    starts[firsts] = with_loss[firsts]
    before = np.concatenate([np.zeros(1, np.int64), np.cumsum(starts, dtype=np.int64)])
    return np.diff(before[offsets]), not bool(with_loss.all())
