"""Digests of a source's sequences, which packs are compared with in memory that does not grow with the tokens.

A source may be larger than memory, and packs hold its rows in another order. So the source is read once, batch by
batch, and each piece of a row becomes a digest of 64 bits for each column. A pack is right if the digests of its pieces
are the same. Where one is not, the row is read again, to name the value that differs. What grows with the source is 8
bytes for each piece and column, and what tells the pieces.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import xxhash
from numpy.typing import NDArray

from packsort._arrow import list_offsets, to_numpy
from packsort._progress import Advance
from packsort.shards.pieces import PiecesOfRows
from packsort.sources.tokens.rows import TokenRows

_BATCH_BYTES = 4 << 20


class SourceDigests:
    """Digests of pieces of a source.

    Args:
        tokens: The source.
        pieces: Its pieces.
        advance: Called with the number of rows that were read.

    Attributes:
        tokens: As given.
        lengths: Tokens of each row: int64 (rows,).
        kinds: Type of the values of each column.

    Raises:
        SourceError: A value of the source is wrong, or a file has changed.
    """

    def __init__(self, tokens: TokenRows, pieces: PiecesOfRows, advance: Advance) -> None:
        self.tokens = tokens
        self.lengths = lengths_of(tokens)
        self.kinds: dict[str, pa.DataType] = {field.name: field.type.value_type for field in tokens.schema}
        self._pieces = pieces
        self._digests = {name: np.zeros(len(pieces.rows), np.uint64) for name in self.kinds}
        for first, table in tokens.batches(_BATCH_BYTES):
            low, high = np.searchsorted(pieces.rows, [first, first + table.num_rows])
            rows = pieces.rows[low:high] - first
            for name, found in self._digests.items():
                lists = _one(table[name])
                begins = list_offsets(lists)[rows] + pieces.starts[low:high]
                found[low:high] = digests(lists.flatten(), begins, begins + pieces.lengths[low:high])
            advance(table.num_rows)

    def of(self, name: str, rows: NDArray[np.int64], starts: NDArray[np.int64]) -> NDArray[np.uint64]:
        """Return the digests of some pieces in a column, those of a cut only where the packs cut: uint64 (n,)."""
        return self._digests[name][self._pieces.find(rows, starts)]


@dataclass(frozen=True)
class Difference:
    """Piece in a pack whose values differ from the source's.

    Attributes:
        where: Names the piece.
        column: The column in the packs.
        source_column: The column of the source that it is compared with.
        row: Row of the source.
        start: First token of the piece in its row.
        values: Values of the piece: (tokens,).
    """

    where: str
    column: str
    source_column: str
    row: int
    start: int
    values: NDArray[Any]

    def words(self, expected: NDArray[Any]) -> str:
        """Name the first value that differs.

        Args:
            expected: Values of the source: (tokens,).
        """
        width = self.values.dtype.itemsize
        different = _bytes(self.values) != _bytes(expected)
        token = int(np.argmax(different)) // width
        return (
            f"{self.where}: `{self.column}` is {self.values[token]} at token {self.start + token}, in the source "
            f"{expected[token]}"
        )


def in_words(found: Sequence[str | Difference], tokens: TokenRows | None) -> Iterable[str]:
    """Write problems in words; the rows of a source that packs differ from are read again, in one pass."""
    waiting = [one for one in found if isinstance(one, Difference)]
    expected: dict[int, NDArray[Any]] = {}
    if waiting and tokens is not None:
        for first, table in tokens.batches(_BATCH_BYTES):
            for number, one in enumerate(waiting):
                if first <= one.row < first + table.num_rows:
                    lists = _one(table[one.source_column].slice(one.row - first, 1))
                    values = to_numpy(lists.flatten())
                    expected[number] = values[one.start : one.start + len(one.values)].copy()
    numbers = iter(range(len(waiting)))
    return [one if isinstance(one, str) else one.words(expected[next(numbers)]) for one in found]


def digests(values: pa.Array, begins: NDArray[np.int64], ends: NDArray[np.int64]) -> NDArray[np.uint64]:
    """Return the digest of each of some stretches of values: uint64 (stretches,).

    Args:
        values: Numbers or booleans without nulls.
        begins: First value of each stretch: int64 (stretches,).
        ends: End of each stretch: int64 (stretches,).
    """
    numbers = to_numpy(values)
    width = numbers.dtype.itemsize
    view = _bytes(numbers).data
    hashed = xxhash.xxh3_64_intdigest
    pairs = zip((begins * width).tolist(), (ends * width).tolist(), strict=True)
    return np.fromiter((hashed(view[begin:end]) for begin, end in pairs), np.uint64, len(begins))


def lengths_of(tokens: TokenRows) -> NDArray[np.int64]:
    """Return the tokens of each row: int64 (rows,)."""
    return to_numpy(tokens.lengths).astype(np.int64)


def _one(column: pa.ChunkedArray) -> pa.Array:
    """Return a column as one array."""
    return column.chunk(0) if column.num_chunks == 1 else pa.concat_arrays(column.chunks)


def _bytes(values: NDArray[Any]) -> NDArray[np.uint8]:
    """View numbers as bytes, to compare them: NaN differs from itself."""
    return np.ascontiguousarray(values).view(np.uint8)
