"""Packs in the files that other trainers read."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from packsort._atomic import OutputFiles, check_folder
from packsort.errors import OptionError, SourceError
from packsort.shards.reader import Shards, open_shards

FORMATS = ("megatron", "trl")

# Megatron-Bridge reads a whole row group for one row of it.
_PACKS_A_GROUP = 500
_NO_LOSS = -100


def export(
    source: str | os.PathLike[str] | Shards,
    out: str | os.PathLike[str],
    *,
    format: str = "megatron",
    overwrite: bool = False,
) -> list[Path]:
    """Writes the packs of a packed directory as Parquet that another trainer reads, a file a shard.

    `megatron` is the packed Parquet of Megatron-Bridge and NeMo (`GPTSFTPackedParquetDataset`), for a folder or a
    pattern as dataset:

    - `input_ids` list<int32>: the tokens.
    - `seq_start_id` list<int32>: where each sequence starts.
    - `loss_mask` list<int8>: 1 where loss is taken on the *next* token. The reader takes the last token of each
      sequence from its input and the first from its labels, so that a pack of n sequences is n tokens shorter there.
      Padding and separators are sequences without loss.

    `trl` is what `trl.pack_dataset` makes: `input_ids`, `labels` and other per-token columns, and `seq_lengths`.

    Args:
        source: a packed directory: its path, or what `packsort.open_shards` opened.
        out: the folder to write to.
        format: `megatron` or `trl`.
        overwrite: whether files of the same names are replaced.

    Returns:
        The files, all of them written or none.

    Raises:
        OptionError: there is no such format.
        SourceError: with `megatron`, labels hold something else than the tokens in their place and -100, which a mask
            cannot say.
        OutputExistsError: the folder is not empty. OutputError: it cannot be written.

    Example:
        >>> import packsort, pyarrow as pa, pyarrow.parquet as pq, tempfile
        >>> from packsort.shards.export import export
        >>> table = pa.table({"input_ids": [[1, 2, 3], [4, 5]], "labels": [[-100, -100, 3], [-100, 5]]})
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     manifest = packsort.write_shards(table, folder + "/packed", max_length=5, seed=None)
        ...     (file,) = export(folder + "/packed", folder + "/megatron")
        ...     file.name, pq.read_table(file).to_pylist()
        ('train-00000-of-00001.idx.parquet',
         [{'input_ids': [1, 2, 3, 4, 5], 'seq_start_id': [0, 3], 'loss_mask': [0, 1, 0, 1, 0]}])
    """
    if format not in FORMATS:
        raise OptionError(f"format is {format!r}, allowed are {', '.join(map(repr, FORMATS))}")
    shards = source if isinstance(source, Shards) else open_shards(source)
    folder = Path(out)
    check_folder(folder, overwrite=overwrite)
    ending = ".idx.parquet" if format == "megatron" else ".parquet"
    names = [shard.name.removesuffix(".arrow").removesuffix(".parquet") for shard in shards.manifest.shards]
    targets = [folder / (name + ending) for name in names]
    with OutputFiles(targets, overwrite=overwrite) as files:
        for index, target in enumerate(targets):
            table = shards.table(index)
            where = f"`{shards.path / shards.manifest.shards[index].name}`"
            made = _megatron(table, where) if format == "megatron" else _trl(table)
            with files.writer(target, made.schema) as write:
                for group in _groups(made):
                    write(group)
    return targets


def _trl(table: pa.Table) -> pa.Table:
    ours = [name for name in ("sequence_ids", "piece_starts") if name in table.column_names]
    return table.drop_columns(ours).replace_schema_metadata(None)


def _megatron(table: pa.Table, where: str) -> pa.Table:
    columns = {
        name: _one(table[name])
        for name in ("input_ids", "labels", "seq_lengths", "sequence_ids")
        if name in table.column_names
    }
    tokens, lengths = columns["input_ids"].flatten().to_numpy(), columns["seq_lengths"].flatten().to_numpy()
    rows = _offsets(columns["input_ids"])  # (packs + 1,)
    pieces = _offsets(columns["seq_lengths"])  # (packs + 1,)
    trained = np.ones(len(tokens), bool)
    if "labels" in columns:
        labels = columns["labels"].flatten().to_numpy()
        trained = labels != _NO_LOSS
        wrong = np.flatnonzero(trained & (labels != tokens))
        if len(wrong):
            pack = int(np.searchsorted(rows, wrong[0], "right")) - 1
            raise SourceError(
                f"{where}: pack {pack}: label {labels[wrong[0]]} at token {wrong[0] - rows[pack]}, which is "
                f"{tokens[wrong[0]]}; allowed with format 'megatron' are the token and {_NO_LOSS}"
            )
    ends = np.cumsum(lengths, dtype=np.int64)
    starts = ends - lengths
    if "sequence_ids" in columns:
        trained &= np.repeat(columns["sequence_ids"].flatten().to_numpy() >= 0, lengths)
    mask = np.zeros(len(tokens), np.int8)
    mask[:-1] = trained[1:]
    mask[ends - 1] = 0
    first = np.repeat(rows[:-1], np.diff(pieces))  # of each piece's pack
    return pa.table(
        {
            "input_ids": pa.ListArray.from_arrays(pa.array(rows, pa.int32()), pa.array(tokens)),
            "seq_start_id": pa.ListArray.from_arrays(
                pa.array(pieces, pa.int32()), pa.array(starts - first, pa.int32())
            ),
            "loss_mask": pa.ListArray.from_arrays(pa.array(rows, pa.int32()), pa.array(mask)),
        }
    )


def _one(column: pa.ChunkedArray) -> pa.ListArray:
    return column.combine_chunks() if column.num_chunks != 1 else column.chunk(0)


def _offsets(lists: pa.ListArray) -> NDArray[np.int64]:
    offsets: NDArray[np.int64] = lists.offsets.to_numpy().astype(np.int64)
    offsets -= offsets[0]
    return offsets


def _groups(table: pa.Table) -> Iterator[pa.Table]:
    for start in range(0, table.num_rows, _PACKS_A_GROUP):
        yield table.slice(start, _PACKS_A_GROUP)
