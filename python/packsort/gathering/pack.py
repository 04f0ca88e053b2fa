"""Pack token columns in memory."""

from __future__ import annotations

from typing import Any, Unpack

import pyarrow as pa

from packsort._options import PackOptions
from packsort._progress import no_progress
from packsort._warn import warn
from packsort.gathering.fillers import token_config
from packsort.gathering.gather import gather_packs
from packsort.gathering.planned import plan_tokens
from packsort.sources.source import open_source
from packsort.tokenization.choice import as_choice
from packsort.tokenization.load import load_tokens

# Arrow's `list` has 32-bit offsets, so a chunk of packs stays well below 2**31 tokens.
_TOKENS_PER_CHUNK = 2**29


def pack(
    table: Any,
    max_length: int,
    *,
    tokenizer: Any = None,
    seed: int | None = 0,
    epoch: int = 0,
    **options: Unpack[PackOptions],
) -> pa.Table:
    """Pack token columns in memory, or with a tokenizer conversations and text.

    Args:
        table: Any source: a `pyarrow.Table`, a `datasets.Dataset`, a path, a polars DataFrame. Column `input_ids` is a
            list of token ids. `labels` and other list columns of numbers or booleans, with one value for each token,
            are packed alongside. Padding, where `attention_mask` is 0, is left out, and `completion_mask` and
            `assistant_masks` become labels. With a tokenizer, `messages`, `prompt` and `completion`, or `text` are
            tokenized, as `packsort.tokenize` does it.
        max_length: Most tokens of a pack.
        tokenizer: A `transformers` tokenizer, its folder or its Hub name. `None` where `table` holds tokens.
        seed: Seed that shuffles packs and sequences of equal length. `None` keeps the order of first-fit decreasing.
        epoch: Epoch of the shuffle.
        **options: Options of `packsort.plan`, with these differences. `groups`, `splittable` and `alone` may name a
            column of `table`. `separator` is the token between two sequences of a pack, `None` for none: its id, or,
            with a tokenizer, its text. `pad_token_id` is the token id of the padding that `pad_to_multiple_of` adds,
            the tokenizer's or 0 by default. `empty="drop"` leaves out rows without tokens.

    Returns:
        One row for each pack:

        - `input_ids` and `labels`, list<int32>; other per-token columns in their own type.
        - `seq_lengths`, list<int32>: tokens of each segment, in order.
        - `sequence_ids`, list<int64>: the row of `table` that each segment comes from, -2 for a separator, -1 for
          padding.
        - `piece_starts`, list<int32>: the first token of each segment in its row. Only where sequences are cut or keep
          their end.

        The labels of separators and padding are -100. Where `table` has no `labels` and packs hold separators or
        padding, `labels` is added and equals the tokens elsewhere.

    Raises:
        SourceError: There is no usable column, or a value in it is wrong.
        LengthError: A sequence is longer than `max_length`.
        OptionError: A value is not allowed, or two options contradict each other.
        TypeError: A keyword argument is unknown.

    Example:
        >>> import packsort
        >>> import pyarrow as pa
        >>> table = pa.table({"input_ids": [[1, 2, 3], [4, 5, 6, 7], [8]]})
        >>> packsort.pack(table, max_length=5, seed=None).to_pylist()
        [{'input_ids': [4, 5, 6, 7, 8], 'seq_lengths': [4, 1], 'sequence_ids': [1, 2]},
         {'input_ids': [1, 2, 3], 'seq_lengths': [3], 'sequence_ids': [0]}]
        >>> packsort.pack(table, max_length=8, seed=None, pad_to_multiple_of=4, separator=99).to_pylist()
        [{'input_ids': [4, 5, 6, 7], 'labels': [4, 5, 6, 7], 'seq_lengths': [4], 'sequence_ids': [1]},
         {'input_ids': [1, 2, 3, 99, 8, 0, 0, 0], 'labels': [1, 2, 3, -100, 8, -100, -100, -100],
          'seq_lengths': [3, 1, 1, 3], 'sequence_ids': [0, -2, 2, -1]}]
    """
    choice = as_choice(tokenizer)
    config, fillers, given = token_config("pack", max_length, options, choice=choice, seed=seed, epoch=epoch)
    tokens, info = load_tokens(open_source(table, given), choice and choice.load(), no_progress, given)
    warn(tokens.uses.in_words() if info is None else info.remarks())
    planned = plan_tokens(tokens, info, config)
    step = max(1, _TOKENS_PER_CHUNK // planned.max_length)
    starts = range(0, max(1, planned.num_packs), step)
    return pa.concat_tables([gather_packs(tokens.table, planned, at, at + step, fillers) for at in starts])
