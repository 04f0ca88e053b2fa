"""The second pass: bring sequences to their shards.

Every task cuts its rows into pieces, one for each target: a shard, or a range of shards. Ray moves the pieces. Where
there are more shards than `FAN_OUT`, pieces go to ranges of shards first, and each range is cut once more, so that no
task has thousands of small pieces.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, cast

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from packsort._arrow import from_numpy, is_list, to_numpy
from packsort._options.input import InputConfig
from packsort.gathering.gather import gather_values
from packsort.planning.counted import CountedPlan
from packsort.planning.length_counts import CountsOfLengths
from packsort.ray.blocks import Stretch
from packsort.ray.kept import kept_values
from packsort.ray.remote import kept_remote, one_thread, task
from packsort.schema import INPUT_IDS, LENGTH
from packsort.sources.formats.memory import MemoryReader
from packsort.sources.sequence_columns import Dictionaries
from packsort.sources.source import Source
from packsort.sources.tokens.checked import CheckedRows

FAN_OUT = 256
"""Most targets of a task."""

NUMBER, ROW = "packsort.number", "packsort.row"
"""Columns of pieces: the number of a sequence in the plan, and its row in the source."""


def token_schema(schema: pa.Schema, packed: Sequence[str]) -> pa.Schema:
    """Return the token columns of `rows_of`."""
    nothing = MemoryReader(schema.empty_table(), "<nothing>")
    rows = CheckedRows(nothing.read(packed), cast(Source, nothing), 0, "drop")
    return rows.read(packed).schema


@dataclass(frozen=True)
class Reading:
    """Facts that all tasks which cut stretches share.

    Attributes:
        config: Options of what goes in.
        schema: Columns of all blocks.
        packed: List columns that are packed, or applied as masks.
        keep: Columns with one value for each sequence that packs keep.
        dictionaries: Texts of those that are text.
    """

    config: InputConfig
    schema: pa.Schema
    packed: Sequence[str]
    keep: Sequence[str]
    dictionaries: Dictionaries


def _scatter(
    stretch: Stretch,
    reading: Reading,
    bounds: Sequence[int],
    plan: CountedPlan,
    before: CountsOfLengths,
    *blocks: Any,
) -> Any:
    """Cut the sequences of a stretch into pieces.

    Args:
        stretch: The rows.
        reading: What is read of them.
        bounds: First pack of each target, and the number of packs.
        plan: The plan.
        before: Counts of the sequences before the stretch.
        *blocks: The blocks of the stretch.

    Returns:
        The pieces, one for each target.
    """
    one_thread()
    table = rows_of(stretch, blocks, reading)
    lengths = np.concatenate([np.zeros(0, np.int64), *(_lengths(chunk) for chunk in table[INPUT_IDS].chunks)])
    numbers = plan.numbers_after(lengths, before)
    lengths = np.minimum(lengths, plan.longest).astype(np.int32)
    rows = np.arange(stretch.first_row, stretch.first_row + len(lengths))
    return _cut(table, numbers, rows, lengths, plan, bounds)


scatter = task(_scatter)


def rows_of(stretch: Stretch, blocks: Sequence[Any], reading: Reading) -> pa.Table:
    """Return the token columns of a stretch, checked, and the columns that are kept.

    Args:
        stretch: The rows.
        blocks: Its blocks.
        reading: What is read of them.
    """
    tables = []
    names = [name for name in reading.schema.names if name in reading.packed or name == LENGTH]
    for source in stretch.sources(blocks, reading.config, reading.schema):
        rows = CheckedRows(source.read_file(0, names), source, 0, reading.config.empty)
        table = rows.read(reading.packed)
        for name, values in kept_values(source, reading.keep, reading.dictionaries).items():
            table = table.append_column(name, values)
        tables.append(table)
    return pa.concat_tables(tables)


def _scatter_again(plan: CountedPlan, bounds: Sequence[int], *pieces: NDArray[np.uint8]) -> Any:
    """Cut pieces of a range of shards into pieces of each shard."""
    one_thread()
    table = joined(pieces)
    numbers, rows = to_numpy(table[NUMBER]), to_numpy(table[ROW])
    lengths = np.concatenate([_lengths(chunk) for chunk in table[INPUT_IDS].chunks]).astype(np.int32)
    return _cut(table.drop_columns([NUMBER, ROW]), numbers, rows, lengths, plan, bounds)


scatter_again = task(_scatter_again)


def joined(pieces: Sequence[NDArray[np.uint8]]) -> pa.Table:
    """Return the rows of pieces, which are not copied."""
    return pa.concat_tables([pa.ipc.open_stream(pa.py_buffer(piece)).read_all() for piece in pieces])


def _cut(
    table: pa.Table,
    numbers: NDArray[np.int64],
    rows: NDArray[np.int64],
    lengths: NDArray[np.int32],
    plan: CountedPlan,
    bounds: Sequence[int],
) -> Any:
    places = plan.places_of(numbers)
    targets = np.searchsorted(np.asarray(bounds), places, side="right") - 1  # -1 where a sequence is left out
    order = np.argsort(targets, kind="stable")
    ends = np.searchsorted(targets[order], np.arange(len(bounds)))
    pieces = [_piece(table, numbers, rows, lengths, order[start:stop]) for start, stop in pairwise(ends.tolist())]
    return pieces if len(pieces) > 1 else pieces[0]


def _piece(
    table: pa.Table,
    numbers: NDArray[np.int64],
    rows: NDArray[np.int64],
    lengths: NDArray[np.int32],
    own: NDArray[np.int64],
) -> NDArray[np.uint8]:
    """Return some rows as a stream of Arrow IPC, whose buffers a reader maps."""
    own_lengths, places = lengths[own], from_numpy(own)
    offsets = from_numpy(np.concatenate([[0], np.cumsum(own_lengths, dtype=np.int64)]).astype(np.int32))
    columns = {
        field.name: pa.ListArray.from_arrays(offsets, gather_values(table[field.name], field.name, own, own_lengths))
        if is_list(field.type)
        else table[field.name].take(places)
        for field in table.schema
    }
    columns |= {NUMBER: from_numpy(numbers[own]), ROW: from_numpy(rows[own])}
    piece = pa.table(columns)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, piece.schema) as writer:
        writer.write_table(piece)
    return kept_remote(sink.getvalue())


def _lengths(lists: pa.Array) -> NDArray[np.int64]:
    return np.diff(to_numpy(lists.offsets)).astype(np.int64)
