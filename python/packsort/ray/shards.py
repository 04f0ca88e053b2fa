"""Tasks that write shards: each joins the pieces of its shard and gathers its packs, as one machine does."""

from __future__ import annotations

import os
import secrets
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, cast

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from packsort._arrow import from_numpy, is_list, list_offsets, to_numpy
from packsort._atomic import output_errors
from packsort._stores import ObjectInfo, StorePath
from packsort.errors import InternalError
from packsort.gathering.fillers import Fillers
from packsort.gathering.gather import gather_packs
from packsort.planning.counted import CountedPlan
from packsort.planning.plan import Plan
from packsort.ray.exchange import NUMBER, ROW, joined
from packsort.ray.remote import one_thread, task
from packsort.schema import LABELS, NO_LOSS, SEQ_LENGTHS, SEQUENCE_IDS
from packsort.shards.manifest import ShardInfo
from packsort.shards.shard_writing import write_shard
from packsort.sources.sequence_columns import NONE, SequenceColumns


@dataclass(frozen=True)
class ShardOrder:
    """A shard to write.

    Attributes:
        name: Name of the file.
        path: Where to write it: a file, or an object.
        start: Its first pack.
        stop: The first pack of the next shard.
        target: Its final place, which errors name; None for `path`.
    """

    name: str
    path: Path | StorePath
    start: int
    stop: int
    target: Path | StorePath | None = None


@dataclass(frozen=True)
class WrittenShard:
    """A shard that was written.

    Attributes:
        info: Its record.
        without_loss: Sequences in it of which no token carries loss.
        packs_without_loss: Packs of which none does.
        uploaded: Facts of its object; None for a file.
    """

    info: ShardInfo
    without_loss: int
    packs_without_loss: int
    uploaded: ObjectInfo | None = None


class _LocalPacks:
    """Packs of a shard, with the places of rows in its pieces as ids: what gathering asks of a plan."""

    def __init__(self, plan: CountedPlan, offsets: NDArray[np.int64], ids: NDArray[np.int64]) -> None:
        self._plan, self._offsets, self._ids = plan, offsets, ids
        self.separator, self.pad_to_multiple_of, self.has_starts = plan.separator, plan.pad_to_multiple_of, False

    def list_packs(self, start: int, stop: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        return self._offsets, self._ids

    def list_lengths(self, start: int, stop: int) -> NDArray[np.int32]:
        return self._plan.list_lengths(start, stop)


def packs_of(
    tokens: pa.Table,
    numbers: NDArray[np.int64],
    rows: NDArray[np.int64],
    plan: CountedPlan,
    start: int,
    stop: int,
    fillers: Fillers,
    kept: SequenceColumns,
) -> pa.Table:
    """Gather packs from rows in any order.

    Args:
        tokens: Token columns of the rows of these packs.
        numbers: Number of each row in the plan.
        rows: Row of each in the source.
        plan: The plan.
        start: First pack.
        stop: End of the packs.
        fillers: Tokens of separators and padding.
        kept: Columns of the rows with one value for each sequence.
    """
    offsets, wanted = plan.list_packs(start, stop)
    order = np.argsort(numbers)
    places = np.searchsorted(numbers, wanted, sorter=order)
    ids = order[np.minimum(places, len(order) - 1)] if len(order) else np.zeros(0, np.int64)
    if len(numbers) != len(wanted) or not np.array_equal(numbers[ids], wanted):
        raise InternalError(f"packs {start} to {stop} did not get their sequences: please report it")
    packs = gather_packs(tokens, cast(Plan, _LocalPacks(plan, offsets, ids)), start, stop, fillers, kept)
    segments = packs[SEQUENCE_IDS].combine_chunks()
    found = to_numpy(segments.values)
    in_source = found if not len(rows) else np.where(found < 0, found, rows[np.maximum(found, 0)])
    lists = pa.ListArray.from_arrays(segments.offsets, from_numpy(in_source))
    return packs.set_column(packs.schema.get_field_index(SEQUENCE_IDS), SEQUENCE_IDS, lists)


def _write(
    order: ShardOrder,
    plan: CountedPlan,
    schema: pa.Schema,
    fillers: Fillers,
    format: str,
    counts_loss: bool,
    *pieces: NDArray[np.uint8],
) -> WrittenShard:
    """Write a shard. A task that is repeated, because its worker was lost, replaces what the first one wrote."""
    one_thread()
    table = joined(pieces)
    numbers, rows = to_numpy(table[NUMBER]), to_numpy(table[ROW])
    names = [field.name for field in table.schema if is_list(field.type)]
    others = [name for name in table.column_names if name not in (*names, NUMBER, ROW)]
    kept = SequenceColumns({name: to_numpy(table[name]) for name in others})
    tokens = table.select(names)
    packs = packs_of(tokens, numbers, rows, plan, order.start, order.stop, fillers, kept).cast(schema)
    losses = without_loss(packs) if counts_loss else (0, 0)
    with output_errors(order.target or order.path):
        if isinstance(order.path, StorePath):
            with TemporaryDirectory(prefix="packsort-") as folder:
                file = Path(folder, order.name)
                with output_errors(file):  # it is the disk of this node that is full, not the store
                    info = write_shard(file, order.name, packs, format, plan.max_length)
                return WrittenShard(info, *losses, order.path.store.put_file(file, str(order.path)))
        # A task that was taken for lost may still write, so each writes a file of its own.
        own = order.path.with_name(f".{order.path.name}.{os.getpid()}-{secrets.token_hex(4)}")
        info = write_shard(own, order.name, packs, format, plan.max_length)
        os.replace(own, order.path)
    return WrittenShard(info, *losses)


write = task(_write)


def _recount(order: ShardOrder, info: ShardInfo) -> WrittenShard:
    """Count the losses of a shard that an earlier run wrote, which its record does not hold."""
    content = pa.BufferReader(order.path.read_bytes())
    packs = pa.ipc.open_file(content).read_all() if info.is_mapped else pq.read_table(content)
    return WrittenShard(info, *without_loss(packs))


recount = task(_recount)


def without_loss(packs: pa.Table) -> tuple[int, int]:
    """Return the number of sequences, and of packs, in which no token carries loss."""
    labels, lengths = packs[LABELS].combine_chunks(), packs[SEQ_LENGTHS].combine_chunks()
    trained = to_numpy(labels.flatten()) != NO_LOSS
    if not packs.num_rows:
        return 0, 0
    segments = to_numpy(lengths.flatten()).astype(np.int64)
    is_sequence = to_numpy(packs[SEQUENCE_IDS].combine_chunks().flatten()) >= 0
    begins = np.cumsum(segments) - segments
    of_segments = np.logical_or.reduceat(trained, begins)
    of_packs = np.logical_or.reduceat(trained, list_offsets(labels)[:-1])
    return int((~of_segments & is_sequence).sum()), int((~of_packs).sum())


def no_packs(schema: pa.Schema, plan: CountedPlan, fillers: Fillers, kept: SequenceColumns = NONE) -> Any:
    """Return a table of packs without any, for its schema.

    Args:
        schema: Token columns of the source.
        plan: The plan.
        fillers: Tokens of separators and padding.
        kept: Columns with one value for each sequence, without rows.
    """
    tokens = pa.table({field.name: pa.array([], field.type) for field in schema})
    none = np.zeros(0, np.int64)
    return packs_of(tokens, none, none, plan, 0, 0, fillers, kept)
