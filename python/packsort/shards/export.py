"""Export packs as the files of other trainers."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, get_args

import pyarrow as pa
import pyarrow.parquet as pq

from packsort import _checks, _core
from packsort._atomic import OutputFolder, StoreFolder, open_file, open_table, output_folder, write_bytes
from packsort._options.choices import ExportFormat
from packsort._options.memory import find_memory_limit
from packsort._paths import not_a_uri
from packsort._progress import Advance, Stage, log_stage
from packsort._stores import StorePath, place
from packsort._warn import warn
from packsort.errors import OptionError, SourceError
from packsort.schema import PIECE_STARTS, SEQ_LENGTHS, SEQUENCE_IDS
from packsort.shards import megatron, megatron_bin
from packsort.shards.files import ShardFiles
from packsort.shards.memory import check_reading
from packsort.sources.formats.megatron_names import MAGIC
from packsort.tokenization.info import digest

# Megatron-Bridge reads a whole row group for one of its rows.
_PACKS_PER_GROUP = 500
_FILE_NAME = re.compile(r"train-\d{5,}-of-\d{5,}(\.idx)?\.parquet")
_INDEXED = ("train.bin", "train.idx")
_METADATA_NAME = re.compile(r"_\d+_metadata\.jsonl")
_NAMES = re.compile(rf"{_FILE_NAME.pattern}|train\.(bin|idx)|{_METADATA_NAME.pattern}")


def export(
    source: str | os.PathLike[str] | ShardFiles,
    out: str | os.PathLike[str],
    *,
    format: ExportFormat = "megatron",
    pad_token_id: int | None = None,
    overwrite: bool = False,
    memory_limit: int | str | None = None,
    storage_options: Mapping[str, Any] | None = None,
    stage: Stage = log_stage,
) -> list[Path | StorePath]:
    """Write the packs of a packed directory as files that another trainer reads.

    `megatron` and `trl` write one Parquet file for each shard, and `megatron-bin` one pair of files.

    `megatron` is the packed Parquet of Megatron-Bridge and NeMo (`GPTSFTPackedParquetDataset`), which take a folder or
    a pattern as data set:

    - `input_ids`, `list<int32>`: the tokens.
    - `seq_start_id`, `list<int32>`: the first token of each sequence. Padding and separators belong to the sequence
      before them.
    - `loss_mask`, `list<int8>`: 1 where the *next* token carries loss.

    The reader removes the last token of each sequence from its input and the first from its labels. Packs made with
    `pad_to_multiple_of` therefore get one token of padding more for each sequence, so that the reader's sequences are
    multiples, as context parallelism needs. A row is read with at most `max_length` tokens. Beside the files,
    `_PACK-SIZE_metadata.jsonl` (such as `_4096_metadata.jsonl`) holds what the reader needs for fixed shapes
    (`packed_metadata_path`).

    `megatron-bin` is the indexed data of Megatron-Core (`GPTDataset`, as `--data-path out/train`): `train.bin` holds
    the tokens, int32, and `train.idx` their index. Each pack is one document, filled up to `max_length`, so that a
    sample of `sequence_length=max_length` is a pack. The files have no place for labels: every token of a sequence must
    carry loss. Megatron finds the sequences of a pack by an end-of-document token.

    `trl` holds the columns that `trl.pack_dataset` returns: `input_ids`, `labels` and other per-token columns, and
    `seq_lengths`.

    Columns that the format has no place for are left out with a warning.

    Args:
        source: Packed directory: its path, or the `Shards` that `packsort.open_shards` returned.
        out: Folder to write to, or the URL of an empty one in an object store.
        format: `megatron`, `megatron-bin` or `trl`.
        pad_token_id: With `megatron-bin`, the token of padding: the padding token of Megatron's tokenizer, or -1, which
            Megatron itself uses where the tokenizer has none or one that is also another special token. None is that
            of the packs.
        overwrite: Whether to replace what an earlier export wrote to the folder. One with other files is refused.
        memory_limit: Bytes of memory that the call may take, such as "4GB"; None is half of what the machine and its
            limits (cgroup, ulimit) allow. One shard at a time is held.
        storage_options: Options of the fsspec file system of URLs.
        stage: Progress reporter, as for `packsort.write_shards`.

    Returns:
        The files. They and the metadata appear in one step, also where they replace others; in an object store one
        after another.

    Raises:
        OptionError: There is no such format, `out` is the packed directory itself, `pad_token_id` is missing or has no
            use, or `memory_limit` is too small for a shard.
        SourceError: With `megatron`, a label is neither the token in its place nor -100, so a mask cannot express it;
            with `megatron-bin`, a label is not the token in its place; or the directory holds no packs.
        DamagedError: The directory is unfinished, or a shard was changed or cannot be read.
        OutputExistsError: The folder is not empty, and `overwrite` is False.
        OutputError: The folder cannot be written, cannot be replaced in one step (a mount point, the working folder),
            holds files of others, or another process is writing to it.

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
    if pad_token_id is not None:
        if format != "megatron-bin":
            raise OptionError(
                f"pad_token_id has no use with format={format!r}, whose rows are not filled up: leave it out"
            )
        if pad_token_id != -1:
            _checks.token_id("pad_token_id", pad_token_id)
    limit = find_memory_limit(memory_limit)
    shards = source if isinstance(source, ShardFiles) else ShardFiles(source)
    check_reading(limit, shards.manifest)
    folder = place(out, storage_options)
    if folder.resolve() == shards.path.resolve():
        raise OptionError(f"out `{folder}` is the packed directory itself: choose another folder")
    if format != "trl" and not shards.manifest.counts.packs:
        raise SourceError(f"`{shards.path}` holds no packs, and Megatron reads no empty data set")
    with (
        output_folder(folder, overwrite=overwrite, own=_own_files, names=_NAMES) as output,
        stage("exporting", total=shards.manifest.counts.packs, unit="packs") as advance,
    ):
        output.begin(digest(json.dumps([_core.__version__, format, pad_token_id, shards.manifest.to_json()])))
        if format == "megatron-bin":
            files, others = _write_documents(shards, folder, output, advance, pad_token_id)
        else:
            files, others = (_write_megatron if format == "megatron" else _write_trl)(shards, folder, output, advance)
        output.commit({*files, *others})
    return [folder / name for name in files]


