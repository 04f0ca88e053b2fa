"""All that precedes the writing of shards: tokens, their plan, and the counts of what is left out.

`packsort pack --dry-run` ends here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import pyarrow as pa

from packsort import _core
from packsort._progress import Stage, note_search
from packsort.errors import PacksortError
from packsort.gathering.fillers import Fillers, has_fillers
from packsort.gathering.gather import gather_packs
from packsort.gathering.planned import plan_tokens
from packsort.planning.overlong import WAYS
from packsort.planning.plan import Plan
from packsort.shards.config import ShardConfig
from packsort.shards.counts import count_sequences
from packsort.shards.division import count_shards, shard_schema
from packsort.shards.manifest import Counts, Manifest, ManifestOptions, ShardInfo, SourceFileInfo
from packsort.shards.token_store import TokenStore
from packsort.sources.files.skipped import count_skipped
from packsort.sources.sequence_columns import SequenceColumns, read_sequence_columns
from packsort.sources.source import Source
from packsort.sources.tokens.read import Tokens
from packsort.tokenization.choice import TokenizerChoice
from packsort.tokenization.info import TokenizerInfo
from packsort.tokenization.kept import KeptTokens
from packsort.tokenization.load import load_tokens


@dataclass(frozen=True)
class Preparation:
    """Tokens and their plan, before any shard is written.

    Attributes:
        tokens: The sequences.
        tokenizer: How they were tokenized, or None where the source held tokens.
        plan: Their plan.
        fillers: Tokens of separators and padding.
        config: Options of the shards.
        kept: Columns with one value for each sequence that packs keep.
        counts: What happened to the sequences.
        sources: The same by file.
    """

    tokens: Tokens
    tokenizer: TokenizerInfo | None
    plan: Plan
    fillers: Fillers
    config: ShardConfig
    kept: SequenceColumns
    counts: Counts
    sources: tuple[SourceFileInfo, ...]

    @cached_property
    def options(self) -> ManifestOptions:
        """The options as the manifest records them."""
        return self.config.recorded(self.fillers if has_fillers(self.plan) else None)

    @cached_property
    def schema(self) -> pa.Schema:
        """Schema of the shards."""
        packs = gather_packs(self.tokens.table, self.plan, 0, 0, self.fillers, self.kept)
        return shard_schema(packs.schema, self.plan, self.kept.dictionaries)

    @property
    def num_shards(self) -> int:
        """Number of shards."""
        return count_shards(self.tokens.table.schema, self.plan, self.config.shard_size)

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
            tokenizer=self.tokenizer,
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
    source: Source, config: ShardConfig, choice: TokenizerChoice | None, stage: Stage, store: TokenStore | None = None
) -> Preparation:
    """Read or tokenize a source, and plan its sequences.

    Args:
        source: The rows.
        config: Options of the shards.
        choice: The tokenizer, or None where the source holds tokens.
        stage: Progress reporter, as for `packsort.write_shards`.
        store: Tokens that earlier calls kept, or None to look for none and keep none.

    Raises:
        SourceError, LengthError, OptionError, TokenizerError: As for `packsort.write_shards`.
    """
    kept = read_sequence_columns(source, config.keep)
    tokens, info, fillers = _load(source, config, choice, stage, store)
    try:
        with stage("planning") as advance:
            options = replace(config.plan, piece_starts=tokens.piece_starts, on_progress=note_search(advance))
            ways = WAYS if info is None or not info.of_conversations else ("split_turns", *WAYS)
            planned = plan_tokens(tokens, info, options, ways)
            counts, files = count_sequences(planned, tokens)
    except PacksortError as error:
        if store is not None:
            store.keep_after(error)
        raise
    return Preparation(tokens, info, planned, fillers, config, kept, counts, files)


def _load(
    source: Source, config: ShardConfig, choice: TokenizerChoice | None, stage: Stage, store: TokenStore | None
) -> tuple[Tokens, TokenizerInfo | None, Fillers]:
    """Return the tokens, how they were made, and the fillers: the cheapest way that there is."""
    if choice is None:
        fillers = config.fillers(None)
        return *load_tokens(source, None, stage, config.input), fillers
    window = config.window(choice)
    kept = None if store is None else store.find(stage)
    if kept is not None and window is None:
        found = config.fillers_without(kept.pad_token_id, kept.vocabulary) or config.fillers(choice.load(stage))
        return Tokens(kept.table, kept.left_out, source), kept.info, found
    tokenizer = choice.load(stage)
    fillers = config.fillers(tokenizer)
    # What is cut serves no other limit, so a folder that the user chose gets the tokens before they are cut.
    cut_later = kept is None and store is not None and store.keeps_all
    first_window = None if cut_later else window
    tokens, info = load_tokens(source, tokenizer, stage, config.input, split_turns=first_window, kept=kept)
    if store is not None and first_window is None:
        assert info is not None
        kept = KeptTokens(tokens.table, info, tokens.left_out, tokenizer.pad_token_id, len(tokenizer))
        store.made(kept)
    if cut_later and window is not None:
        tokens, info = load_tokens(source, tokenizer, stage, config.input, split_turns=window, kept=kept)
    return tokens, info, fillers
