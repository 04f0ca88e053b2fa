"""Pieces of a source's rows that packs should hold."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from packsort._arrow import to_numpy
from packsort.errors import DamagedError
from packsort.schema import PIECE_STARTS, SEQ_LENGTHS, SEQUENCE_IDS
from packsort.shards.files import ShardFiles
from packsort.shards.rules import PackingRules


@dataclass(frozen=True)
class PiecesOfRows:
    """Pieces of a source's rows, by row and by first token within it.

    Attributes:
        rows: Row of each piece: int64 (pieces,).
        starts: First token of each piece in its row: int64 (pieces,).
        lengths: Tokens of each piece: int64 (pieces,).
    """

    rows: NDArray[np.int64]
    starts: NDArray[np.int64]
    lengths: NDArray[np.int64]

    @classmethod
    def sorted(
        cls, rows: NDArray[np.int64], starts: NDArray[np.int64], lengths: NDArray[np.int64], ends: NDArray[np.int64]
    ) -> PiecesOfRows:
        """Return the pieces that lie within their rows, sorted.

        Args:
            rows: Row of each piece: int64 (pieces,).
            starts: First token of each piece: int64 (pieces,).
            lengths: Tokens of each piece: int64 (pieces,).
            ends: Tokens of each row: int64 (rows,).
        """
        within = (starts >= 0) & (lengths >= 0) & (starts + lengths <= ends[rows])
        order = np.flatnonzero(within)
        order = order[np.lexsort((starts[order], rows[order]))]
        return cls(rows[order], starts[order], lengths[order])

    def find(self, rows: NDArray[np.int64], starts: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the number of each of some pieces, -1 if it is not among them: int64 (n,)."""
        own, asked = _keys(self.rows, self.starts), _keys(rows, starts)
        if not len(own):
            return np.full(len(asked), -1, np.int64)
        found = np.searchsorted(own, asked)
        return np.where(own[np.minimum(found, len(own) - 1)] == asked, found, -1)


def _keys(rows: NDArray[np.int64], starts: NDArray[np.int64]) -> NDArray[np.uint64]:
    return rows.astype(np.uint64) << np.uint64(31) | starts.astype(np.uint64)


def pieces_of_packs(files: ShardFiles, lengths: NDArray[np.int64], rules: PackingRules) -> PiecesOfRows:
    """Return the pieces of rows that packs should hold; where rows are cut, the packs tell where."""
    if PIECE_STARTS not in files.manifest.columns:
        first, end = rules.kept(lengths)
        return PiecesOfRows(np.arange(len(lengths), dtype=np.int64), first, end - first)
    parts = [np.zeros((3, 0), np.int64)]
    for index in range(len(files.manifest.shards)):
        try:
            table = sound_table(files, index)
        except DamagedError:
            continue  # reported when its packs are checked
        columns = [table[name].combine_chunks().flatten() for name in (SEQUENCE_IDS, PIECE_STARTS, SEQ_LENGTHS)]
        if len({len(column) for column in columns}) > 1:
            continue
        ids, starts, tokens = (to_numpy(column).astype(np.int64) for column in columns)
        inside = (ids >= 0) & (ids < len(lengths))
        parts.append(np.stack([ids[inside], starts[inside], tokens[inside]]))
    rows, starts, sizes = np.concatenate(parts, axis=1)
    return PiecesOfRows.sorted(rows, starts, sizes, lengths)


def sound_table(files: ShardFiles, index: int) -> pa.Table:
    """Read a shard whose checksum and Arrow structure hold."""
    files.check_checksum(index)
    table = files.table(index).combine_chunks()
    try:
        table.validate(full=True)
    except pa.ArrowInvalid as error:
        raise DamagedError(f"`{files.path / files.manifest.shards[index].name}` is damaged: {error}") from error
    return table
