"""Export packs as the Parquet files of other trainers."""

from __future__ import annotations

import os
from collections.abc import Collection
from pathlib import Path
from typing import get_args

import pyarrow as pa

from packsort import _checks
from packsort._atomic import OutputFiles, check_folder
from packsort._options import ExportFormat
from packsort._warn import warn
from packsort.errors import OptionError, SourceError
from packsort.schema import PIECE_STARTS, SEQUENCE_IDS
from packsort.shards import megatron
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
    - `seq_start_id`, list<int32>: the first token of each sequence. Padding and separators belong to the sequence
      before them.
    - `loss_mask`, list<int8>: 1 where the *next* token carries loss.

    The reader removes the last token of each sequence from its input and the first from its labels. Packs made with
    `pad_to_multiple_of` therefore get one token of padding more for each sequence, so that the reader's sequences are
    multiples, as context parallelism needs. A row is read with at most `max_length` tokens. Beside the files,
    `_PACK-SIZE_metadata.jsonl` (such as `_4096_metadata.jsonl`) holds what the reader needs for fixed shapes
    (`packed_metadata_path`).

    `trl` holds the columns that `trl.pack_dataset` returns: `input_ids`, `labels` and other per-token columns, and
    `seq_lengths`.

    Columns that the format has no place for are left out with a warning.

    Args:
        source: Packed directory: its path, or the `Shards` that `packsort.open_shards` returned.
        out: Folder to write to.
        format: `megatron` or `trl`.
        overwrite: Whether to replace files of the same names. Other files are never touched.

    Returns:
        The Parquet files. They and the metadata are all written or none.

    Raises:
        OptionError: There is no such format, or `out` is the packed directory itself.
        SourceError: With `megatron`, a label is neither the token in its place nor -100, so a mask cannot express it;
            or the directory holds no packs.
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
    if folder.resolve() == shards.path.resolve():
        raise OptionError(f"out `{folder}` is the packed directory itself: choose another folder")
    check_folder(folder, overwrite=overwrite)
    write = _write_megatron if format == "megatron" else _write_trl
    files = write(shards, folder, overwrite)
    _warn_of_other_files(folder, files)
    return files


def metadata_path(source: ShardFiles, out: str | os.PathLike[str]) -> Path:
    """Return where `export` with `format="megatron"` writes the metadata of a packed directory."""
    return Path(out) / megatron.RowFormat.of(source.manifest).metadata_name


def _write_megatron(shards: ShardFiles, folder: Path, overwrite: bool) -> list[Path]:
    if not shards.manifest.counts.packs:
        raise SourceError(f"`{shards.path}` holds no packs, and Megatron-Bridge reads no empty data set")
    form = megatron.RowFormat.of(shards.manifest)
    _warn_of_left_out(shards, (*megatron.COLUMNS, PIECE_STARTS))
    targets = _targets(shards, folder, ".idx.parquet")
    metadata_file = metadata_path(shards, folder)
    metadata = megatron.Metadata(form.pack_size)
    with OutputFiles([*targets, metadata_file], overwrite=overwrite) as files:
        for index, target in enumerate(targets):
            table = shards.table(index)
            where = f"`{shards.path / shards.manifest.shards[index].name}`"
            with files.writer(target, megatron.SCHEMA) as write:
                for start in range(0, table.num_rows, _PACKS_PER_GROUP):
                    rows = form.rows(table.slice(start, _PACKS_PER_GROUP), where, start)
                    metadata.add(rows)
                    write(rows)
        files.write(metadata_file, metadata.to_json())
    return targets


def _write_trl(shards: ShardFiles, folder: Path, overwrite: bool) -> list[Path]:
    targets = _targets(shards, folder, ".parquet")
    with OutputFiles(targets, overwrite=overwrite) as files:
        for index, target in enumerate(targets):
            table = _trl(shards.table(index))
            with files.writer(target, table.schema) as write:
                for start in range(0, table.num_rows, _PACKS_PER_GROUP):
                    write(table.slice(start, _PACKS_PER_GROUP))
    return targets


def _trl(table: pa.Table) -> pa.Table:
    """Remove the columns that TRL's collator would take for columns of tokens."""
    unknown = [name for name in (SEQUENCE_IDS, PIECE_STARTS) if name in table.column_names]
    labels = {key: value for key, value in (table.schema.metadata or {}).items() if key == b"huggingface"}
    return table.drop_columns(unknown).replace_schema_metadata(labels or None)


def _targets(shards: ShardFiles, folder: Path, ending: str) -> list[Path]:
    names = [shard.name.removesuffix(".arrow").removesuffix(".parquet") for shard in shards.manifest.shards]
    return [folder / (name + ending) for name in names]


def _warn_of_left_out(shards: ShardFiles, exported: Collection[str]) -> None:
    """Warn of columns of packs that are not exported."""
    names = [f"`{name}`" for name in shards.manifest.columns if name not in exported]
    if names:
        verb = "is" if len(names) == 1 else "are"
        warn([f"{', '.join(names)} {verb} left out: format='megatron' has no place for other columns"])


def _warn_of_other_files(folder: Path, written: Collection[Path]) -> None:
    """Warn of Parquet files in the folder that were there before: whoever reads the folder reads them too."""
    other = sorted(path for path in folder.glob("*") if path.suffix in (".parquet", ".pq") and path not in written)
    if other:
        files = "1 Parquet file" if len(other) == 1 else f"{len(other):,} Parquet files"
        warn(
            [
                f"`{folder}` also holds {files} that this call did not write, such as `{other[0].name}`: whoever reads "
                "the folder reads them too"
            ]
        )
