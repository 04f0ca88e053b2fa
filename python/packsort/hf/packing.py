"""`pack_dataset`: a tokenized `datasets.Dataset` in, a dataset of packs out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Unpack

import datasets
import numpy as np
import pyarrow as pa
from datasets.fingerprint import Hasher

from packsort import _checks
from packsort._arrow import from_numpy, to_numpy
from packsort._options.choices import Seed, Strategy
from packsort._options.keywords import TokenOptions, names
from packsort.errors import OptionError, SourceError
from packsort.gathering.pack import pack_with_codes
from packsort.hf._mark import LEFT_OUT, mark_packs
from packsort.schema import NO_VALUE
from packsort.sources.objects import refuse_stream
from packsort.sources.sequence_columns import Dictionaries, class_labels
from packsort.tokenization.choice import as_choice

_TRL_OPTIONS = {"seq_length": "max_length", "map_kwargs": None}


def pack_dataset(
    dataset: Any,
    max_length: int,
    strategy: Strategy = "ffd",
    *,
    tokenizer: Any = None,
    seed: Seed = "auto",
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
        seed: Seed of the shuffle of packs and equal lengths. `None` keeps the order of first-fit decreasing; `auto` is
            0, and `None` for `in_order`.
        epoch: Epoch of the shuffle.
        **options: Further options of `packsort.pack`, such as `overlong`, `max_sequences`, `separator` and `keep`.

    Returns:
        A dataset of the same kind and format with one row for each pack. It has `input_ids` and `labels` int32, other
        per-token columns in their own type, `seq_lengths` int32, and the columns of `keep` with one value for each
        segment, text as `ClassLabel`, -1 for separators and padding.

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
    splits = dataset if isinstance(dataset, datasets.DatasetDict) else {"": dataset}
    for split in splits.values():
        if isinstance(split, datasets.IterableDataset):
            raise SourceError(
                f"dataset is a stream ({type(split).__name__}): pack it with `packsort.hf.pack_stream`, or with "
                "`packsort.torch.PackedStream` for a loop of your own"
            )
        refuse_stream(split)
        if not isinstance(split, datasets.Dataset):
            raise SourceError(f"dataset must be a datasets.Dataset or DatasetDict, got {_kind(split)}")
    plan_options = {"strategy": strategy, **options}
    tables = {
        name: pack_with_codes("pack_dataset", split, max_length, choice, plan_options, seed, epoch)
        for name, split in splits.items()
    }
    arguments = sorted((name, value) for name, value in options.items() if name != "on_progress")
    if choice is not None:
        arguments.append(("tokenizer", choice.identity))
    packed = {
        name: _as_dataset(table, splits[name], (max_length, strategy, seed, epoch, arguments))
        for name, table in _with_class_labels(tables).items()
    }
    return datasets.DatasetDict(packed) if isinstance(dataset, datasets.DatasetDict) else packed[""]


def _with_class_labels(tables: Mapping[str, tuple[pa.Table, Dictionaries]]) -> dict[str, pa.Table]:
    """Return packs whose codes are class labels; a code means the same text in all splits."""
    texts: dict[str, dict[str, int]] = {}  # code of each text, by column
    for _, dictionaries in tables.values():
        for name, listed in dictionaries.items():
            for text in listed:
                texts.setdefault(name, {}).setdefault(text, len(texts[name]))
    shared = class_labels({name: tuple(codes) for name, codes in texts.items()})
    labelled = {}
    for split, (table, dictionaries) in tables.items():
        for name, listed in dictionaries.items():
            codes = np.array([*(texts[name][text] for text in listed), NO_VALUE])  # code -1 is the last
            chunks = [
                pa.ListArray.from_arrays(lists.offsets, from_numpy(codes[to_numpy(lists.values)]))
                for lists in table[name].chunks
            ]
            table = table.set_column(table.schema.get_field_index(name), name, pa.chunked_array(chunks))
        labelled[split] = table.replace_schema_metadata(shared)
    return labelled


def _as_dataset(table: pa.Table, dataset: datasets.Dataset, arguments: Any) -> datasets.Dataset:
    """Return packs as a dataset in the format of the one that was packed."""
    table = table.drop_columns([name for name in LEFT_OUT if name in table.column_names])
    fingerprint = Hasher.hash((dataset._fingerprint, *arguments))
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
