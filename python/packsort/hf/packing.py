"""`pack_dataset`: a tokenized `datasets.Dataset` in, a dataset of packs out."""

from __future__ import annotations

from typing import Any, Unpack

import datasets
from datasets.fingerprint import Hasher

from packsort import _checks
from packsort._options import Strategy, TokenOptions, names
from packsort.errors import OptionError, SourceError
from packsort.gathering.pack import pack
from packsort.hf._mark import mark_packs
from packsort.schema import PIECE_STARTS, SEQUENCE_IDS
from packsort.sources.objects import refuse_stream
from packsort.tokenization.choice import as_choice

# TRL's datasets have no such columns, and its collator would take them for columns of tokens.
_NOT_TRL = (SEQUENCE_IDS, PIECE_STARTS)
_TRL_OPTIONS = {"seq_length": "max_length", "map_kwargs": None}


def pack_dataset(
    dataset: Any,
    max_length: int,
    strategy: Strategy = "ffd",
    *,
    tokenizer: Any = None,
    seed: int | None = 0,
    epoch: int = 0,
    **options: Unpack[TokenOptions],
) -> Any:
    """Pack a dataset into the columns that `trl.pack_dataset` returns.

    The result trains with `SFTTrainer` and `args=packsort.hf.sft_config(...)`. Unlike TRL, it packs the dataset as a
    whole instead of a thousand rows at a time, and raises on sequences that are too long instead of cutting them, see
    `overlong`.

    Packs are made in memory. For a dataset that does not fit there, use `packsort.write_shards`.

    Args:
        dataset: A `datasets.Dataset` or `DatasetDict` with `input_ids`; `labels` and other list columns with a value
            for each token are packed as well. Other columns are left out. With a tokenizer it has `messages`, `prompt`
            and `completion`, or `text`, as TRL takes them.
        max_length: Most tokens of a pack; TRL's `seq_length`.
        strategy: Rule that puts sequences into packs, as for `packsort.plan`.
        tokenizer: A `transformers` tokenizer, its folder or its Hub name, for rows that hold no tokens.
        seed: Seed of the shuffle of packs and equal lengths. `None` keeps the order of first-fit decreasing.
        epoch: Epoch of the shuffle.
        **options: Further options of `packsort.pack`, such as `overlong`, `max_sequences` and `separator`.

    Returns:
        A dataset of the same kind and format with one row for each pack: `input_ids` and `labels` int32, other
        per-token columns in their own type, and `seq_lengths` int32.

    Raises:
        TypeError: A keyword argument is unknown.
        OptionError: A value is not allowed, or two options contradict each other.
        SourceError: `dataset` is neither of the two, lacks `input_ids`, or holds a wrong value.
        LengthError: A sequence is longer than `max_length`, and `overlong` is not given.

    Example:
        >>> import datasets
        >>> from packsort.hf import pack_dataset
        >>> dataset = datasets.Dataset.from_dict({"input_ids": [[1, 2, 3], [4, 5, 6, 7], [8]]})
        >>> pack_dataset(dataset, 5, seed=None)[:]
        {'input_ids': [[4, 5, 6, 7, 8], [1, 2, 3]], 'seq_lengths': [[4, 1], [3]]}
    """
    for name, ours in _TRL_OPTIONS.items():
        if name in options:
            hint = f"pass {ours}" if ours else "leave it out, packing does not call `map`"
            raise OptionError(f"{name} is an option of `trl.pack_dataset`, not of `packsort.hf.pack_dataset`: {hint}")
    _checks.keywords(
        "pack_dataset", options, names(TokenOptions) | {"max_length", "strategy", "tokenizer", "seed", "epoch"}
    )
    choice = as_choice(tokenizer)
    if isinstance(dataset, datasets.DatasetDict):
        packed = {
            name: pack_dataset(split, max_length, strategy, tokenizer=choice, seed=seed, epoch=epoch, **options)
            for name, split in dataset.items()
        }
        return datasets.DatasetDict(packed)
    refuse_stream(dataset)
    if not isinstance(dataset, datasets.Dataset):
        raise SourceError(f"dataset must be a datasets.Dataset or DatasetDict, got {_kind(dataset)}")
    table = pack(dataset, max_length, tokenizer=choice, strategy=strategy, seed=seed, epoch=epoch, **options)
    table = table.drop_columns([name for name in _NOT_TRL if name in table.column_names])
    arguments = sorted((name, value) for name, value in options.items() if name != "on_progress")
    if choice is not None:
        arguments.append(("tokenizer", choice.identity))
    fingerprint = Hasher.hash((dataset._fingerprint, max_length, strategy, seed, epoch, arguments))
    packed = mark_packs(datasets.Dataset(table, split=dataset.split, fingerprint=fingerprint))
    source_format = dataset.format
    added = [name for name in table.column_names if name not in dataset.column_names]
    columns = [name for name in source_format["columns"] if name in table.column_names] + added
    if source_format["type"] == "custom":
        return packed  # the transform has made the rows, and knows nothing of packs
    return packed.with_format(
        source_format["type"], columns, source_format["output_all_columns"], **source_format["format_kwargs"]
    )


def _kind(value: Any) -> str:
    name = type(value).__name__
    return f"{'an' if name[0] in 'AEIOU' else 'a'} {name}"
