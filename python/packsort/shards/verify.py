"""The proof that a packed directory holds its source, each token once, in order, with its labels."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from packsort._progress import Stage, no_progress
from packsort.errors import DamagedError, OptionError
from packsort.gathering import Fillers, gather_values
from packsort.schema import PADDING, SEPARATOR
from packsort.shards.manifest import Manifest, ShardInfo, checksum
from packsort.shards.reader import Shards
from packsort.sources.source import open_source
from packsort.sources.tokens import Tokens
from packsort.tokenization.load import load_tokens, window_limit

_MOST = 20
_PIECES = {"seq_lengths", "sequence_ids", "piece_starts"}


@dataclass(frozen=True)
class Verification:
    """What was checked, and what is wrong.

    Attributes:
        packs: packs looked at.
        sequences: pieces in them: a sequence that was cut counts once for each.
        tokens: tokens in them.
        against_source: whether they were compared with the source.
        problems: what is wrong, in words; empty where all is well. Past the first 20 they are only counted.
        num_problems: how many there are.
    """

    packs: int
    sequences: int
    tokens: int
    against_source: bool
    problems: tuple[str, ...]
    num_problems: int

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return not self.num_problems


def verify(shards: Shards, source: Any = None, *, tokenizer: Any = None, stage: Stage = no_progress) -> Verification:
    """Checks a packed directory, and, given its source, that nothing of it is lost or changed.

    Always: files and checksums are those of the manifest, no pack is over `max_length`, pieces add up to packs, each
    sequence is in one pack, or its pieces lie end to end, counts are those of the manifest. With a source: each
    sequence's tokens, labels and other per-token values are those of its row, in order; what is not there was dropped
    as too long.

    Args:
        shards: the packed directory.
        source: what it was packed from, in the same order.
        tokenizer: where packing tokenized too, the tokenizer to do it again with, or its folder or name.
        stage: as for `packsort.write_shards`.
    """
    manifest = shards.manifest
    found = _Findings()
    tokens = None
    if source is not None:
        if tokenizer is None and manifest.tokenizer is not None and "input_ids" not in open_source(source).schema.names:
            raise OptionError("the packs were tokenized from this source; verifying them needs the tokenizer")
        split_turns = None
        if manifest.options.get("overlong") == "split_turns":
            split_turns = window_limit(manifest.max_length, manifest.options["pad_to_multiple_of"], tokenizer)
        tokens, about = load_tokens(open_source(source), tokenizer, stage, split_turns=split_turns)
        if about is not None and manifest.tokenizer is not None:
            for name in ("columns", "loss_rule", "chat_template"):
                now, then = getattr(about, name), getattr(manifest.tokenizer, name)
                if now != then:
                    found.add(f"the tokenizer's {name} is {now!s}, packed was with {then!s}")
        if tokens.table.num_rows != manifest.counts.rows:
            found.add(f"the source has {tokens.table.num_rows:,} rows, packed were {manifest.counts.rows:,}")
            tokens = None
    options = _Options(manifest)
    seen = _Pieces(options) if "piece_starts" in manifest.columns else _Whole(manifest.counts.rows)
    totals = [0, 0, 0]
    with stage("verifying", total=len(shards), unit="packs") as advance:
        for index, shard in enumerate(manifest.shards):
            try:
                table = _whole(shards, index)
            except DamagedError as error:
                found.add(str(error))
                continue
            check = _Check(shards, shard, table, tokens, options)
            for problem in [*check.problems(), *seen.add(check)]:
                found.add(problem)
            totals = [a + b for a, b in zip(totals, check.totals, strict=True)]
            advance(shard.packs)
    counts = manifest.counts
    # the manifest counts sequences in all, but pieces in each shard
    pieces = sum(shard.sequences for shard in manifest.shards)
    for name, number, said in zip(
        ("packs", "sequences", "tokens"), totals, (counts.packs, pieces, counts.tokens), strict=True
    ):
        if number != said:
            found.add(f"there are {number:,} {name}, the manifest says {said:,}")
    lengths = None
    if tokens is not None:
        lengths = pc.list_value_length(tokens.table["input_ids"]).to_numpy()
    for problem in seen.problems(lengths):
        found.add(problem)
    missing = np.flatnonzero(~seen.there)
    if len(seen.there) - len(missing) != counts.sequences:
        found.add(f"there are {len(seen.there) - len(missing):,} sequences, the manifest says {counts.sequences:,}")
    if len(missing) != counts.dropped:
        found.add(
            f"{len(missing):,} sequences are in no pack (first: {missing[:5].tolist()}), the manifest says "
            f"{counts.dropped:,}"
        )
    if tokens is not None and lengths is not None:
        for row in missing[(lengths[missing] > 0) & (lengths[missing] <= options.limit)][:_MOST]:
            found.add(f"{tokens.source.where(int(row))}: its {lengths[row]} tokens are in no pack")
    return Verification(totals[0], totals[1], totals[2], source is not None, tuple(found.first), found.count)


class _Findings:
    def __init__(self) -> None:
        self.first: list[str] = []
        self.count = 0

    def add(self, problem: str) -> None:
        self.count += 1
        if len(self.first) < _MOST:
            self.first.append(problem)


def _whole(shards: Shards, index: int) -> pa.Table:
    """A shard whose file is what was written."""
    shard = shards.manifest.shards[index]
    path = shards.path / shard.name
    try:
        digest = checksum(path)
    except OSError as error:
        raise DamagedError(f"`{path}` cannot be read: {error}") from error
    if digest != shard.checksum:
        raise DamagedError(f"`{path}` was changed: its checksum is {digest}, the manifest says {shard.checksum}")
    table = shards.table(index).combine_chunks()
    try:
        table.validate(full=True)
    except pa.ArrowInvalid as error:
        raise DamagedError(f"`{path}` is damaged: {error}") from error
    return table


class _Options:
    """What the manifest says of how sequences were packed."""

    def __init__(self, manifest: Manifest) -> None:
        options = manifest.options
        self.rows = manifest.counts.rows
        self.multiple = int(options.get("pad_to_multiple_of") or 1)
        self.fillers = Fillers(int(options.get("pad_token_id") or 0), options.get("separator"))
        self.limit = manifest.max_length // self.multiple * self.multiple
        self.truncated = options.get("overlong") == "truncate"
        self.keep_end = self.truncated and options.get("truncation_side") == "left"
        self.hybrid = options.get("strategy") == "hybrid"

    def kept(self, lengths: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The first token of sequences that is packed, and the end, where they are of these lengths and too long."""
        first, end = np.zeros_like(lengths), lengths
        if self.truncated:
            over = np.maximum(lengths - self.limit, 0)
            first, end = (over, end) if self.keep_end else (first, end - over)
        return first, end


