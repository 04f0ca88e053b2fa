"""The tokens that are packed: read, tokenized, or kept by an earlier call, in memory or streamed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from packsort._arrow import value_bytes
from packsort._progress import Stage
from packsort.gathering.fillers import Fillers
from packsort.schema import INT32_COLUMNS
from packsort.shards.config import ShardConfig
from packsort.shards.memory import fits_in_memory, memory_use, most_token_bytes
from packsort.shards.token_store import TokenStore
from packsort.sources.source import Source
from packsort.sources.tokens.read import Tokens
from packsort.sources.tokens.roles import column_roles
from packsort.sources.tokens.rows import TokenRows
from packsort.sources.tokens.streamed import StreamedTokens
from packsort.tokenization.choice import TokenizerChoice
from packsort.tokenization.info import TokenizerInfo
from packsort.tokenization.kept import KeptTokens
from packsort.tokenization.load import load_tokens


@dataclass(frozen=True)
class TokenInput:
    """The tokens that are packed, and what goes between them.

    Attributes:
        tokens: The sequences.
        tokenizer: How they were tokenized, or None where the source held tokens.
        fillers: Tokens of separators and padding.
    """

    tokens: TokenRows
    tokenizer: TokenizerInfo | None
    fillers: Fillers

    @property
    def in_memory(self) -> bool:
        """Whether the tokens are in memory."""
        return self.tokens.in_memory


def load_input(
    source: Source,
    config: ShardConfig,
    choice: TokenizerChoice | None,
    stage: Stage,
    store: TokenStore | None,
    folder: Path | None,
) -> TokenInput:
    """Return the tokens of a source in the cheapest way that there is; see `prepare`."""
    if choice is None:
        fillers = config.fillers(None)
        token_bytes, columns = _bytes_of_tokens(source)
        shard = min(config.shard_size, token_bytes)
        if fits_in_memory(config.memory_limit, token_bytes, source.num_rows, shard, config.named_columns):
            return TokenInput(*load_tokens(source, None, stage, config.input), fillers)
        with source.naming():
            # Refused before any token is read.
            memory_use(config.memory_limit, source.num_rows, shard, columns, config.named_columns)
        with stage("reading lengths", total=source.num_rows, unit="rows") as advance:
            return TokenInput(StreamedTokens(source, config.input.empty, advance), None, fillers)
    return TokenInput(*_tokenized(source, config, choice, stage, store, folder))


def _bytes_of_tokens(source: Source) -> tuple[int, int]:
    """Return the bytes that the token columns of a source take in memory, and the number of columns."""
    with source.naming():
        lists = column_roles(source.schema).lists
    total = 0
    for name in lists:
        stored, width = source.decoded_bytes([name]), value_bytes(source.schema.field(name).type)
        total += stored * min(width, 4) // width if name in INT32_COLUMNS else stored
    return total, len(lists)


def _tokenized(
    source: Source,
    config: ShardConfig,
    choice: TokenizerChoice,
    stage: Stage,
    store: TokenStore | None,
    folder: Path | None,
) -> tuple[Tokens, TokenizerInfo | None, Fillers]:
    window = config.window(choice)
    most_bytes = most_token_bytes(config.memory_limit, source.num_rows, config.shard_size, config.named_columns)
    kept = None if store is None else store.find(stage)
    if kept is not None and window is None:
        found = config.fillers_without(kept.pad_token_id, kept.vocabulary) or config.fillers(choice.load(stage))
        in_memory = kept.table.nbytes <= most_bytes
        return Tokens(kept.table, kept.left_out, source, in_memory=in_memory), kept.info, found
    tokenizer = choice.load(stage)
    fillers = config.fillers(tokenizer)
    # What is cut serves no other limit, so a folder that the user chose gets the tokens before they are cut.
    cut_later = kept is None and store is not None and store.keeps_all
    first_window = None if cut_later else window
    room: dict[str, Any] = {"most_bytes": most_bytes, "folder": folder, "memory_limit": config.memory_limit}
    tokens, info = load_tokens(source, tokenizer, stage, config.input, split_turns=first_window, kept=kept, **room)
    if store is not None and first_window is None:
        assert info is not None
        kept = KeptTokens(tokens.table, info, tokens.left_out, tokenizer.pad_token_id, len(tokenizer))
        store.made(kept)
    if cut_later and window is not None:
        tokens, info = load_tokens(source, tokenizer, stage, config.input, split_turns=window, kept=kept, **room)
    return tokens, info, fillers
