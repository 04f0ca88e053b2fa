"""How many turns conversations have: what splitting one breaks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from packsort._arrow import is_list, is_messages
from packsort.errors import OptionError, SourceError

if TYPE_CHECKING:
    from packsort.sources.source import Source

_ROWS_A_BATCH = 10_000


def multi_turn_flags(turns: Any, rows: int) -> NDArray[np.bool_]:
    """Which conversations have more than one turn.

    Args:
        turns: turns of each, integers, or whether each is multi-turn, booleans, (rows,): a column, array or list.
        rows: how many there have to be.

    Raises:
        OptionError: another number of them, nulls, or another type.

    Example:
        >>> multi_turn_flags([1, 3, 2], 3).tolist(), multi_turn_flags([False, True], 2).tolist()
        ([False, True, True], [False, True])
    """
    try:
        column = pa.chunked_array(turns) if isinstance(turns, list) and not turns else _column(turns)
    except (pa.ArrowInvalid, pa.ArrowTypeError, TypeError, ValueError) as error:
        raise OptionError(f"turns are a {type(turns).__name__}, allowed are integers or booleans ({error})") from error
    if len(column) != rows:
        raise OptionError(f"turns has {len(column)} values, but there are {rows} lengths; allowed is one each")
    if column.null_count:
        row = int(np.flatnonzero(column.is_null().to_numpy())[0])
        raise OptionError(f"turns of sequence {row} is null, allowed is 0 and more, or true and false")
    if pa.types.is_boolean(column.type):
        return np.asarray(column.to_numpy())
    if not pa.types.is_integer(column.type):
        raise OptionError(f"turns are {column.type}, allowed are integers or booleans")
    return np.asarray(column.to_numpy() > 1)


def _column(turns: Any) -> pa.ChunkedArray:
    if isinstance(turns, pa.ChunkedArray):
        return turns
    if hasattr(turns, "__arrow_c_stream__"):
        return pa.chunked_array(turns)
    return pa.chunked_array([turns if isinstance(turns, pa.Array) else pa.array(turns)])


def turns_of_messages(messages: pa.ChunkedArray) -> NDArray[np.int64]:
    """Messages of the assistant in each conversation: int64 (rows,).

    Example:
        >>> ask, answer = {"role": "user", "content": "?"}, {"role": "assistant", "content": "!"}
        >>> turns_of_messages(pa.chunked_array([[[ask, answer], [ask, answer, ask, answer]]])).tolist()
        [1, 2]
    """
    roles = pc.struct_field(pc.list_flatten(messages), "role")
    ends = np.cumsum(pc.fill_null(pc.list_value_length(messages), 0).to_numpy(), dtype=np.int64)
    spoken = np.asarray(pc.fill_null(pc.equal(roles, "assistant"), False).to_numpy())
    before = np.concatenate([np.zeros(1, np.int64), np.cumsum(spoken, dtype=np.int64)])
    counted: NDArray[np.int64] = np.diff(before[np.concatenate([np.zeros(1, np.int64), ends])])
    return counted


def source_turns(source: Source, column: str | None) -> tuple[Any, str | None]:
    """Turns of the rows of a source.

    Args:
        source: the rows.
        column: integers, booleans, conversations (`messages`), or `labels`, whose runs of tokens with loss are
            counted; None takes the first there is of `messages` and `labels`.

    Returns:
        (turns (rows,), the column they come from); (None, None) where they are not known: there is no such column, or
        every token carries loss, so that `labels` do not tell turns apart.

    Raises:
        SourceError: There is no column `column`.
    """
    names = source.schema.names
    if column is None:
        column = next((name for name in ("messages", "labels") if name in names), None)
        if column is None:
            return None, None
    if column not in names:
        raise SourceError(f"no column `{column}` to count turns by; there are {', '.join(f'`{n}`' for n in names)}")
    kind = source.schema.field(column).type
    if is_messages(kind):
        found = [turns_of_messages(pa.chunked_array([batch.column(0)])) for batch in _batches(source, column)]
        return np.concatenate(found), column
    if is_list(kind) and pa.types.is_integer(kind.value_type):
        counted = [_runs(batch.column(0)) for batch in _batches(source, column)]
        if not any(masked for _, masked in counted):
            return None, None
        return np.concatenate([runs for runs, _ in counted]), column
    return source.read([column])[column], column


def _batches(source: Source, column: str) -> Any:
    return (batch for _, _, batch in source.batches([column], _ROWS_A_BATCH))


def _runs(labels: pa.Array) -> tuple[NDArray[np.int64], bool]:
    """Runs of tokens with loss in each row, and whether any token is without."""
    with_loss = np.asarray(pc.fill_null(pc.greater_equal(labels.flatten(), 0), False).to_numpy(zero_copy_only=False))
    lengths = pc.fill_null(pc.list_value_length(labels), 0).to_numpy(zero_copy_only=False)
    offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths, dtype=np.int64)])
    starts = with_loss.copy()
    starts[1:] &= ~with_loss[:-1]
    # A row may end with loss and the next begin with it: two runs.
    firsts = offsets[:-1][lengths > 0]
    starts[firsts] = with_loss[firsts]
    before = np.concatenate([np.zeros(1, np.int64), np.cumsum(starts, dtype=np.int64)])
    return np.diff(before[offsets]), not bool(with_loss.all())
