"""Token columns of a source, read or made."""

from __future__ import annotations

import json
import os
from typing import Any

import xxhash

from packsort._progress import Stage
from packsort.errors import OptionError
from packsort.sources.source import Source
from packsort.sources.tokens import Tokens, read_tokens
from packsort.tokenization.tokenize import load_tokenizer, tokenize


def read_or_tokenize(
    source: Source, tokenizer: Any, stage: Stage, *, split_turns: int | None = None
) -> tuple[Tokens, dict[str, Any] | None]:
    """Token columns, read or made, and how they were made.

    Args:
        source: the rows.
        tokenizer: a tokenizer, its folder or name; None where the source has tokens.
        stage: as for `write_shards`.
        split_turns: the most tokens of a conversation, where longer ones are cut between turns.
    """
    if tokenizer is None:
        with stage("reading"):
            return read_tokens(source), None
    if isinstance(tokenizer, (str, os.PathLike)):
        tokenizer = load_tokenizer(tokenizer)
    with stage("tokenizing", total=source.num_rows, unit="sequences") as advance:
        made = tokenize(source, tokenizer, on_progress=advance, split_turns=split_turns)
        table = made.read().drop_columns("length")
    piece_starts = None
    if split_turns is not None:
        piece_starts = table["piece_starts"]
        table = table.drop_columns("piece_starts")
    left_out = tuple(name for name in source.schema.names if name not in made.columns)
    template = getattr(tokenizer, "chat_template", None)
    about = {
        "name": str(getattr(tokenizer, "name_or_path", "")),
        "columns": list(made.columns),
        "loss_rule": made.loss_rule.value,
        "loss_tokens": made.loss_tokens,
        "without_loss": made.without_loss,
        "notes": list(made.notes),
        "chat_template": None if template is None else digest(template),
    }
    by_file = tuple(made.split_by_file) if split_turns is not None else ()
    return Tokens(table, left_out, source, piece_starts, by_file), about


def turn_limit(max_length: int, pad_to_multiple_of: int, tokenizer: Any) -> int:
    """The most tokens of a part of a conversation.

    Raises:
        OptionError: there is no tokenizer to cut conversations with.
    """
    if tokenizer is None:
        raise OptionError(
            "overlong is 'split_turns' and tokenizer is None: conversations are cut where they are tokenized; "
            "allowed with tokens are 'error', 'drop', 'truncate', 'split'"
        )
    return max_length // max(1, pad_to_multiple_of) * max(1, pad_to_multiple_of) or max_length


def digest(text: str | dict[str, str]) -> str:
    """Return 32 hexadecimal digits that identify a text."""
    return xxhash.xxh3_128(json.dumps(text, sort_keys=True).encode()).hexdigest()
