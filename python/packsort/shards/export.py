"""Export packs as the Parquet files of other trainers."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from packsort import _checks
from packsort._arrow import from_numpy, to_numpy
from packsort._atomic import OutputFiles, check_folder
from packsort._options import ExportFormat
from packsort.errors import SourceError
from packsort.schema import INPUT_IDS, LABELS, NO_LOSS, PIECE_STARTS, SEQ_LENGTHS, SEQUENCE_IDS
from packsort.shards.files import ShardFiles

# Megatron-Bridge reads a whole row group for one of its rows.
_PACKS_PER_GROUP = 500


def export(
    source: str | os.PathLike[str] | ShardFiles,
    out: str | os.PathLike[str],
    *,
    format: ExportFormat = "megatron",
    overwrite: bool = False,
) -> list[Path]:
    """Write the packs of a packed directory as Parquet that another trainer reads, one file for each shard.

    `megatron` is the packed Parquet of Megatron-Bridge and NeMo (`GPTSFTPackedParquetDataset`), which take a folder or
    a pattern as data set:

    - `input_ids`, list<int32>: the tokens.
    - `seq_start_id`, list<int32>: the first token of each segment.
    - `loss_mask`, list<int8>: 1 where the *next* token carries loss. The reader removes the last token of each segment
      from its input and the first from its labels, so a pack of n segments is n tokens shorter there. Padding and
      separators are segments without loss.

    `trl` holds the columns that `trl.pack_dataset` returns: `input_ids`, `labels` and other per-token columns, and
    `seq_lengths`.

    Args:
        source: Packed directory: its path, or the `Shards` that `packsort.open_shards` returned.
        out: Folder to write to.
        format: `megatron` or `trl`.
        overwrite: Whether to replace files of the same names.

    Returns:
        The files, all of them written or none.

    Raises:
        OptionError: There is no such format.
        SourceError: With `megatron`, a label is neither the token in its place nor -100, so a mask cannot express it.
        OutputExistsError: The folder is not empty, and `overwrite` is False.
        OutputError: The folder cannot be written.

    Example:
        >>> import packsort, pyarrow as pa, pyarrow.parquet as pq, tempfile
        >>> table = pa.table({"input_ids": [[1, 2, 3], [4, 5]], "labels": [[-100, -100, 3], [-100, 5]]})
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     manifest = packsort.write_shards(table, folder + "/packed", max_length=5, seed=None)
        ...     (file,) = packsort.export(folder + "/packed", folder + "/megatron")
        ...     file.name, pq.read_table(file).to_pylist()
        ('train-00000-of-00001.idx.parquet',
         [{'input_ids': [1, 2, 3, 4, 5], 'seq_start_id': [0, 3], 'loss_mask': [0, 1, 0, 1, 0]}])
    """
    _checks.one_of("format", format, get_args(ExportFormat))
    shards = source if isinstance(source, ShardFiles) else ShardFiles(source)
    folder = Path(out)
    check_folder(folder, overwrite=overwrite)
    ending = ".idx.parquet" if format == "megatron" else ".parquet"
    names = [shard.name.removesuffix(".arrow").removesuffix(".parquet") for shard in shards.manifest.shards]
    targets = [folder / (name + ending) for name in names]
    with OutputFiles(targets, overwrite=overwrite) as files:
        for index, target in enumerate(targets):
            table = shards.table(index)
            where = f"`{shards.path / shards.manifest.shards[index].name}`"
            exported = _megatron(table, where) if format == "megatron" else _trl(table)
            with files.writer(target, exported.schema) as write:
                for group in _row_groups(exported):
                    write(group)
    return targets


def _trl(table: pa.Table) -> pa.Table:
    """Remove the columns that TRL's collator would take for columns of tokens."""
    unknown = [name for name in (SEQUENCE_IDS, PIECE_STARTS) if name in table.column_names]
    return table.drop_columns(unknown).replace_schema_metadata(None)


def _megatron(table: pa.Table, where: str) -> pa.Table:
    columns = {
        name: _combined(table[name])
        for name in (INPUT_IDS, LABELS, SEQ_LENGTHS, SEQUENCE_IDS)
        if name in table.column_names
    }
    tokens, lengths = (to_numpy(columns[name].flatten()) for name in (INPUT_IDS, SEQ_LENGTHS))
    token_offsets = _offsets(columns[INPUT_IDS])  # (packs + 1,)
    segment_offsets = _offsets(columns[SEQ_LENGTHS])  # (packs + 1,)
    trained = np.ones(len(tokens), bool)
    if LABELS in columns:
        labels = to_numpy(columns[LABELS].flatten())
        trained = labels != NO_LOSS
        other = np.flatnonzero(trained & (labels != tokens))
        if len(other):
            pack = int(np.searchsorted(token_offsets, other[0], "right")) - 1
            raise SourceError(
                f"{where}: pack {pack}: label at token {other[0] - token_offsets[pack]} must be the token, "
                f"{tokens[other[0]]}, or {NO_LOSS} with format='megatron', got {labels[other[0]]}"
            )
    ends = np.cumsum(lengths, dtype=np.int64)
    starts = ends - lengths
    if SEQUENCE_IDS in columns:
        trained &= np.repeat(to_numpy(columns[SEQUENCE_IDS].flatten()) >= 0, lengths)
    mask = np.zeros(len(tokens), np.int8)
    mask[:-1] = trained[1:]
    mask[ends - 1] = 0
    pack_starts = np.repeat(token_offsets[:-1], np.diff(segment_offsets))  # (segments,)
    rows = from_numpy(token_offsets.astype(np.int32))
    segments = from_numpy(segment_offsets.astype(np.int32))
    return pa.table(
        {
            "input_ids": pa.ListArray.from_arrays(rows, from_numpy(tokens)),
            "seq_start_id": pa.ListArray.from_arrays(segments, from_numpy((starts - pack_starts).astype(np.int32))),
            "loss_mask": pa.ListArray.from_arrays(rows, from_numpy(mask)),
        }
    )


def _combined(column: pa.ChunkedArray) -> pa.ListArray:
    """Return a column as one array."""
    return column.combine_chunks() if column.num_chunks != 1 else column.chunk(0)


def _offsets(lists: pa.ListArray) -> NDArray[np.int64]:
    """Return the offsets of lists, from 0: int64 (rows + 1,)."""
    offsets = to_numpy(lists.offsets).astype(np.int64)
    offsets -= offsets[0]
    return offsets


def _row_groups(table: pa.Table) -> Iterator[pa.Table]:
    for start in range(0, table.num_rows, _PACKS_PER_GROUP):
        yield table.slice(start, _PACKS_PER_GROUP)
