"""Token columns of a source of any size, read batch by batch.

Lengths come first, without the tokens where a format allows it, and decide which columns are packed. Tokens are checked
when their batch is read, by the same rules as those that are read into memory.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from packsort._arrow import empty_table, from_numpy, to_numpy
from packsort._options.choices import EmptySequences
from packsort._progress import Advance, ignore
from packsort.errors import SourceError
from packsort.schema import INPUT_IDS, LABELS, LENGTH
from packsort.sources.source import Source
from packsort.sources.tokens import rules
from packsort.sources.tokens.checked import CheckedRows
from packsort.sources.tokens.disagreeing import uneven_across_files
from packsort.sources.tokens.list_checks import ListLengths
from packsort.sources.tokens.roles import MASKS, column_roles, fits, unknown_masks
from packsort.sources.tokens.rows import token_bytes
from packsort.sources.tokens.uses import ColumnUses
from packsort.sources.unchanged import Unchanged, changed_file


class StreamedTokens:
    """Token columns of a source, checked while they are read; a `TokenRows`.

    Args:
        source: Rows with `input_ids`, lists of integers.
        empty: Treatment of sequences without tokens.
        advance: Called with the rows whose lengths were read.

    Attributes:
        source: As given.
        lengths: Tokens of each row without padding: int32, int64 if one is longer (rows,).
        schema: Names and types of the token columns.
        left_out: The source's other columns.
        uses: What became of columns that are not packed as they are.

    Raises:
        SourceError: There is no usable `input_ids`, or a row's lists are null, empty or of different lengths, as for
            `read_tokens`.

    Example:
        >>> from packsort.sources.source import open_source
        >>> tokens = StreamedTokens(open_source(pa.table({"input_ids": [[1, 2], [3], [4, 5, 6]]})))
        >>> tokens.lengths.to_pylist()
        [2, 1, 3]
        >>> [(first, batch["input_ids"].to_pylist()) for first, batch in tokens.batches(most_bytes=32)]
        [(0, [[1, 2], [3]]), (2, [[4, 5, 6]])]
    """

    in_memory = False
    piece_starts: pa.ChunkedArray | None = None
    by_file: tuple[dict[str, int], ...] = ()

    def __init__(self, source: Source, empty: EmptySequences = "error", advance: Advance = ignore) -> None:
        self.source = source
        self._empty = empty
        self._unchanged = Unchanged(source)
        with source.naming():
            roles = column_roles(source.schema)
        uneven = uneven_across_files(source, roles.lists)
        lists = [name for name in roles.lists if name not in uneven]
        undecided = [name for name in lists if name not in (INPUT_IDS, LABELS, *MASKS)]
        found: dict[str, list[NDArray[Any]]] = {name: [] for name in (INPUT_IDS, *undecided)}
        kept, padding = [], []
        first = 0
        for index, file in enumerate(source.files):
            of_file = ListLengths(source, index, first, lists, empty)
            kept.append(_narrow(of_file.kept))
            padding.append(_narrow(of_file.left_out))
            for name, parts in found.items():
                parts.append(_narrow(of_file.found[name]))
            first += file.rows
            advance(file.rows)
        self._lengths = np.concatenate(kept)
        self.lengths = pa.chunked_array([from_numpy(self._lengths)])
        unpadded = np.concatenate(found.pop(INPUT_IDS))
        for name, parts in found.items():
            one = np.concatenate(parts)
            if not fits(name, one, unpadded):
                uneven[name] = int((one != unpadded).sum())
                continue
            first = 0
            for file in source.files:
                rows = slice(first, first + file.rows)
                rules.check_same_lengths(name, one[rows], unpadded[rows], _where(source, first))
                first += file.rows
        packed = [name for name in roles.lists if name not in uneven]
        self._columns = [*packed, *([LENGTH] if roles.has_length else [])]
        self._packed = packed
        stored = pa.schema([source.schema.field(name) for name in self._columns])
        self._stored_bytes = max(1, token_bytes(pa.schema([stored.field(name) for name in packed])))
        self.schema = CheckedRows(empty_table(stored), source, 0, empty).read(packed).schema
        self.left_out = tuple(name for name in source.schema.names if name in roles.other or name in uneven)
        padded = np.concatenate(padding)
        self.uses = ColumnUses(
            masks=tuple(name for name in roles.lists if name in MASKS),
            unknown_masks=unknown_masks(packed),
            uneven=uneven,
            nested=roles.nested,
            padding=padded if padded.any() else None,
        )

    def batches(self, most_bytes: int) -> Iterator[tuple[int, pa.Table]]:
        """Yield the token columns batch by batch, as `TokenRows.batches`."""
        before = np.cumsum([0, *(file.rows for file in self.source.files)])
        rows = rows_within(self._lengths, most_bytes // self._stored_bytes)
        expected = 0
        self._unchanged.check()
        for index, start, batch in self.source.batches(self._columns, rows):
            first = int(before[index]) + start
            if first != expected:
                raise self._changed(int(np.searchsorted(before, expected, side="right")) - 1)
            table = CheckedRows(pa.Table.from_batches([batch]), self.source, first, self._empty).read(self._packed)
            expected += table.num_rows
            lengths = _lengths_of(table)
            if expected > before[index + 1] or (lengths != self._lengths[first:expected]).any():
                raise self._changed(index)
            yield first, table
        if expected != self.source.num_rows:
            raise self._changed(int(np.searchsorted(before, expected, side="right")) - 1)
        self._unchanged.check()

    def _changed(self, index: int) -> SourceError:
        return changed_file(self.source.files[index].path)


def rows_within(lengths: NDArray[Any], most_tokens: int) -> int:
    """Return a number of rows that hold at most some tokens, approximately, wherever they begin.

    Args:
        lengths: Tokens of each row: (rows,).
        most_tokens: The most tokens.

    Example:
        >>> rows_within(np.array([1, 1, 1, 1, 9, 1, 1, 1]), 10)
        2
    """
    total = max(1, int(lengths.sum(dtype=np.int64)))
    rows = int(min(max(1, most_tokens * len(lengths) // total), len(lengths)))
    while rows > 1:
        tokens = np.add.reduceat(lengths, np.arange(0, len(lengths), rows), dtype=np.int64)
        if tokens.max() <= most_tokens:
            break
        rows //= 2
    return rows


def _lengths_of(table: pa.Table) -> NDArray[np.int64]:
    return np.concatenate([np.diff(to_numpy(lists.offsets)) for lists in table[INPUT_IDS].chunks])


def _narrow(lengths: NDArray[np.int64]) -> NDArray[Any]:
    """Return lengths as int32 where they fit: there is one for each row of the source."""
    return lengths.astype(np.int32) if not len(lengths) or lengths.max() < 2**31 else lengths


def _where(source: Source, first: int) -> rules.Where:
    return lambda row: source.where(first + row)
