"""Prove that a packed directory holds its source: every token once, in order, with its labels."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from packsort._options.memory import find_memory_limit
from packsort._progress import Stage, log_stage
from packsort.errors import DamagedError, OptionError, SourceError
from packsort.schema import INPUT_IDS, PIECE_STARTS
from packsort.shards.coverage import CutSequences, WholeSequences
from packsort.shards.files import ShardFiles
from packsort.shards.kept_check import kept_problems
from packsort.shards.manifest import Manifest
from packsort.shards.memory import check_reading, most_token_bytes
from packsort.shards.order_check import PackOrder
from packsort.shards.pieces import pieces_of_packs, sound_table
from packsort.shards.rules import PackingRules
from packsort.shards.shard_check import ShardCheck
from packsort.shards.source_digests import Difference, SourceDigests, in_words, lengths_of
from packsort.sources.files.skipped import SkipReason
from packsort.sources.sequence_columns import SequenceColumns, read_sequence_columns
from packsort.sources.source import Source, open_source
from packsort.sources.tokens.rows import TokenRows
from packsort.sources.tokens.streamed import StreamedTokens
from packsort.tokenization.info import TokenizerInfo
from packsort.tokenization.load import load_tokens, window_limit

_MOST_PROBLEMS = 20  # problems that are kept in words
_BYTES_A_SEQUENCE, _BYTES_A_ROW = 24, 100  # without and with a source, as measured
_BYTES_OF_ORDER = 160  # of each sequence, where packs in input order are made again


@dataclass(frozen=True)
class Verification:
    """Result of `packsort.verify`: false if something is wrong.

    Attributes:
        packs: Packs checked.
        sequences: Pieces of sequences in them. A sequence that was cut counts once for each piece.
        tokens: Tokens of these pieces.
        against_source: Whether the packs were compared with their source.
        problems: Descriptions of what is wrong, the first 20 of them; empty if nothing is.
        num_problems: Number of problems.

    Example:
        >>> from packsort import Verification
        >>> print(Verification(packs=2, sequences=3, tokens=8, against_source=True, problems=(), num_problems=0))
        ok: 2 packs, 3 sequences, 8 tokens, compared with their source
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

    def __bool__(self) -> bool:
        return self.ok

    def __str__(self) -> str:
        checked = f"{self.packs:,} packs, {self.sequences:,} sequences, {self.tokens:,} tokens"
        compared = "compared with their source" if self.against_source else "not compared with their source"
        if self.ok:
            return f"ok: {checked}, {compared}"
        more = self.num_problems - len(self.problems)
        lines = [f"{self.num_problems:,} problems in {checked}, {compared}:", *self.problems]
        return "\n".join([*lines, f"and {more:,} more"] if more else lines)


