"""Check the packs of one shard: their shapes, their separators and padding, and their values against the source."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from packsort._arrow import to_numpy
from packsort.schema import (
    INPUT_IDS,
    LABELS,
    PADDING,
    PIECE_STARTS,
    SEPARATOR,
    SEQ_LENGTHS,
    SEQUENCE_IDS,
)
from packsort.shards.manifest import ShardInfo
from packsort.shards.rules import PackingRules
from packsort.shards.source_digests import Difference, SourceDigests, digests


class ShardCheck:
    """Check of the packs of one shard.

    Attributes:
        packs: Packs in the shard.
        pieces: Pieces of sequences in them.
        tokens: Tokens of these pieces.
        ids: Source row of each segment, or `PADDING` or `SEPARATOR`: int64 (segments,).
        lengths: Tokens of each segment: int32 (segments,).
        starts: First token of each segment in its row: int32 (segments,).
        inside: Whether each segment names a row of the source: bool (segments,).
        segment_ends: First segment of each pack, and the number of segments: int64 (packs + 1,).
    """

    def __init__(
        self, max_length: int, shard: ShardInfo, table: pa.Table, source: SourceDigests | None, rules: PackingRules
    ) -> None:
        self._max_length, self._shard, self._table = max_length, shard, table
        self._source, self._rules = source, rules
        self._token_ends = _ends(table[INPUT_IDS])  # (packs + 1,)
        self.segment_ends = _ends(table[SEQ_LENGTHS])  # (packs + 1,)
        self.lengths = to_numpy(_values(table[SEQ_LENGTHS]))
        self.ids = to_numpy(_values(table[SEQUENCE_IDS]))
        self.starts = np.zeros_like(self.lengths)
        if PIECE_STARTS in table.column_names:
            self.starts = to_numpy(_values(table[PIECE_STARTS]))
        self.inside = (self.ids >= 0) & (self.ids < rules.rows)
        self._filler = np.zeros_like(self.inside)  # (segments,)
        if rules.fillers.separator is not None:
            self._filler |= self.ids == SEPARATOR
        if rules.multiple > 1:
            self._filler |= self.ids == PADDING
        self.packs = table.num_rows
        self.pieces = int((~self._filler).sum())
        self.tokens = int(self.lengths[~self._filler].sum())

    def problems(self) -> Iterator[str | Difference]:
        """Yield what is wrong with the shard itself, and, given the source, what differs from it."""
        yield from self._shape_problems()
        wrong = ~self.inside & ~self._filler
        for segment in np.flatnonzero(wrong):
            yield f"{self.where(int(segment))}: sequence id {self.ids[segment]} is no row of the source"
        if self._rules.has_fillers:
            yield from self._filler_problems()
        if self._source is not None and not wrong.any():
            yield from self._source_problems(self._source)

    def where(self, segment: int) -> str:
        """Name a segment: its shard, its pack, its place there, and its row of the source."""
        pack = int(np.searchsorted(self.segment_ends, segment, side="right")) - 1
        row = int(self.ids[segment])
        name = f"row {row}"
        if self._source is not None and 0 <= row < self._source.tokens.source.num_rows:
            name = self._source.tokens.source.where(row)
        return f"{self._pack(pack)}, sequence {segment - self.segment_ends[pack]} ({name})"

    def _shape_problems(self) -> Iterator[str]:
        lengths = np.diff(self._token_ends)
        for pack in np.flatnonzero(lengths > self._max_length):
            yield f"{self._pack(int(pack))} has {lengths[pack]} tokens, more than max_length {self._max_length}"
        for name in self._table.column_names:
            like = self.segment_ends if name in self._rules.segment_columns else self._token_ends
            for pack in np.flatnonzero(np.diff(_ends(self._table[name])) != np.diff(like)):
                yield f"{self._pack(int(pack))}: column `{name}` has another number of values than the others"
        for segment in np.flatnonzero(self.lengths < 1):
            yield f"{self.where(int(segment))} has {self.lengths[segment]} tokens"
        ends = np.concatenate([[0], np.cumsum(self.lengths, dtype=np.int64)])
        for pack in np.flatnonzero(np.diff(ends[self.segment_ends]) != lengths):
            yield f"{self._pack(int(pack))}: `seq_lengths` do not add up to its tokens"
        found = {"packs": self.packs, "sequences": self.pieces, "tokens": self.tokens}
        for name, number in found.items():
            if number != getattr(self._shard, name):
                yield f"`{self._shard.name}` has {number} {name}, the manifest says {getattr(self._shard, name)}"

    def _filler_problems(self) -> Iterator[str]:
        """Yield where separators and padding are missing, misplaced or of other tokens."""
        multiple = self._rules.multiple
        pack = np.repeat(np.arange(len(self.segment_ends) - 1), np.diff(self.segment_ends))  # (segments,)
        # Both as int64: positions in the pack of the first token of each segment.
        place = np.cumsum(self.lengths, dtype=np.int64) - self.lengths - self._token_ends[pack]
        for segment in np.flatnonzero(~self._filler & (place % multiple != 0)):
            yield f"{self.where(int(segment))} begins at token {place[segment]}, which is no multiple of {multiple}"
        lengths = np.diff(self._token_ends)
        for number in np.flatnonzero(lengths % multiple):
            yield f"{self._pack(int(number))} has {lengths[number]} tokens, which is no multiple of {multiple}"
        separator = self._filler & (self.ids == SEPARATOR)
        for segment in np.flatnonzero(separator != self._expected_separators(pack)):
            what = "has a separator where none belongs" if separator[segment] else "lacks a separator"
            yield f"{self._pack(int(pack[segment]))} {what}, before token {place[segment] + separator[segment]}"
        for segment in np.flatnonzero(separator & (self.lengths != 1)):
            yield f"{self._pack(int(pack[segment]))}: a separator has {self.lengths[segment]} tokens"
        yield from self._filler_values()

    def _expected_separators(self, pack: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Return whether each segment must be a separator: it follows a sequence that another one follows."""
        expected = np.zeros(len(self.ids), np.bool_)
        if self._rules.fillers.separator is None:
            return expected
        sequences = np.flatnonzero(~self._filler)
        followed = sequences[:-1][pack[sequences[:-1]] == pack[sequences[1:]]]
        expected[followed + 1] = True
        return expected

    def _filler_values(self) -> Iterator[str]:
        kinds: NDArray[np.int64] = np.repeat(np.where(self._filler, self.ids, 0), np.maximum(self.lengths, 0))
        columns = sorted(set(self._table.column_names) - set(self._rules.segment_columns))
        for index, (name, kind) in enumerate((("padding", PADDING), ("separators", SEPARATOR))):
            for column in columns:
                values = to_numpy(_values(self._table[column]))
                tokens = np.flatnonzero(kinds[: len(values)] == kind)
                right = self._rules.fillers.values(column, values.dtype)[index][0]
                for token in tokens[values[tokens] != right][:1]:
                    yield f"`{self._shard.name}`: {column} of {name} must be {right}, got {values[token]}"

    def _source_problems(self, source: SourceDigests) -> Iterator[str | Difference]:
        """Compare every value with the source."""
        packed = set(self._table.column_names) - set(self._rules.segment_columns)
        sources = {name: name for name in source.kinds}
        if self._rules.has_fillers:
            sources.setdefault(LABELS, INPUT_IDS)  # added so that fillers carry no loss
        for name in sorted(packed ^ set(sources)):
            yield f"column `{name}` is in the {'packs' if name in packed else 'source'} only"
        row_lengths = np.where(self.inside, source.lengths[np.where(self.inside, self.ids, 0)], 0)
        first, end = self._rules.kept(row_lengths)
        outside = list(self._outside_rows(row_lengths, first, end))
        yield from outside
        if outside:
            return
        starts = self.starts if PIECE_STARTS in self._table.column_names else first
        for name in sorted(packed & set(sources)):
            yield from self._differences(name, sources[name], source, starts)

    def _outside_rows(
        self, row_lengths: NDArray[np.int64], first: NDArray[np.int64], end: NDArray[np.int64]
    ) -> Iterator[str]:
        """Yield pieces that are not the part of their row that should be packed."""
        if PIECE_STARTS in self._table.column_names:
            if self._rules.hybrid:  # split sequences are whole, and `CutSequences` knows which are split
                first, end = np.zeros_like(row_lengths), row_lengths
            wrong = (self.starts < first) | (self.starts + self.lengths > end)
        else:
            wrong = self.lengths != end - first
        for segment in np.flatnonzero(wrong & self.inside):
            yield (
                f"{self.where(int(segment))} has {self.lengths[segment]} tokens, its source has {row_lengths[segment]}"
            )

    def _differences(
        self, name: str, source_name: str, source: SourceDigests, starts: NDArray[Any]
    ) -> Iterator[str | Difference]:
        """Yield the segments whose values differ from the source's."""
        values = _values(self._table[name])
        if values.type != source.kinds[source_name]:
            yield f"column `{name}` is {values.type} in the packs, {source.kinds[source_name]} in the source"
            return
        ends = np.cumsum(self.lengths, dtype=np.int64)
        if len(ends) and len(values) != ends[-1]:
            yield f"`{self._shard.name}` has {len(values)} values of `{name}`, its source has {ends[-1]}"
            return
        segments = np.flatnonzero(self.inside)
        ends, lengths = ends[segments], self.lengths[segments]
        begins, rows, starts = ends - lengths, self.ids[segments], starts[segments].astype(np.int64)
        different = digests(values, begins, ends) != source.of(source_name, rows, starts)
        for at in np.flatnonzero(different):
            piece = to_numpy(values.slice(begins[at], lengths[at])).copy()
            where = self.where(int(segments[at]))
            yield Difference(where, name, source_name, int(rows[at]), int(starts[at]), piece)

    def _pack(self, pack: int) -> str:
        return f"`{self._shard.name}` pack {pack}"


def _ends(column: pa.ChunkedArray) -> NDArray[np.int64]:
    """Return the offsets of a list column of one chunk or none, from 0: int64 (packs + 1,)."""
    lists = column.chunk(0) if column.num_chunks else pa.array([], column.type)
    offsets = to_numpy(lists.offsets).astype(np.int64)
    ends: NDArray[np.int64] = offsets - offsets[0]
    return ends


def _values(column: pa.ChunkedArray) -> pa.Array:
    """Return the values of a list column of one chunk or none."""
    return column.chunk(0).flatten() if column.num_chunks else pa.array([], column.type.value_type)
