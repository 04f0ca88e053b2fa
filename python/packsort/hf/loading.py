"""`load`: a packed directory as a Hugging Face dataset."""

from __future__ import annotations

import os
from collections.abc import Iterator
from itertools import accumulate
from typing import Any, Literal

import datasets
import pyarrow as pa
from datasets.fingerprint import Hasher

from packsort import _checks
from packsort.errors import SourceError
from packsort.hf._mark import LEFT_OUT, mark_packs
from packsort.shards.reader import Shards, open_shards
from packsort.sources.sequence_columns import class_labels


def load(path: str | os.PathLike[str], *, streaming: bool = False, verify: Literal["open", "never"] = "open") -> Any:
    """Load a packed directory as a dataset that `SFTTrainer` and `Trainer` train on.

    With TRL, pass `args=packsort.hf.sft_config(...)`. With transformers' `Trainer`, pass `PackedCollator` as
    `data_collator`, and `remove_unused_columns=False`.

    Arrow shards are memory-mapped: nothing is read or copied, whatever their size. Parquet has to be decoded, so
    `datasets` converts Parquet shards once, into its cache; with `streaming=True` it reads them as they are. The same
    holds for the packs of an index-only directory, which are gathered; `PackedDataset` gathers them on request, and
    copies nothing.

    Args:
        path: Directory that `packsort pack` or `packsort.write_shards` wrote, or its URL. Shards of a store are copied
            to a disk, all of them.
        streaming: Whether to return an `IterableDataset`, which reads shard by shard, in order. `Trainer` then needs
            `accelerator_config={"dispatch_batches": False}`, which `SFTTrainer` sets itself.
        verify: Time at which the checksums of the shards are compared. `"open"`, the default, is now: each shard is
            read once, at the speed of memory or of its disk. `"never"` trusts the files.

    Returns:
        A `datasets.Dataset`, or a `datasets.IterableDataset`, with one row for each pack. It has `input_ids` int32,
        `labels` int32 where there are labels, other columns in their own type, and `seq_lengths` int32. `sequence_ids`
        and `piece_starts` are left out, as in TRL's packed datasets.

    Raises:
        OptionError: `verify` is not allowed.
        SourceNotFoundError: There is no such directory.
        DamagedError: The directory is unfinished, or a shard is missing or differs from the manifest.
        SourceError: The directory holds no packs.

    Example:
        >>> import packsort, pyarrow as pa, tempfile
        >>> from packsort.hf import load
        >>> table = pa.table({"input_ids": [[1, 2, 3], [4, 5, 6, 7], [8]]})
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     manifest = packsort.write_shards(table, folder + "/packed", max_length=5, seed=None)
        ...     load(folder + "/packed")[:]
        {'input_ids': [[4, 5, 6, 7, 8], [1, 2, 3]], 'seq_lengths': [[4, 1], [3]]}
    """
    _checks.one_of("verify", verify, ("open", "never"))
    shards = open_shards(path, verify=verify)
    if not len(shards):
        raise SourceError(f"`{shards.path}` holds no packs: there is nothing to train on")
    kept = [name for name in shards.column_names if name not in LEFT_OUT]
    if shards.tokens is not None:
        return mark_packs(_from_index(shards, kept, streaming=streaming))
    if streaming:
        return mark_packs(_from_files(shards, streaming=True).select_columns(kept))
    if all(shard.is_mapped for shard in shards.manifest.shards):
        shards.files()
        tables = [shards.table(index) for index in range(len(shards.manifest.shards))]
        # Datasets hashes the data itself unless it is told what identifies it.
        print_of = Hasher.hash(([shard.checksum for shard in shards.manifest.shards], kept))
        table = pa.concat_tables(tables).select(kept).replace_schema_metadata(class_labels(shards.dictionaries))
        return mark_packs(datasets.Dataset(table, split=datasets.Split.TRAIN, fingerprint=print_of))
    return mark_packs(_from_files(shards, streaming=False).select_columns(kept))


def _from_files(shards: Shards, *, streaming: bool) -> Any:
    """Let `datasets` read the shard files."""
    files = [os.path.abspath(file) for file in shards.files()]
    kind = "arrow" if shards.manifest.shards[0].is_mapped else "parquet"
    return datasets.load_dataset(kind, data_files={"train": files}, split="train", streaming=streaming)


def _from_index(shards: Shards, kept: list[str], *, streaming: bool) -> Any:
    """Let `datasets` gather the packs of an index: shard by shard, or once, into its cache."""
    manifest = shards.manifest
    lists = {name: pa.list_(pa.from_numpy_dtype(values.dtype)) for name, values in shards[0].items() if name in kept}
    schema = pa.schema([(name, lists[name]) for name in kept], metadata=class_labels(manifest.dictionaries))
    features = datasets.Features.from_arrow_schema(schema)
    # The cache of `datasets` is told by the arguments: packs and files by their content.
    content = [shard.checksum for shard in manifest.shards]
    files = [file.sample for file in manifest.index.files] if manifest.index else []
    arguments = {
        "numbers": list(range(len(content))),
        "path": os.path.abspath(shards.path),
        "columns": tuple(kept),
        "content": (tuple(content), tuple(files)),
    }
    if streaming:
        return datasets.IterableDataset.from_generator(_packs_of_index, features=features, gen_kwargs=arguments)
    return datasets.Dataset.from_generator(_packs_of_index, features=features, gen_kwargs=arguments, split="train")


def _packs_of_index(numbers: list[int], path: str, columns: tuple[str, ...], content: Any) -> Iterator[dict[str, Any]]:
    """Yield the packs of some shards of an index."""
    shards = open_shards(path)
    firsts = [0, *accumulate(shard.packs for shard in shards.manifest.shards)]
    for number in numbers:
        for pack in range(firsts[number], firsts[number + 1]):
            found = shards[pack]
            yield {name: found[name] for name in columns}