def verify(
    shards: str | os.PathLike[str] | ShardFiles,
    source: Any = None,
    *,
    tokenizer: Any = None,
    memory_limit: int | str | None = None,
    stage: Stage = log_stage,
) -> Verification:
    """Check a packed directory, and prove that it holds its source.

    Without a source: files and checksums match the manifest, no pack exceeds `max_length`, segments add up to packs,
    each sequence is in one pack or its pieces adjoin, packs of `strategy="in_order"` are those that it makes of these
    sequences, and the counts match the manifest. With a source: the tokens,
    labels and other per-token values of each sequence, and the columns that were kept, equal those of its row, and
    sequences that are in no pack were dropped as too long.

    Args:
        shards: Packed directory: its path, or the `Shards` that `packsort.open_shards` returned.
        source: Rows that were packed, in the same order; `None` checks the directory alone.
        tokenizer: Tokenizer that the rows were tokenized with, or its folder or name. Needed where `source` holds
            conversations or text.
        memory_limit: Bytes of memory that the call may take, such as "4GB"; None is half of what the machine and its
            limits (cgroup, ulimit) allow. A source of tokens is read batch by batch. Tokens of conversations and text
            that do not fit wait in a temporary file.
        stage: Progress reporter, as for `packsort.write_shards`.

    Returns:
        A `Verification`, which is false if something is wrong.

    Raises:
        SourceError: The source cannot be read or used.
        DamagedError: The manifest is missing or damaged. Damaged shards are reported as problems.
        OptionError: The source must be tokenized, and there is no tokenizer; or `memory_limit` is no size,
            or too small.

    Example:
        >>> import packsort, pyarrow as pa, tempfile
        >>> table = pa.table({"input_ids": [[1, 2, 3], [4, 5, 6, 7], [8]]})
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     manifest = packsort.write_shards(table, folder + "/packed", max_length=5)
        ...     print(packsort.verify(folder + "/packed", table))
        ok: 2 packs, 3 sequences, 8 tokens, compared with their source
    """
    limit = find_memory_limit(memory_limit)
    opened = shards if isinstance(shards, ShardFiles) else ShardFiles(shards)
    manifest = opened.manifest
    a_row = _BYTES_A_SEQUENCE if source is None else _BYTES_A_ROW + 8 * len(manifest.columns)
    check_reading(limit, manifest, a_row + (_BYTES_OF_ORDER if manifest.options.strategy == "in_order" else 0))
    rules = PackingRules(manifest)
    found = _Findings()
    tokens = digests = kept_there = None
    kept = SequenceColumns(dict.fromkeys(rules.keep, np.zeros(0)), manifest.dictionaries)
    if source is not None:
        tokens = _source_tokens(
            opened, open_packed(source, manifest, memory_map=opened.memory_map), tokenizer, rules, found, limit, stage
        )
    if tokens is not None:
        try:
            kept_there = read_sequence_columns(tokens.source, rules.keep)
        except SourceError as error:
            found.add(str(error))
        with stage("reading the source", total=len(tokens.lengths), unit="sequences") as advance:
            digests = SourceDigests(tokens, pieces_of_packs(opened, lengths_of(tokens), rules), advance)
    coverage = CutSequences(rules) if PIECE_STARTS in manifest.columns else WholeSequences(rules)
    order = PackOrder(manifest) if manifest.options.strategy == "in_order" else None
    packs = pieces = packed_tokens = 0
    with stage("verifying", total=manifest.counts.packs, unit="packs") as advance:
        for index, shard in enumerate(manifest.shards):
            try:
                table = sound_table(opened, index)
                check = ShardCheck(manifest.max_length, shard, table, digests, rules)
            except DamagedError as error:
                found.add(str(error))
                continue
            found.extend(check.problems())
            found.extend(kept_problems(check, table, kept, kept_there))
            found.extend(coverage.add(check))
            if order is not None:
                order.add(check)
            packs, pieces, packed_tokens = packs + check.packs, pieces + check.pieces, packed_tokens + check.tokens
            advance(shard.packs)
    counts = manifest.counts
    # The manifest counts sequences in total, but pieces in each shard.
    recorded_pieces = sum(shard.sequences for shard in manifest.shards)
    found.compare("packs", packs, counts.packs)
    found.compare("pieces", pieces, recorded_pieces)
    found.compare("tokens", packed_tokens, counts.tokens)
    if order is not None and packs == counts.packs:
        found.extend(order.problems())
    lengths = None if digests is None else digests.lengths
    found.extend(coverage.problems(lengths))
    seen = coverage.seen
    found.compare("sequences", len(seen), counts.sequences)
    missing = f"sequences in no pack (first: {seen.missing(5).tolist()})"
    found.compare(missing, seen.rows - len(seen), counts.dropped + counts.empty)
    if tokens is not None and lengths is not None:
        if tokens.piece_starts is None:  # turns that were left out leave rows without tokens as well
            found.compare("sequences without tokens in the source", int((lengths == 0).sum()), counts.empty)
        found.compare("padded sequences in the source", _number_padded(tokens), counts.padded)
        _report_missing(found, seen.missing(), lengths, rules, tokens.source)
    return Verification(
        packs, pieces, packed_tokens, source is not None, tuple(in_words(found.first, tokens)), found.count
    )


def _number_padded(tokens: TokenRows) -> int:
    return 0 if tokens.uses.padding is None else int((tokens.uses.padding > 0).sum())


