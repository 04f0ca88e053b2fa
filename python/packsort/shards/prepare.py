"""All that precedes the writing of shards: tokens, their plan, and the counts of what is left out.

`packsort pack --dry-run` ends here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa

from packsort import _core
from packsort._arrow import to_numpy
from packsort._progress import Advance, Stage, ignore, logger, note_search
from packsort.errors import PacksortError
from packsort.gathering.fillers import Fillers, has_fillers
from packsort.gathering.gather import gather_packs
from packsort.gathering.places import Places
from packsort.gathering.planned import check_plan, plan_tokens
from packsort.planning.overlong import WAYS
from packsort.planning.plan import Plan
from packsort.schema import LABELS
from packsort.shards.config import ShardConfig
from packsort.shards.counts import count_sequences
from packsort.shards.division import count_shards, shard_schema
from packsort.shards.loss_counts import LossCounter
from packsort.shards.manifest import Counts, Manifest, ManifestOptions, ShardInfo, SourceFileInfo
from packsort.shards.memory import MemoryUse, memory_use, shards_in_memory
from packsort.shards.token_input import TokenInput, load_input
from packsort.shards.token_store import TokenStore
from packsort.sources.files.skipped import count_skipped
from packsort.sources.sequence_columns import SequenceColumns, read_sequence_columns
from packsort.sources.source import Source
from packsort.sources.tokens.rows import TokenRows, token_bytes
from packsort.tokenization.choice import TokenizerChoice

_BYTES_A_SEGMENT = 16  # its length, sequence id and start
_BATCH_BYTES = 32 << 20


@dataclass(frozen=True)
class Preparation:
    """Tokens and their plan, before any shard is written.

    Attributes:
        input: The sequences, how they were tokenized, and the tokens of separators and padding.
        plan: Their plan.
        config: Options of the shards.
        kept: Columns with one value for each sequence that packs keep.
        counts: What happened to the sequences. `count_losses` adds those without loss.
        sources: The same by file.
    """

    input: TokenInput
    plan: Plan
    config: ShardConfig
    kept: SequenceColumns
    counts: Counts
    sources: tuple[SourceFileInfo, ...]

    @property
    def tokens(self) -> TokenRows:
        """The sequences."""
        return self.input.tokens

    @property
    def fillers(self) -> Fillers:
        """Tokens of separators and padding."""
        return self.input.fillers

    @cached_property
    def options(self) -> ManifestOptions:
        """The options as the manifest records them."""
        return self.config.recorded(self.fillers if has_fillers(self.plan) else None)

    @cached_property
    def schema(self) -> pa.Schema:
        """Schema of the shards."""
        none = pa.table({field.name: pa.nulls(0, field.type) for field in self.tokens.schema})
        packs = gather_packs(none, self.plan, 0, 0, self.fillers, self.kept)
        return shard_schema(packs.schema, self.plan, self.kept.dictionaries)

    @property
    def num_shards(self) -> int:
        """Number of shards."""
        return count_shards(self.tokens.schema, self.plan, self.config.shard_size)

    @cached_property
    def starts(self) -> list[int]:
        """First pack of each shard, and the number of packs."""
        count = self.num_shards
        return [self.plan.num_packs * at // count for at in range(count + 1)]

    @cached_property
    def places(self) -> Places:
        """Packs of the rows."""
        return Places(self.plan, to_numpy(self.tokens.lengths))

    def memory(self) -> MemoryUse:
        """Divide the memory that the call may take, where the tokens are not in memory.

        Raises:
            OptionError: The limit is too small.
        """
        config, rows = self.config, self.plan.num_rows
        return memory_use(config.memory_limit, rows, self._shard_bytes, len(self._token_fields), config.named_columns)

    def shards_in_memory(self) -> int:
        """Return the most shards to gather and write at a time, where the tokens are in memory."""
        return shards_in_memory(self.config.memory_limit, self._shard_bytes)

    @property
    def _token_fields(self) -> list[pa.Field]:
        return [field for field in self.schema if field.name in (*self.tokens.schema.names, LABELS)]

    @property
    def _shard_bytes(self) -> int:
        """The most bytes of a shard in memory."""
        packs = max(stop - start for start, stop in pairwise(self.starts))
        segments = packs * self.plan.num_sequences // max(1, self.plan.num_packs)
        a_segment = _BYTES_A_SEGMENT + 8 * len(self.kept.names)
        return packs * self.plan.max_length * token_bytes(pa.schema(self._token_fields)) + segments * a_segment

    def counted(self, advance: Advance = ignore) -> Preparation:
        """Read all tokens, and return the same with counts of the sequences and packs without loss.

        Args:
            advance: Called with the rows that were read.

        Raises:
            SourceError: A token is wrong, where they were not checked before.
        """
        if self.input.in_memory and LABELS not in self.tokens.schema.names:
            return self
        losses = LossCounter(self.plan, self.places)
        for first, table in self.tokens.batches(_BATCH_BYTES):
            losses.add(first, table, self.places.of_rows(first, first + table.num_rows))
            advance(table.num_rows)
        return self.with_losses(losses)

    def with_losses(self, losses: LossCounter) -> Preparation:
        """Return the same with the counts of sequences and packs without loss."""
        return replace(self, counts=losses.added_to(self.counts))

    def manifest(self, shards: Sequence[ShardInfo] = ()) -> Manifest:
        """Return the record of the packed directory.

        Args:
            shards: The shards that were written.
        """
        return Manifest(
            packsort_version=_core.__version__,
            max_length=self.plan.max_length,
            options=self.options,
            sources=self.sources,
            tokenizer=self.input.tokenizer,
            columns={field.name: str(field.type) for field in self.schema},
            left_out=tuple(name for name in self.tokens.left_out if name not in self.kept.names),
            counts=self.counts,
            plan=self.plan.fingerprint,
            shards=tuple(shards),
            uneven=dict(self.tokens.uses.uneven),
            masks=self.tokens.uses.masks,
            skipped=count_skipped(self.tokens.source.skipped),
            dictionaries=dict(self.kept.dictionaries),
        )


def prepare(
    source: Source,
    config: ShardConfig,
    choice: TokenizerChoice | None,
    stage: Stage,
    store: TokenStore | None = None,
    folder: Path | None = None,
) -> Preparation:
    """Read or tokenize a source, and plan its sequences.

    Args:
        source: The rows.
        config: Options of the shards.
        choice: The tokenizer, or None where the source holds tokens.
        stage: Progress reporter, as for `packsort.write_shards`.
        store: Tokens that earlier calls kept, or None to look for none and keep none.
        folder: Folder for tokens that do not fit into memory; None is that of the system's temporary files.

    Raises:
        SourceError, LengthError, OptionError, TokenizerError: As for `packsort.write_shards`.
    """
    kept = read_sequence_columns(source, config.keep)
    found = load_input(source, config, choice, stage, store, folder)
    try:
        with stage("planning") as advance:
            planned = _plan(found, config, advance)
            counts, files = count_sequences(planned, found.tokens)
            prepared = Preparation(found, planned, config, kept, counts, files)
            logger().debug(f"planned {planned.num_packs:,} packs of {counts.sequences:,} sequences")
            if not found.in_memory:
                prepared.memory()
    except PacksortError as error:
        if store is not None:
            store.keep_after(error)
        raise
    return prepared


def _plan(found: TokenInput, config: ShardConfig, advance: Advance) -> Plan:
    """Plan the sequences, or check that the plan that was given is theirs."""
    tokens, info = found.tokens, found.tokenizer
    if config.given is not None:
        check_plan(config.given, to_numpy(tokens.lengths).astype(np.int64), False, tokens.source.name)
        return config.given
    options = replace(config.plan, piece_starts=tokens.piece_starts, on_progress=note_search(advance))
    ways = WAYS if info is None or not info.of_conversations else ("split_turns", *WAYS)
    return plan_tokens(tokens, info, options, ways)
