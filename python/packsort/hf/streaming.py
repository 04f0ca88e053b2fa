"""`pack_stream`: a streaming dataset in, a streaming dataset of packs out."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Unpack

import datasets
import pyarrow as pa

from packsort import _checks
from packsort._options.choices import Seed, Strategy
from packsort._options.keywords import TokenOptions, names
from packsort.errors import OptionError, SourceError
from packsort.gathering.pack import pack_with_codes
from packsort.hf._mark import LEFT_OUT, mark_packs
from packsort.tokenization.choice import TokenizerChoice, as_choice

_ROWS_THAT_DECIDE: Final = 100  # rows that decide which columns packs have


def pack_stream(
    dataset: Any,
    max_length: int,
    strategy: Strategy = "ffd",
    *,
    buffer_size: int = 10_000,
    tokenizer: Any = None,
    seed: Seed = "auto",
    **options: Unpack[TokenOptions],
) -> Any:
    """Pack a streaming dataset into a streaming dataset of packs, as `pack_dataset` packs a dataset.

    Every `buffer_size` rows are packed together. On chat-shaped lengths at 8192 tokens, buffers of 10,000 rows make
    0.1 % more packs than all rows at once.

    The result is an ordinary `datasets.IterableDataset`: `state_dict` and `load_state_dict` continue inside a buffer,
    `set_epoch` reaches a `shuffle` of the source, and workers of a `DataLoader`, accelerate and `split_dataset_by_node`
    share out the source's shards. It trains with `SFTTrainer` and `args=packsort.hf.sft_config(..., max_steps=...,
    accelerator_config={"dispatch_batches": False})`.

    A `Trainer` resumes it exactly, in the first pass over it: give it several passes as one, `dataset.repeat(n)`. A
    `state_dict` of `datasets` leaves out what waits in the buffer of a `shuffle`, before or after packing, and says so
    when it is loaded; before datasets 5.2 it may also leave out rows of a source with `map`.
    `packsort.torch.PackedStream` resumes such sources exactly.

    Args:
        dataset: A `datasets.IterableDataset` with the columns that `pack_dataset` takes. Its first 100 rows decide
            which columns packs have.
        max_length: Most tokens of a pack.
        strategy: Rule that puts sequences into packs, as for `packsort.plan`. `in_order` keeps the order of the rows,
            but a buffer's last packs are closed with it; `packsort.torch.PackedStream` packs on across the stream.
        buffer_size: Rows that are packed together, and held in memory.
        tokenizer: A `transformers` tokenizer, its folder or its Hub name, for rows that hold no tokens.
        seed: Seed of the shuffle of a buffer's packs and equal lengths. `None` keeps the order of first-fit decreasing;
            `auto` is 0, and `None` for `in_order`.
        **options: Further options of `packsort.pack`, such as `overlong` and `separator`, without `on_progress`.

    Returns:
        A `datasets.IterableDataset` with known features. It has `input_ids` and `labels` int32, other per-token
        columns in their own type, `seq_lengths` int32, and the columns of `keep`.

    Raises:
        TypeError: A keyword argument is unknown.
        OptionError: A value is not allowed, or two options contradict each other.
        SourceError: `dataset` is no `IterableDataset`, has no rows, lacks `input_ids`, or holds a wrong value, also
            while the result is iterated.
        LengthError: A sequence is longer than `max_length`, and `overlong` is not given, also while iterating.

    Example:
        >>> import datasets
        >>> from packsort.hf import pack_stream
        >>> rows = datasets.Dataset.from_dict({"input_ids": [[1, 2, 3], [4, 5, 6, 7], [8]]}).to_iterable_dataset()
        >>> list(pack_stream(rows, 5, seed=None))
        [{'input_ids': [4, 5, 6, 7, 8], 'seq_lengths': [4, 1]}, {'input_ids': [1, 2, 3], 'seq_lengths': [3]}]
    """
    known = names(TokenOptions) - {"on_progress"} | {"max_length", "strategy", "buffer_size", "tokenizer", "seed"}
    _checks.keywords("pack_stream", options, known)
    buffer_size = _checks.integer("buffer_size", buffer_size, 1)
    if not isinstance(dataset, datasets.IterableDataset):
        raise SourceError(
            f"dataset must be a datasets.IterableDataset, got a {type(dataset).__name__}: pack a Dataset with "
            "`pack_dataset`, and each split of an IterableDatasetDict by itself"
        )
    fixed = {"strategy": strategy, **options}
    pack = _BufferPacker(max_length, as_choice(tokenizer), fixed, seed)
    first = _first_rows(dataset)
    with warnings.catch_warnings():  # the first buffer gives them
        warnings.simplefilter("ignore", UserWarning)
        schema = pack(first).schema
    pack = _BufferPacker(max_length, pack.choice, fixed, seed, tuple(schema.names))
    format_type = None if dataset._formatting is None else dataset._formatting.format_type
    packed = dataset.with_format("arrow").map(
        pack,
        batched=True,
        batch_size=buffer_size,
        features=datasets.Features.from_arrow_schema(schema),
    )
    return mark_packs(packed.with_format(format_type))


@dataclass
class _BufferPacker:
    """Function that packs a buffer of rows, for `datasets.IterableDataset.map`.

    Attributes:
        max_length: Most tokens of a pack.
        choice: The tokenizer of the rows, or None where they hold tokens.
        options: Options of the plan.
        seed: Seed of the shuffle, as for `pack_stream`.
        columns: Columns that packs must have; none for any.
    """

    max_length: int
    choice: TokenizerChoice | None
    options: Mapping[str, Any]
    seed: Seed
    columns: tuple[str, ...] = ()

    def __call__(self, rows: pa.Table) -> pa.Table:
        """Pack rows."""
        packs, dictionaries = pack_with_codes(
            "pack_stream", rows, self.max_length, self.choice, self.options, self.seed, 0
        )
        if dictionaries:
            raise OptionError(
                f"keep={sorted(dictionaries)[0]!r} is text, whose values are not all known before a stream ends: keep "
                "a column of numbers"
            )
        packs = packs.drop_columns([name for name in LEFT_OUT if name in packs.column_names])
        if self.columns and set(packs.column_names) != set(self.columns):
            wrong = sorted(set(packs.column_names) ^ set(self.columns))
            raise SourceError(
                f"column `{wrong[0]}` has one value for each token in some rows of the stream and not in others: "
                "remove it, or make it of one kind"
            )
        return packs.select(self.columns) if self.columns else packs


def _first_rows(dataset: Any) -> pa.Table:
    """Return the first rows of a stream, with the types that it knows."""
    found = list(dataset.with_format("arrow").take(_ROWS_THAT_DECIDE))
    if not found:
        raise SourceError("dataset has no rows: there is nothing to pack")
    return pa.concat_tables(found, promote_options="permissive")