def metadata_path(source: ShardFiles, out: str | os.PathLike[str]) -> Path | StorePath:
    """Return where `export` with `format="megatron"` writes the metadata of a packed directory."""
    return place(out) / megatron.RowFormat.of(source.manifest).metadata_name


def _write_megatron(
    shards: ShardFiles, folder: Path | StorePath, output: OutputFolder | StoreFolder, advance: Advance
) -> tuple[list[str], list[str]]:
    """Write the rows and the metadata, and return the names of both."""
    form = megatron.RowFormat.of(shards.manifest)
    _warn_of_left_out(shards, (*megatron.COLUMNS, PIECE_STARTS), "megatron")
    names = _names(shards, ".idx.parquet")
    metadata = megatron.Metadata(form.pack_size)
    for index, name in enumerate(names):
        shards.check_checksum(index)
        table = shards.table(index)
        where = f"`{shards.path / shards.manifest.shards[index].name}`"
        with open_table(output.path_of(name), folder / name, megatron.SCHEMA) as write:
            for start in range(0, table.num_rows, _PACKS_PER_GROUP):
                rows = form.rows(table.slice(start, _PACKS_PER_GROUP), where, start)
                metadata.add(rows)
                write(rows)
                advance(rows.num_rows)
        output.finish(name)
    write_bytes(output.path_of(form.metadata_name), folder / form.metadata_name, metadata.to_json().encode())
    return names, [form.metadata_name]


