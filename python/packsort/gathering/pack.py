"""Pack token columns in memory."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Unpack

import pyarrow as pa
import pyarrow.compute as pc

from packsort._options.choices import Seed
from packsort._options.keywords import PackOptions
from packsort._progress import log_stage
from packsort._warn import warn
from packsort.gathering.fillers import token_config
from packsort.gathering.gather import gather_packs
from packsort.gathering.planned import plan_tokens
from packsort.sources.sequence_columns import Dictionaries, read_sequence_columns
from packsort.sources.source import open_source
from packsort.tokenization.choice import TokenizerChoice, as_choice
from packsort.tokenization.load import load_tokens

# Arrow's `list` has 32-bit offsets, so a chunk of packs stays well below 2**31 tokens.
_TOKENS_PER_CHUNK = 2**29


def pack(
    table: Any,
    max_length: int,
    *,
    tokenizer: Any = None,
    seed: Seed = "auto",
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
        seed: Seed that shuffles packs and sequences of equal length. `None` keeps the order of first-fit decreasing;
            `auto` is 0, and `None` for `in_order`.
        epoch: Epoch of the shuffle.
        **options: Options of `packsort.plan`, with these differences. `groups`, `splittable` and `alone` may name a
            column of `table`. `separator` is the token between two sequences of a pack, `None` for none: its id, or,
            with a tokenizer, its text. `pad_token_id` is the token id of the padding that `pad_to_multiple_of` adds,
            the tokenizer's or 0 by default. `empty="drop"` leaves out rows without tokens. `keep` names columns with
            one value for each sequence, such as its source or its reward, that packs keep.

    Returns:
        A table with one row for each pack.

        - `input_ids` and `labels`, `list<int32>`; other per-token columns in their own type.
        - `seq_lengths`, `list<int32>`: tokens of each segment, in order.
        - `sequence_ids`, `list<int64>`: the row of `table` that each segment comes from, -2 for a separator, -1 for
          padding.
        - `piece_starts`, `list<int32>`: the first token of each segment in its row. Only where sequences are cut or
          keep their end.
        - the columns of `keep`, a list with one value for each segment: text as a dictionary type, integers as int64,
          floats and booleans in their own type. All pieces of a sequence have its value. Separators and padding have
          null in text, -1 in integers, 0 in floats, and False in booleans.

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
    packs, dictionaries = pack_with_codes("pack", table, max_length, as_choice(tokenizer), options, seed, epoch)
    for name, texts in dictionaries.items():
        place = packs.schema.get_field_index(name)
        packs = packs.set_column(place, name, _with_texts(packs[name], pa.array(texts, pa.string())))
    return packs


def pack_with_codes(
    caller: str,
    table: Any,
    max_length: int,
    choice: TokenizerChoice | None,
    options: Mapping[str, Any],
    seed: Seed,
    epoch: int,
) -> tuple[pa.Table, Dictionaries]:
    """Pack token columns in memory, with text that is kept as codes.

    Args:
        caller: The callable as the user wrote it, for messages.
        table: As for `pack`, like the arguments below.
        max_length: Most tokens of a pack.
        choice: The tokenizer, or None where the rows hold tokens.
        options: Keyword arguments of `PackOptions`.
        seed: Seed of the shuffle, as for `pack`.
        epoch: Epoch of the shuffle.

    Returns:
        The packs, and the dictionaries of codes.

    Raises:
        SourceError, LengthError, OptionError, TypeError: As for `pack`.
    """
    config = token_config(caller, max_length, options, choice=choice, seed=seed, epoch=epoch)
    source = open_source(table, config.input)
    kept = read_sequence_columns(source, config.keep)
    tokens, info = load_tokens(source, choice and choice.load(), log_stage, config.input)
    warn(tokens.uses.in_words() if info is None else info.remarks())
    planned = plan_tokens(tokens, info, config.plan)
    step = max(1, _TOKENS_PER_CHUNK // planned.max_length)
    starts = range(0, max(1, planned.num_packs), step)
    packs = [gather_packs(tokens.table, planned, at, at + step, config.fillers, kept) for at in starts]
    return pa.concat_tables(packs), kept.dictionaries


def _with_texts(column: pa.ChunkedArray, texts: pa.Array) -> pa.ChunkedArray:
    """Return lists of codes as lists of a dictionary type, with nulls where no text is."""
    chunks = []
    for lists in column.chunks:
        codes = lists.values
        indices = pc.if_else(pc.less(codes, 0), pa.scalar(None, codes.type), codes).cast(pa.int32())
        chunks.append(pa.ListArray.from_arrays(lists.offsets, pa.DictionaryArray.from_arrays(indices, texts)))
    return pa.chunked_array(chunks)
