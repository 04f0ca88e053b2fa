"""Packs as rows: the tokens of a plan's packs, gathered from token columns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pyarrow import types

from packsort import _core
from packsort.errors import LengthError, OptionError, SourceError
from packsort.planning.build import plan
from packsort.planning.plan import Ids, Plan
from packsort.schema import INPUT_IDS, LABELS, MAX_TOKEN_ID, NO_LOSS, PADDING, SEPARATOR
from packsort.sources.lazy_tokens import TokenColumns
from packsort.sources.source import Source, open_source
from packsort.sources.tokens import read_tokens

# Arrow's `list` has 32-bit offsets; a chunk of packs stays well below.
_TOKENS_A_CHUNK = 2**29


@dataclass(frozen=True)
class Fillers:
    """Tokens in packs that are of no sequence. No loss is taken on them, and other per-token columns have 0 there.

    Attributes:
        padding: the token that fills sequences up to a multiple.
        separator: the token between sequences; None for none.
    """

    padding: int = 0
    separator: int | None = None

    def values(self, column: str, dtype: Any) -> tuple[bytes, bytes]:
        """A value of padding and one of separators in a column of that dtype, as bytes."""
        numbers = (0, 0)
        if column == "input_ids":
            numbers = (self.padding, self.separator or 0)
        elif column == "labels":
            numbers = (NO_LOSS, NO_LOSS)
        return np.array(numbers[0], dtype).tobytes(), np.array(numbers[1], dtype).tobytes()


def fillers(separator: Any, pad_token_id: Any, vocabulary: int | None = None) -> Fillers:
    """Fillers of these tokens.

    Args:
        separator: a token id, or None.
        pad_token_id: likewise; None for 0.
        vocabulary: how many tokens there are; None where that is not known.

    Raises:
        OptionError: an id is no integer, or outside the vocabulary.
    """
    most = MAX_TOKEN_ID if vocabulary is None else vocabulary - 1
    of = "" if vocabulary is None else f": the tokenizer has {vocabulary:,} tokens"
    for name, token in (("separator", separator), ("pad_token_id", pad_token_id)):
        if token is None:
            continue
        if isinstance(token, (bool, np.bool_)) or not hasattr(token, "__index__"):
            raise OptionError(f"{name} is {token!r}, allowed is a token id, 0 to {most}{of}")
        if not 0 <= int(token) <= most:
            raise OptionError(f"{name} is {int(token)}, allowed is a token id, 0 to {most}{of}")
    return Fillers(int(pad_token_id or 0), None if separator is None else int(separator))


def pack(
    table: Any,
    max_length: int,
    *,
    seed: int | None = 0,
    separator: int | None = None,
    pad_token_id: int | None = None,
    **plan_options: Any,
) -> pa.Table:
    """Packs token columns in memory.

    Args:
        table: whatever is a source: a `pyarrow.Table`, a `datasets.Dataset`, a path, a polars DataFrame. It has
            `input_ids`, and may have `labels` and other list columns of numbers or booleans with a value a token.
        max_length: the most tokens a pack may hold.
        seed: shuffles packs and equal lengths; None keeps the order of first-fit decreasing.
        separator: a token id to put between any two sequences of a pack.
        pad_token_id: the token that fills sequences up to `pad_to_multiple_of`; None for 0.
        **plan_options: as for `packsort.plan`; `groups`, `splittable` and `alone` may be names of columns.

    Returns:
        One row a pack: `input_ids` and `labels` list<int32>, other per-token columns in their own type, `seq_lengths`
        list<int32> (tokens of each sequence, in order), `sequence_ids` list<int64> (its row in `table`), and, only
        where sequences are cut or keep their end, `piece_starts` list<int32> (the first token of each piece in its
        sequence). A separator, or the padding after a sequence, is a segment of its own in these three, whose
        `sequence_ids` is -2, or -1. Its labels are -100; where `table` has no `labels`, they are the tokens elsewhere.

    Raises:
        SourceError: there is no usable column, or a value in it is wrong.
        LengthError: a sequence is longer than `max_length`.
        OptionError: an option has a value that is not allowed.

    Example:
        >>> import packsort
        >>> import pyarrow as pa
        >>> table = pa.table({"input_ids": [[1, 2, 3], [4, 5, 6, 7], [8]]})
        >>> packsort.pack(table, max_length=5, seed=None).to_pylist()
        [{'input_ids': [4, 5, 6, 7, 8], 'seq_lengths': [4, 1], 'sequence_ids': [1, 2]},
         {'input_ids': [1, 2, 3], 'seq_lengths': [3], 'sequence_ids': [0]}]
        >>> packsort.pack(table, max_length=8, seed=None, pad_to_multiple_of=4, separator=99).to_pylist()
        [{'input_ids': [4, 5, 6, 7], 'labels': [4, 5, 6, 7], 'seq_lengths': [4], 'sequence_ids': [1]},
         {'input_ids': [1, 2, 3, 99, 8, 0, 0, 0], 'labels': [1, 2, 3, -100, 8, -100, -100, -100],
          'seq_lengths': [3, 1, 1, 3], 'sequence_ids': [0, -2, 2, -1]}]
    """
    between = fillers(separator, pad_token_id)
    tokens = read_tokens(open_source(table))
    planned = plan_lengths(
        tokens.source,
        tokens.lengths,
        "input_ids",
        max_length,
        seed=seed,
        separator=separator is not None,
        **plan_options,
    )
    step = max(1, _TOKENS_A_CHUNK // planned.max_length)
    starts = range(0, max(1, planned.num_packs), step)
    return pa.concat_tables([gather_packs(tokens.table, planned, at, at + step, between) for at in starts])


def plan_lengths(
    source: Source,
    lengths: Any,
    column: str,
    max_length: int,
    *,
    groups: Any = None,
    splittable: Any = None,
    alone: Any = None,
    **options: Any,
) -> Plan:
    """The plan of a source's lengths; one that is wrong is named with its file, its row there and `column`.

    Args:
        source: the rows.
        lengths: tokens of each row.
        column: where the lengths come from.
        max_length: as for `packsort.plan`.
        groups: as for `packsort.plan`, or the name of a column of the source.
        splittable: likewise.
        alone: likewise.
        **options: as for `packsort.plan`.
    """
    columns = {
        name: _source_column(source, name, values)
        for name, values in (("groups", groups), ("splittable", splittable), ("alone", alone))
    }
    try:
        return plan(lengths, max_length, **columns, **options)
    except LengthError as error:
        if error.row is None:
            raise
        where = f"{source.where(error.row)}: column `{column}`"
        if error.length is None:
            text = f"{where} is null, allowed is 1 and more"
        elif error.length < 1:
            text = f"{where} has length {error.length}, allowed is 1 and more"
        else:
            more = str(error).partition(" tokens, ")[2]
            text = f"{where} has {error.length} tokens, {more}; overlong `drop`, `truncate` or `split` allows that"
        raise LengthError(text, error.row, error.length) from None


def _source_column(source: Source, option: str, values: Any) -> Any:
    """A column of the source where `values` is its name."""
    if not isinstance(values, str):
        return values
    if values not in source.schema.names:
        names = ", ".join(f"`{name}`" for name in source.schema.names)
        raise SourceError(f"{option} is column `{values}`, which the source has not; there are {names}")
    column = source.read([values])[values]
    if option != "groups" and not types.is_boolean(column.type):
        raise OptionError(f"{option} is column `{values}` of {column.type}, allowed are booleans")
    if column.null_count:
        row = pc.index(column.is_null(), True).as_py()
        raise SourceError(f"{source.where(row)}: column `{values}` is null, allowed is a value for each row")
    return column


@dataclass(frozen=True)
class Segments:
    """What packs hold, in order: pieces of sequences, separators, padding.

    Attributes:
        offsets: where each pack starts: int64 (packs + 1,).
        ids: row of each piece, or SEPARATOR, or PADDING: uint32 or int64 (segments,).
        lengths: its tokens: int32 (segments,).
        starts: its first token in the row: int32 (segments,); None where that is 0.
    """

    offsets: NDArray[np.int64]
    ids: Ids
    lengths: NDArray[np.int32]
    starts: NDArray[np.int32] | None


def has_fillers(planned: Plan) -> bool:
    """Whether packs hold separators or padding."""
    return planned.separator or planned.pad_to_multiple_of > 1


def segments(planned: Plan, start: int, stop: int) -> Segments:
    """What packs `start` to `stop`, not included, hold."""
    offsets, ids = planned.list_packs(start, stop)
    lengths = planned.list_lengths(start, stop)
    starts = planned.list_starts(start, stop) if planned.has_starts else None
    multiple, separated = planned.pad_to_multiple_of, planned.separator
    if not has_fillers(planned):
        return Segments(offsets, ids, lengths, starts)
    kinds = np.empty((len(ids), 3), np.int64)  # after each piece a separator and padding, if only of no tokens
    kinds[:, 0], kinds[:, 1], kinds[:, 2] = ids, SEPARATOR, PADDING
    tokens = np.zeros((len(ids), 3), np.int32)
    tokens[:, 0], tokens[:, 1] = lengths, separated
    tokens[offsets[1:][np.diff(offsets) > 0] - 1, 1] = 0  # the last of a pack
    tokens[:, 2] = -(tokens[:, 0] + tokens[:, 1]) % multiple
    there = (tokens > 0).ravel()
    before = np.concatenate([[0], np.cumsum(there)])
    if starts is not None:
        spread = np.zeros((len(ids), 3), np.int32)
        spread[:, 0] = starts
        starts = spread.ravel()[there]
    return Segments(before[3 * offsets], kinds.ravel()[there], tokens.ravel()[there], starts)


def gather_packs(table: pa.Table, planned: Plan, start: int, stop: int, fillers: Fillers | None = None) -> pa.Table:
    """Packs `start` to `stop`, not included, as rows.

    Args:
        table: per-token columns of the rows that were planned, `list` or `large_list`.
        planned: their plan.
        start: the first pack.
        stop: the end; cut at the number of packs.
        fillers: the tokens of separators and padding.
    """
    found = segments(planned, start, stop)
    ends = np.concatenate([[0], np.cumsum(found.lengths, dtype=np.int64)])
    rows = pa.array(ends[found.offsets].astype(np.int32))
    pieces = pa.array(found.offsets.astype(np.int32))
    sources = {name: table[name] for name in table.column_names}
    if fillers is not None and has_fillers(planned):
        sources.setdefault("labels", table["input_ids"])  # no loss on fillers, where there is loss on all else
    columns = {
        name: pa.ListArray.from_arrays(
            rows, gather_values(column, name, found.ids, found.lengths, found.starts, fillers)
        )
        for name, column in sources.items()
    }
    columns["seq_lengths"] = pa.ListArray.from_arrays(pieces, pa.array(found.lengths))
    columns["sequence_ids"] = pa.ListArray.from_arrays(pieces, pa.array(found.ids.astype(np.int64)))
    if found.starts is not None:
        columns["piece_starts"] = pa.ListArray.from_arrays(pieces, pa.array(found.starts))
    return pa.table(columns)


def gather_values(
    column: pa.ChunkedArray,
    name: str,
    ids: Ids,
    lengths: NDArray[np.int32],
    starts: NDArray[np.int32] | None = None,
    fillers: Fillers | None = None,
) -> pa.Array:
    """Values `starts[i]` and on, `lengths[i]` of them, of rows `ids[i]`, one row after another, in their own type.

    Args:
        column: `list` or `large_list` of numbers or booleans.
        name: what the values become: `input_ids`, `labels` or another, which decides what stands in fillers.
        ids: rows, or `PADDING` and `SEPARATOR` where there are `fillers`: uint32 or int64 (pieces,).
        lengths: int32 (pieces,).
        starts: int32 (pieces,); None for 0.
        fillers: what stands in padding and separators.
    """
    kind = stored = column.type.value_type
    if types.is_boolean(kind):  # eight to a byte: gathered as bytes
        stored = pa.uint8()
        column = column.cast((pa.large_list if types.is_large_list(column.type) else pa.list_)(stored))
    between = (fillers or Fillers()).values(name, stored.to_pandas_dtype())
    values = _core.gather(column, ids, starts, lengths, between)
    array = pa.Array.from_buffers(stored, len(values) * 8 // stored.bit_width, [None, pa.py_buffer(values)])
    return array if stored is kind else array.cast(kind)


def gather_rows(
    tokens: TokenColumns,
    ids: NDArray[np.int64],
    lengths: NDArray[np.int32],
    starts: NDArray[np.int32] | None,
    fillers: Fillers | None,
) -> dict[str, NDArray[Any]]:
    """Gather pieces of rows from columns that are checked as they are read.

    Args:
        tokens: The columns.
        ids: Rows, or `PADDING` and `SEPARATOR` where there are `fillers`: int64 (segments,).
        lengths: Tokens of each segment: int32 (segments,).
        starts: First token of each segment in its row: int32 (segments,); None is 0.
        fillers: Tokens of separators and padding, or None.

    Returns:
        One array (tokens,) for each column.
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
            spread[kinds == kind] = np.frombuffer(value, values.dtype)[0]
        gathered[name] = spread
    return gathered