class _Check:
    """One shard's packs."""

    def __init__(
        self, shards: Shards, shard: ShardInfo, table: pa.Table, tokens: Tokens | None, options: _Options
    ) -> None:
        self._shards, self._shard, self._table, self._tokens = shards, shard, table, tokens
        self._options = options
        self._rows = _ends(table["input_ids"])  # (packs + 1,) in tokens
        self._pieces = _ends(table["seq_lengths"])  # (packs + 1,) in pieces
        self.lengths = _values(table["seq_lengths"]).to_numpy()  # (pieces,)
        self.ids = _values(table["sequence_ids"]).to_numpy()  # (pieces,)
        self.starts = np.zeros_like(self.lengths)  # (pieces,)
        if "piece_starts" in table.column_names:
            self.starts = _values(table["piece_starts"]).to_numpy()
        self.inside = (self.ids >= 0) & (self.ids < options.rows)  # (pieces,)
        self.filler = np.zeros_like(self.inside)  # (pieces,)
        if options.fillers.separator is not None:
            self.filler |= self.ids == SEPARATOR
        if options.multiple > 1:
            self.filler |= self.ids == PADDING
        packed = ~self.filler
        self.totals = (table.num_rows, int(packed.sum()), int(self.lengths[packed].sum()))

    def problems(self) -> Iterator[str]:
        """What is wrong with the shard itself, and, given the source, what differs from it."""
        yield from self._shapes()
        wrong = ~self.inside & ~self.filler
        for piece in np.flatnonzero(wrong):
            yield f"{self.where(int(piece))}: sequence id {self.ids[piece]} is no row of the source"
        if self._options.multiple > 1 or self._options.fillers.separator is not None:
            yield from self._between()
        if self._tokens is not None and not wrong.any():
            yield from self._against(self._tokens)

    def _shapes(self) -> Iterator[str]:
        lengths = np.diff(self._rows)
        limit = self._shards.max_length
        for pack in np.flatnonzero(lengths > limit):
            yield f"{self._pack(int(pack))} has {lengths[pack]} tokens, more than max_length {limit}"
        for name in self._table.column_names:
            like = self._pieces if name in _PIECES else self._rows
            for pack in np.flatnonzero(np.diff(_ends(self._table[name])) != np.diff(like)):
                yield f"{self._pack(int(pack))}: column `{name}` has another number of values than its neighbours"
        for piece in np.flatnonzero(self.lengths < 1):
            yield f"{self.where(int(piece))} has {self.lengths[piece]} tokens"
        ends = np.concatenate([[0], np.cumsum(self.lengths, dtype=np.int64)])
        for pack in np.flatnonzero(np.diff(ends[self._pieces]) != lengths):
            yield f"{self._pack(int(pack))}: `seq_lengths` do not add up to its tokens"
        for name, number in zip(("packs", "sequences", "tokens"), self.totals, strict=True):
            if number != getattr(self._shard, name):
                yield f"`{self._shard.name}` has {number} {name}, the manifest says {getattr(self._shard, name)}"

    def _between(self) -> Iterator[str]:
        """Says where separators and padding are not what and where they have to be."""
        multiple, fillers = self._options.multiple, self._options.fillers
        pack = np.repeat(np.arange(len(self._pieces) - 1), np.diff(self._pieces))  # (pieces,)
        ends = np.cumsum(self.lengths, dtype=np.int64)
        place = ends - self.lengths - self._rows[pack]  # (pieces,): from the pack's first token
        for piece in np.flatnonzero(~self.filler & (place % multiple != 0)):
            yield f"{self.where(int(piece))} begins at token {place[piece]}, no multiple of {multiple}"
        for number in np.flatnonzero(np.diff(self._rows) % multiple):
            yield f"{self._pack(int(number))} has {np.diff(self._rows)[number]} tokens, no multiple of {multiple}"
        separator = self.filler & (self.ids == SEPARATOR)
        sequences = np.flatnonzero(~self.filler)
        before_other = np.zeros(len(self.ids), np.bool_)  # sequences after which another one comes in the pack
        before_other[sequences[:-1][pack[sequences[:-1]] == pack[sequences[1:]]]] = True
        expected = np.zeros(len(self.ids), np.bool_)
        if fillers.separator is not None:
            expected[1:] = before_other[:-1]
        for piece in np.flatnonzero(separator != expected):
            what = "has a separator where none belongs" if separator[piece] else "lacks a separator"
            yield f"{self._pack(int(pack[piece]))} {what}, before token {place[piece] + separator[piece]}"
        for piece in np.flatnonzero(separator & (self.lengths != 1)):
            yield f"{self._pack(int(pack[piece]))}: a separator has {self.lengths[piece]} tokens"
        inside: NDArray[np.int64] = np.repeat(np.where(self.filler, self.ids, 0), np.maximum(self.lengths, 0))
        for name, kind in (("padding", PADDING), ("separators", SEPARATOR)):
            for column in {"input_ids", "labels"} & set(self._table.column_names):
                values = _values(self._table[column]).to_numpy()
                there = np.flatnonzero(inside[: len(values)] == kind)
                value = np.frombuffer(fillers.values(column, np.int32)[kind == SEPARATOR], np.int32)[0]
                for token in there[values[there] != value][:1]:
                    yield f"`{self._shard.name}`: {column} of {name} is {values[token]}, {value} is right"

    def _against(self, tokens: Tokens) -> Iterator[str]:
        """Compares every value with the source's."""
        packed = set(self._table.column_names) - _PIECES
        sources = {name: tokens.table[name] for name in tokens.table.column_names}
        if self._options.multiple > 1 or self._options.fillers.separator is not None:
            sources.setdefault("labels", tokens.table["input_ids"])  # made to have no loss on fillers
        for name in sorted(packed ^ set(sources)):
            yield f"column `{name}` is in the {'packs' if name in packed else 'source'} only"
        whole = pc.list_value_length(tokens.table["input_ids"]).to_numpy().astype(np.int64)
        source_lengths = np.where(self.inside, whole[np.where(self.inside, self.ids, 0)], 0)
        first, end = self._options.kept(source_lengths)
        if "piece_starts" in self._table.column_names:
            if self._options.hybrid:  # those that are split are whole; `_Pieces` tells which
                first, end = np.zeros_like(source_lengths), source_lengths
            wrong = (self.starts < first) | (self.starts + self.lengths > end)
        else:
            wrong = self.lengths != end
        for piece in np.flatnonzero(wrong & self.inside):
            yield f"{self.where(int(piece))} has {self.lengths[piece]} tokens, its source {source_lengths[piece]}"
        if (wrong & self.inside).any():
            return
        ends = np.concatenate([[0], np.cumsum(self.lengths, dtype=np.int64)])
        for name in sorted(packed & set(sources)):
            expected = gather_values(sources[name], name, self.ids, self.lengths, self.starts, self._options.fillers)
            values = _values(self._table[name])
            if values.type != expected.type:
                yield f"column `{name}` is {values.type} in the packs, {expected.type} in the source"
                continue
            if len(values) != len(expected):
                yield f"`{self._shard.name}` has {len(values)} values of `{name}`, its source {len(expected)}"
                continue
            differ = np.flatnonzero(_bytes(values) != _bytes(expected))
            pieces = np.searchsorted(ends, differ // _width(values), side="right") - 1
            for piece, at in zip(*np.unique(pieces, return_index=True), strict=True):
                token = int(differ[at] // _width(values))
                there = self.starts[piece] + token - ends[piece]
                yield (
                    f"{self.where(int(piece))}: `{name}` is {values[token]} at token {there}, "
                    f"in the source {expected[token]}"
                )

    def _pack(self, pack: int) -> str:
        return f"`{self._shard.name}` pack {pack}"

    def where(self, piece: int) -> str:
        pack = int(np.searchsorted(self._pieces, piece, side="right")) - 1
        row = int(self.ids[piece])
        name = f"row {row}"
        if self._tokens is not None and 0 <= row < self._tokens.source.num_rows:
            name = self._tokens.source.where(row)
        return f"{self._pack(pack)}, sequence {piece - self._pieces[pack]} ({name})"


class _Whole:
    """Which sequences were met, where each is in one piece."""

    def __init__(self, rows: int) -> None:
        self.there = np.zeros(rows, np.bool_)

    def add(self, check: _Check) -> Iterator[str]:
        """Notes the sequences of a shard; says which were met before."""
        ids, firsts, copies = np.unique(check.ids[check.inside], return_index=True, return_counts=True)
        for piece in firsts[(copies > 1) | self.there[ids]]:
            yield f"{check.where(int(np.flatnonzero(check.inside)[piece]))}: it is in more than one place"
        self.there[ids] = True

    def problems(self, lengths: NDArray[np.int64] | None) -> Iterator[str]:
        """Nothing more: a sequence that was met is whole."""
        return iter(())


class _Pieces:
    """Which tokens were met, where sequences may be cut."""

    def __init__(self, options: _Options) -> None:
        self.there = np.zeros(options.rows, np.bool_)
        self._options = options
        self._parts: list[tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]] = []

    def add(self, check: _Check) -> Iterator[str]:
        """Notes the pieces of a shard."""
        columns = (check.ids, check.starts, check.lengths)
        ids, starts, lengths = (column[check.inside].astype(np.int64) for column in columns)
        self._parts.append((ids, starts, lengths))
        self.there[ids] = True
        return iter(())

    def problems(self, lengths: NDArray[np.int64] | None) -> Iterator[str]:
        """Says which sequences are not covered by their pieces, each token once."""
        if not self._parts:
            return
        ids, starts, pieces = (np.concatenate(column) for column in zip(*self._parts, strict=True))
        order = np.lexsort((starts, ids))
        ids, starts, ends = ids[order], starts[order], (starts + pieces)[order]
        first = np.concatenate([[True], ids[1:] != ids[:-1]]) if len(ids) else np.zeros(0, np.bool_)
        begin, end = np.zeros_like(starts), None
        if lengths is not None:
            begin, end = (kept[ids] for kept in self._options.kept(lengths.astype(np.int64)))
            if self._options.hybrid:  # what is split is not truncated
                several = (np.bincount(ids, minlength=len(lengths)) > 1)[ids]
                begin, end = np.where(several, 0, begin), np.where(several, lengths[ids], end)
        elif self._options.keep_end:  # where that is, the source alone tells
            begin = starts
        before = np.where(first, begin, np.concatenate([[0], ends[:-1]]))
        for at in np.flatnonzero(starts != before):
            yield f"row {ids[at]}: a piece begins at token {starts[at]}, the one before it ends at {before[at]}"
        if end is None:
            return
        last = np.concatenate([first[1:], [True]])
        for at in np.flatnonzero(last & (ends != end)):
            yield f"row {ids[at]}: its pieces end at token {ends[at]}, it has {end[at]}"


def _ends(column: pa.ChunkedArray) -> NDArray[np.int64]:
    lists = column.chunk(0) if column.num_chunks else pa.array([], column.type)
    offsets: NDArray[np.int64] = lists.offsets.to_numpy().astype(np.int64)
    ends: NDArray[np.int64] = offsets - offsets[0]
    return ends


def _values(column: pa.ChunkedArray) -> pa.Array:
    return column.chunk(0).flatten() if column.num_chunks else pa.array([], column.type.value_type)


def _width(values: pa.Array) -> int:
    return max(1, int(values.type.bit_width) // 8)


def _bytes(values: pa.Array) -> NDArray[np.uint8]:
    """Compared as bytes, since NaN differs from itself."""
    if pa.types.is_boolean(values.type):
        values = values.cast(pa.uint8())
    return np.ascontiguousarray(values.to_numpy()).view(np.uint8)
