"""Token columns of a source: read where the source has them, tokenized where it has text."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from packsort import _checks
from packsort._options.input import InputConfig
from packsort._progress import Stage
from packsort.schema import LENGTH, PIECE_STARTS
from packsort.sources.source import Source
from packsort.sources.tokens.read import Tokens, read_tokens
from packsort.tokenization.info import TokenizerInfo, digest
from packsort.tokenization.kept import KeptTokens
from packsort.tokenization.notes import joined_notes
from packsort.tokenization.spill import collect
from packsort.tokenization.tokenize import Tokenization
from packsort.tokenization.tokenizer import as_tokenizer


def load_tokens(
    source: Source,
    tokenizer: Any,
    stage: Stage,
    config: InputConfig,
    *,
    split_turns: int | None = None,
    kept: KeptTokens | None = None,
    most_bytes: int | None = None,
    folder: Path | None = None,
    memory_limit: int | None = None,
) -> tuple[Tokens, TokenizerInfo | None]:
    """Read the token columns of a source, or tokenize its rows.

    Args:
        source: The rows.
        tokenizer: A tokenizer, its folder or Hub name, or None to read the tokens that the source has.
        stage: Progress reporter, as for `packsort.write_shards`.
        config: How text becomes tokens and labels, and what becomes of sequences without tokens.
        split_turns: The most tokens of a conversation. Longer ones are cut between turns. None cuts none.
        kept: Tokens of the same rows, uncut, that an earlier call has made. They are only cut.
        most_bytes: The most bytes of made tokens to hold in memory; more are mapped from a file. None holds all.
        folder: Folder of that file; None is that of the system's temporary files.
        memory_limit: Bytes of memory that this process and those that tokenize may take, or None for any number.

    Returns:
        The tokens; and how they were made, None if they were read.

    Raises:
        SourceError: As for `read_tokens` and `tokenize`.
        TokenizerError: As for `tokenize`.
    """
    if tokenizer is None:
        with stage("reading", total=source.num_rows, unit="rows") as advance:
            return read_tokens(source, config.empty, advance), None
    tokenizer = as_tokenizer(tokenizer)
    with stage("tokenizing" if kept is None else "cutting", total=source.num_rows, unit="sequences") as advance:
        tokenization = Tokenization(
            source,
            tokenizer,
            config,
            on_progress=advance,
            split_turns=split_turns,
            made=None if kept is None else kept.table,
            memory_limit=memory_limit,
        )
        table, in_memory = collect(tokenization, tokenization.schema, most_bytes, folder)
        table = table.drop_columns(LENGTH)
    piece_starts = None
    if split_turns is not None:
        piece_starts = table[PIECE_STARTS]
        table = table.drop_columns(PIECE_STARTS)
    left_out = tuple(name for name in source.schema.names if name not in tokenization.columns)
    template = getattr(tokenizer, "chat_template", None)
    info = TokenizerInfo(
        name=str(getattr(tokenizer, "name_or_path", "")),
        columns=tokenization.columns,
        loss_rule=tokenization.loss_rule,
        loss_tokens=tokenization.loss_tokens,
        without_loss=tokenization.without_loss,
        notes=tokenization.notes if kept is None else joined_notes(kept.info.notes, tokenization.notes),
        chat_template=None if template is None else digest(template),
        form=tokenization.form,
        template_date=tokenization.template_date if kept is None else kept.info.template_date,
    )
    by_file = tuple(tokenization.split_by_file) if split_turns is not None else ()
    return Tokens(table, left_out, source, piece_starts, by_file, in_memory=in_memory), info


def window_limit(max_length: int, pad_to_multiple_of: int, tokenizer: Any) -> int:
    """Return the most tokens of a window when conversations are cut to fit `max_length`.

    Args:
        max_length: The most tokens of a pack.
        pad_to_multiple_of: Every sequence occupies a multiple of this many tokens.
        tokenizer: The tokenizer, or None.

    Raises:
        OptionError: There is no tokenizer to cut conversations with.

    Example:
        >>> window_limit(100, 16, "a tokenizer")
        96
    """
    if tokenizer is None:
        raise _checks.clash(
            "overlong='split_turns'",
            "tokenizer=None",
            "conversations are cut while they are tokenized; for tokens, overlong must be one of 'error', 'drop', "
            "'truncate', 'split'",
        )
    multiple = max(1, pad_to_multiple_of)
    return max_length // multiple * multiple or max_length