def _write_documents(
    shards: ShardFiles,
    folder: Path | StorePath,
    output: OutputFolder | StoreFolder,
    advance: Advance,
    pad_token_id: int | None,
) -> tuple[list[str], list[str]]:
    """Write the tokens and their index, and return the names of both."""
    manifest = shards.manifest
    _warn_of_left_out(shards, (*megatron_bin.COLUMNS, PIECE_STARTS), "megatron-bin")
    pad = manifest.options.pad_token_id if pad_token_id is None else pad_token_id
    documents = megatron_bin.Documents(manifest.max_length, pad)
    tokens, index = _INDEXED
    with open_file(output.path_of(tokens), folder / tokens) as file:
        for number, shard in enumerate(manifest.shards):
            shards.check_checksum(number)
            table = shards.table(number)
            for start in range(0, table.num_rows, _PACKS_PER_GROUP):
                part = table.slice(start, _PACKS_PER_GROUP)
                file.write(documents.of(part, f"`{shards.path / shard.name}`", start).data)
                advance(part.num_rows)
    output.finish(tokens)
    with open_file(output.path_of(index), folder / index) as file:
        megatron_bin.write_index(file, documents.count, manifest.max_length)
    if len(documents.ends) > 1:
        first, second, *_ = sorted(documents.ends)
        warn(
            [
                f"sequences that others follow in a pack end with different tokens, such as {first} and {second}, so "
                "Megatron cannot tell where they end: pack with `separator`, the end-of-document token of its tokenizer"
            ]
        )
    return list(_INDEXED), []


def _write_trl(
    shards: ShardFiles, folder: Path | StorePath, output: OutputFolder | StoreFolder, advance: Advance
) -> tuple[list[str], list[str]]:
    """Write the rows, and return the names of the files."""
    names = _names(shards, ".parquet")
    for index, name in enumerate(names):
        shards.check_checksum(index)
        table = _trl(shards.table(index))
        with open_table(output.path_of(name), folder / name, table.schema) as write:
            for start in range(0, table.num_rows, _PACKS_PER_GROUP):
                write(part := table.slice(start, _PACKS_PER_GROUP))
                advance(part.num_rows)
        output.finish(name)
    return names, []


def _trl(table: pa.Table) -> pa.Table:
    """Remove the columns that TRL's collator would take for columns of tokens."""
    unknown = [name for name in (SEQUENCE_IDS, PIECE_STARTS) if name in table.column_names]
    labels = {key: value for key, value in (table.schema.metadata or {}).items() if key == b"huggingface"}
    return table.drop_columns(unknown).replace_schema_metadata(labels or None)


def _names(shards: ShardFiles, ending: str) -> list[str]:
    count = len(shards.manifest.shards)
    return [f"train-{index:05}-of-{count:05}{ending}" for index in range(count)]


def _own_files(folder: Path) -> set[str]:
    """Return the names of the files that an export wrote into a folder, told by their names and columns."""
    names = {path.name for path in folder.iterdir()}
    files = {name for name in filter(_FILE_NAME.fullmatch, names) if _is_exported(folder / name)}
    pair = names.intersection(_INDEXED) if _is_index(folder / _INDEXED[1]) else set()
    return files | pair | set(filter(_METADATA_NAME.fullmatch, names))


def _is_index(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(len(MAGIC)) == MAGIC
    except OSError:
        return False


def _is_exported(path: Path) -> bool:
    try:
        # Opening a named pipe would wait for ever.
        columns = pq.read_schema(not_a_uri(path)).names if path.is_file() else []
    except (OSError, pa.ArrowException, UnicodeDecodeError):
        return False
    return columns == megatron.SCHEMA.names or (SEQ_LENGTHS in columns and SEQUENCE_IDS not in columns)


def _warn_of_left_out(shards: ShardFiles, exported: Collection[str], format: ExportFormat) -> None:
    """Warn of columns of packs that are not exported."""
    names = [f"`{name}`" for name in shards.manifest.columns if name not in exported]
    if names:
        verb = "is" if len(names) == 1 else "are"
        warn([f"{', '.join(names)} {verb} left out: format={format!r} has no place for other columns"])
