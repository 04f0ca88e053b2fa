"""Tokens on disk, grouped by the shard that they go to, for sources bigger than memory.

A source is read once, in its own order, a run of rows at a time. The tokens of a run are sorted by shard and written in
one go, so that a shard later reads one stretch of each run:

    source  | rows 0 ..            | rows k ..            | ...
    spool   | shard 0, 1, 2, ...   | shard 0, 1, 2, ...   | ...      one run after another

Each token is written once and read once, in stretches of (memory of a run) / (number of shards). The plan knows the
rows and lengths of each stretch, so the index holds only where each shard begins in each run. The file has no name: the
system removes it when the process ends, however it ends.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from packsort._arrow import from_numpy
from packsort._atomic import output_errors
from packsort.errors import DamagedError
from packsort.gathering.fillers import Fillers, has_fillers
from packsort.gathering.gather import gather_bytes, stored_type, table_of_packs
from packsort.gathering.places import Pieces
from packsort.gathering.segments import list_segments
from packsort.planning.plan import Plan
from packsort.sources.sequence_columns import NONE, SequenceColumns


@dataclass(frozen=True)
class _Run:
    """Stretches of one run in the file.

    Attributes:
        columns: Place of each column: bytes from the start of the file.
        ends: Token at which each shard begins in the run, and the number of tokens: int64 (shards + 1,).
    """

    columns: tuple[int, ...]
    ends: NDArray[np.int64]


class Spool:
    """Context that holds the tokens of a plan on disk, grouped by shard.

    Args:
        folder: Folder of the file.
        schema: Names and types of the token columns.
        starts: First pack of each shard, and the number of packs: (shards + 1,).

    Raises:
        OutputError: The file cannot be written.
    """

    def __init__(self, folder: Path, schema: pa.Schema, starts: Sequence[int]) -> None:
        self._folder = folder
        self._names = schema.names
        self._kinds = {field.name: field.type.value_type for field in schema}
        self._starts = np.array(starts, np.int64)
        self._runs: list[_Run] = []
        self._size = 0

    def __enter__(self) -> Self:
        with output_errors(self._folder):
            self._file = tempfile.TemporaryFile(dir=self._folder, buffering=0)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    @property
    def bytes(self) -> int:
        """Bytes that were written."""
        return self._size

    def add(self, first_row: int, table: pa.Table, pieces: Pieces) -> None:
        """Write a run.

        Args:
            first_row: Row of the source that is the table's first.
            table: Token columns of consecutive rows that follow those of the last run.
            pieces: The pieces of these rows.

        Raises:
            OutputError: The file cannot be written.
        """
        shards = np.searchsorted(self._starts, pieces.packs, side="right") - 1
        order = np.argsort(shards.astype(np.uint16) if len(self._starts) < 2**16 else shards, kind="stable")
        lengths = pieces.lengths[order]
        rows, starts = (pieces.rows[order] - first_row).astype(np.int64), pieces.starts[order]
        ends = np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])
        per_shard = ends[np.searchsorted(shards[order], np.arange(len(self._starts)))]
        columns = []
        for name in self._names:
            columns.append(self._size)
            self._write(gather_bytes(table[name], name, rows, lengths, starts))
        self._runs.append(_Run(tuple(columns), per_shard))

    def packs(self, plan: Plan, shard: int, fillers: Fillers | None = None, kept: SequenceColumns = NONE) -> pa.Table:
        """Read the packs of a shard, as `gather_packs` returns them.

        Raises:
            DamagedError: The file does not hold what was written to it.
        """
        segments = list_segments(plan, int(self._starts[shard]), int(self._starts[shard + 1]))
        ids = segments.ids.astype(np.int64)
        places = np.flatnonzero(ids >= 0)
        # Runs are in the order of the source, so the spool holds a shard's pieces by row and first token.
        by_row = (ids[places],) if segments.starts is None else (segments.starts[places], ids[places])
        stored_order = places[np.lexsort(by_row)]
        ids[stored_order] = np.arange(len(places))
        ends = np.concatenate([[0], np.cumsum(segments.lengths[stored_order], dtype=np.int64)])
        offsets = from_numpy(ends)

        def column(name: str) -> pa.ChunkedArray:
            values = self._read(name, shard, int(ends[-1]))
            return pa.chunked_array([pa.LargeListArray.from_arrays(offsets, values)])

        stored = replace(segments, ids=ids, starts=None)
        return table_of_packs(segments, stored, self._names, column, fillers if has_fillers(plan) else None, kept)

    def _write(self, values: NDArray[np.uint8]) -> None:
        with output_errors(self._folder):
            left = memoryview(values.data)
            while len(left):
                written = self._file.write(left)
                left = left[written:]
                self._size += written or 0

    def _read(self, name: str, shard: int, tokens: int) -> pa.Array:
        kind = stored_type(self._kinds[name])
        width, index = kind.bit_width // 8, self._names.index(name)
        values = np.empty(tokens * width, np.uint8)
        place = 0
        for run in self._runs:
            begin, end = (int(at) * width for at in run.ends[shard : shard + 2])
            self._file.seek(run.columns[index] + begin)
            place += self._fill(values.data[place : place + end - begin])
        if place != len(values):
            raise DamagedError(f"the tokens kept in `{self._folder}` while packing are not those that were planned")
        array = pa.Array.from_buffers(kind, tokens, [None, pa.py_buffer(values)])
        return array if kind is self._kinds[name] else array.cast(self._kinds[name])

    def _fill(self, buffer: Any) -> int:
        left = buffer
        with output_errors(self._folder):
            while len(left):
                read = self._file.readinto(left)
                if not read:
                    raise DamagedError(f"the tokens kept in `{self._folder}` while packing have become fewer")
                left = left[read:]
        return len(buffer)
