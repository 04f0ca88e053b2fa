"""Packing of Hugging Face datasets, where `trl.pack_dataset` is called."""

from __future__ import annotations

from typing import Any

try:
    import datasets
except ImportError as error:
    raise ImportError("packsort.hf needs datasets: pip install 'packsort[hf]'") from error

from datasets.fingerprint import Hasher

from packsort.errors import OptionError, SourceError
from packsort.gathering.pack import pack
from packsort.options import Strategy

# Which sequences a pack holds is ours, not TRL's: its collator would take it for a column of tokens.
_OURS = ("sequence_ids", "piece_starts")


def pack_dataset(dataset: Any, max_length: int, strategy: Strategy = "ffd", **plan_options: Any) -> Any:
    """Packs a tokenized dataset, as `trl.pack_dataset` does, into the same columns.

    What it makes trains with `SFTTrainer` as packed Parquet shards do: `SFTConfig(padding_free=True, packing=False,
    max_length=None, dataset_kwargs={"skip_prepare_dataset": True})`. Other than TRL it packs the dataset as a whole,
    not by thousands of rows, and says so where a sequence is too long (`overlong`) instead of cutting it.

    Packs are made in memory; what does not fit there is packed by `packsort.write_shards`.

    Args:
        dataset: a `datasets.Dataset` or `DatasetDict` with `input_ids`, and maybe `labels` and other list columns with
            a value a token. Its other columns are left out.
        max_length: the most tokens a pack may hold; TRL's `seq_length`.
        strategy: as for `packsort.plan`.
        **plan_options: likewise; `seed` shuffles, by 0 unless it is given.

    Returns:
        A dataset of the same kind and format, a row a pack: `input_ids` and `labels` int32, other per-token columns in
        their own type, and `seq_lengths` int32.

    Raises:
        SourceError: it is no such dataset, lacks `input_ids`, or a value in it is wrong.
        LengthError: a sequence is longer than `max_length`, and `overlong` is not given.

    Example:
        >>> import datasets
        >>> from packsort.hf import pack_dataset
        >>> dataset = datasets.Dataset.from_dict({"input_ids": [[1, 2, 3], [4, 5, 6, 7], [8]]})
        >>> pack_dataset(dataset, 5, seed=None)[:]
        {'input_ids': [[4, 5, 6, 7, 8], [1, 2, 3]], 'seq_lengths': [[4, 1], [3]]}
    """
    if isinstance(dataset, datasets.DatasetDict):
        packed = {name: pack_dataset(part, max_length, strategy, **plan_options) for name, part in dataset.items()}
        return datasets.DatasetDict(packed)
    if not isinstance(dataset, datasets.Dataset):
        raise SourceError(
            f"dataset is a {type(dataset).__name__}, allowed are a datasets.Dataset and a DatasetDict; a stream is "
            "packed by `packsort.torch.PackedLoader`"
        )
    for option in ("seq_length", "map_kwargs"):
        if option in plan_options:
            raise OptionError(f"{option} is TRL's, allowed is `max_length`, and nothing that `map` takes")
    table = pack(dataset, max_length, strategy=strategy, **plan_options)
    table = table.drop_columns([name for name in _OURS if name in table.column_names])
    made = Hasher.hash((dataset._fingerprint, max_length, strategy, sorted(plan_options.items())))
    packed = datasets.Dataset(table, split=dataset.split, fingerprint=made)
    chosen = dataset.format
    made_here = [name for name in table.column_names if name not in dataset.column_names]
    columns = [name for name in chosen["columns"] if name in table.column_names] + made_here
    return packed.with_format(chosen["type"], columns, chosen["output_all_columns"], **chosen["format_kwargs"])