def open_packed(source: Any, manifest: Manifest, *, memory_map: bool = True) -> Source:
    """Open the source of a packed directory with the options that it was packed with.

    Args:
        source: Rows of any kind, as for `open_source`.
        manifest: Record of the directory.
        memory_map: Whether to map Arrow files into memory.

    Raises:
        SourceError, OptionError: As for `open_source`.
    """
    config = replace(manifest.options.input, memory_map=memory_map)
    if any(one.reason == SkipReason.UNREADABLE for one in manifest.skipped):
        return open_source(source, replace(config, on_error="skip")).readable()
    try:
        return open_source(source, config)
    except OptionError:
        if config.split is None:
            raise
        # The source may be the split alone, which has no name then. Whether its rows are those is found by comparing.
        return open_source(source, replace(config, split=None))


class _Findings:
    """Problems, counted; the first of them in words."""

    def __init__(self) -> None:
        self.first: list[str | Difference] = []
        self.count = 0

    def add(self, problem: str | Difference) -> None:
        self.count += 1
        if len(self.first) < _MOST_PROBLEMS:
            self.first.append(problem)

    def extend(self, problems: Iterable[str | Difference]) -> None:
        for problem in problems:
            self.add(problem)

    def compare(self, what: str, found: int, recorded: int) -> None:
        """Add a problem if a number differs from the manifest's."""
        if found != recorded:
            self.add(f"there are {found:,} {what}, the manifest says {recorded:,}")


def _source_tokens(
    files: ShardFiles,
    source: Source,
    tokenizer: Any,
    rules: PackingRules,
    found: _Findings,
    memory_limit: int,
    stage: Stage,
) -> TokenRows | None:
    """Return the tokens of the source, or None if it has other rows than were packed."""
    manifest = files.manifest
    if tokenizer is None and manifest.tokenizer is not None and INPUT_IDS not in source.schema.names:
        raise OptionError("tokenizer must be given: the packs were tokenized from this source, which holds no tokens")
    window = window_limit(manifest.max_length, rules.multiple, tokenizer) if rules.split_turns else None
    config = manifest.options.input
    if manifest.tokenizer is not None and tokenizer is not None:
        # A chat template may write the date: it has to be the day of packing again.
        config = replace(config, template_date=manifest.tokenizer.template_date)
    tokens: TokenRows
    info = None
    most_bytes = most_token_bytes(memory_limit, source.num_rows, max((one.bytes for one in manifest.shards), default=0))
    room: dict[str, Any] = {"most_bytes": most_bytes, "memory_limit": memory_limit}
    try:
        if tokenizer is None:
            with stage("reading lengths", total=source.num_rows, unit="rows") as advance:
                tokens = StreamedTokens(source, config.empty, advance)
        else:
            tokens, info = load_tokens(source, tokenizer, stage, config, split_turns=window, **room)
    except OptionError:
        if config.template_date is None:
            raise
        # This template reads no date: it is another one, as `_tokenizer_differences` then says.
        config = replace(config, template_date=None)
        tokens, info = load_tokens(source, tokenizer, stage, config, split_turns=window, **room)
    if info is not None and manifest.tokenizer is not None:
        found.extend(_tokenizer_differences(info, manifest.tokenizer))
    if len(tokens.lengths) != manifest.counts.rows:
        found.add(f"the source has {len(tokens.lengths):,} rows, {manifest.counts.rows:,} were packed")
        return None
    return tokens


def _tokenizer_differences(now: TokenizerInfo, then: TokenizerInfo) -> Iterable[str]:
    """Compare identifiers only: the wording of a manifest may change between versions."""
    for name in ("columns", "loss_rule", "chat_template"):
        one, other = getattr(now, name), getattr(then, name)
        if one != other:
            yield f"the tokenizer has {name} {one}, the packs were made with {other}"


def _report_missing(
    found: _Findings, missing: NDArray[np.int64], lengths: NDArray[Any], rules: PackingRules, source: Source
) -> None:
    """Name sequences in no pack that would have fitted; turns that were left out leave rows without tokens."""
    fitting = missing[(lengths[missing] > 0) & (lengths[missing] <= rules.limit)]
    for row in fitting[:_MOST_PROBLEMS]:
        found.add(f"{source.where(int(row))}: its {lengths[row]} tokens are in no pack")
