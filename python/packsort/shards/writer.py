"""Write packed directories: from a source to shards and a manifest."""

from __future__ import annotations

import json
import os
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any, Unpack

import pyarrow as pa

from packsort import _core
from packsort._atomic import output_errors
from packsort._options import ShardFormat, ShardOptions
from packsort._progress import Stage, no_progress
from packsort._stores import StorePath, place
from packsort._warn import warn
from packsort.errors import OptionError
from packsort.gathering.gather import gather_packs
from packsort.shards.config import ShardConfig, shard_config
from packsort.shards.directory import OutputDirectory
from packsort.shards.index_prepare import check_choice, open_rows
from packsort.shards.index_writer import write_index
from packsort.shards.manifest import Manifest, ShardInfo, shard_names
from packsort.shards.prepare import Preparation, prepare
from packsort.shards.shard_writing import write_shard
from packsort.shards.token_store import open_store
from packsort.sources.source import Source
from packsort.tokenization.choice import as_choice, stamps
from packsort.tokenization.info import digest
from packsort.tokenization.kept import are_files, table_digest


def write_shards(
    source: Any,
    out: str | os.PathLike[str],
    max_length: int,
    *,
    tokenizer: Any = None,
    seed: int | None = 0,
    epoch: int = 0,
    format: ShardFormat = "arrow",
    shard_size: int | str = "256MB",
    overwrite: bool = False,
    index_only: bool = False,
    tokens: str | os.PathLike[str] | None = None,
    stage: Stage = no_progress,
    **options: Unpack[ShardOptions],
) -> Manifest:
    """Pack a source into a directory of shards and a manifest.

    The directory appears whole or not at all, in one step at the end, also where it replaces another. If the call fails
    or is interrupted, what was there before stays. After a kill, the same call resumes from the finished shards.

    Args:
        source: Files, folders or glob patterns; a name on the Hub; a table; a `datasets.Dataset`. It holds
            `input_ids`, or, with a tokenizer, `messages`, `prompt` and `completion`, or `text`. Or an index-only
            directory, whose rows are packed anew.
        out: Directory to write, or the URL of a folder in an object store that is empty.
        max_length: Most tokens of a pack.
        tokenizer: A `transformers` tokenizer, or its folder or name. `None` where the source holds tokens.
        seed: Seed that shuffles packs and sequences of equal length, 0 by default because packs in the order of their
            lengths train badly. `None` keeps the order of first-fit decreasing.
        epoch: Epoch of the shuffle.
        format: `arrow` (uncompressed, memory-mapped) or `parquet`.
        shard_size: Bytes of a shard before compression, approximately: an integer, or a text such as "256MB".
        overwrite: Whether to replace what packsort wrote in `out` before. A folder with other files is refused.
        index_only: Whether to write which rows each pack holds, and no tokens: packs are then gathered from the files
            of the source, Parquet or uncompressed Arrow, which must stay as they are. Packing an index again, with
            another `max_length`, seed or strategy, reads no tokens.
        tokens: Folder that keeps the tokens of files for further calls with the same tokenizer and options of what goes
            in, whatever their output and `max_length`. `None` keeps them only if they cannot be planned, as where a
            sequence is too long: hidden beside `out`, until a call that packs them to `out` succeeds.
        stage: Progress reporter. `stage(name, total=, unit=)` is called for each stage of the work and returns a
            context manager, which yields a function to call with the units done and an optional note.
        **options: Options of `packsort.plan`, with these differences. `groups`, `splittable` and `alone` may name a
            column of the source. `separator` is the token between two sequences of a pack: its id, or, with a
            tokenizer, its text. `pad_token_id` is the token id of padding, the tokenizer's or 0 by default.
            `overlong="split_turns"` cuts conversations between turns: each part repeats the system prompt without
            loss, each turn is trained on once, and a turn that does not fit alone is left out and counted. `split`,
            `columns` and `empty` say which rows and columns are meant, as `packsort.options.SourceOptions` describes.
            `keep` names columns with one value for each sequence, such as its source or its reward, that packs keep;
            shards hold text as codes, and `Shards.dictionaries` says what they mean.

    Returns:
        The manifest that was written.

    Raises:
        SourceError: The source cannot be read or used; the message names file, column and row.
        LengthError: A sequence is longer than `max_length`.
        OutputExistsError: `out` is not empty, and `overwrite` is False.
        OutputError: `out` cannot be written, cannot be replaced in one step (a mount point, the working folder), holds
            files of others, or another process is writing to it.
        OptionError: A value is not allowed, two options contradict each other, or `out` holds files of the source.
        TypeError: A keyword argument is unknown.

    Example:
        >>> import packsort, pyarrow as pa, tempfile
        >>> table = pa.table({"input_ids": [[1, 2, 3], [4, 5, 6, 7], [8]]})
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     manifest = packsort.write_shards(table, folder + "/packed", max_length=5)
        ...     packed = packsort.open_shards(folder + "/packed")
        ...     sorted(pack["input_ids"].tolist() for pack in packed)
        [[1, 2, 3], [4, 5, 6, 7, 8]]
    """
    config = shard_config(
        "write_shards",
        max_length,
        options,
        seed=seed,
        epoch=epoch,
        format=format,
        shard_size=shard_size,
        index_only=index_only,
    )
    manifest = write_shards_of_config(
        source, out, config, tokenizer=tokenizer, overwrite=overwrite, tokens=tokens, stage=stage
    )
    notes = () if manifest.tokenizer is None else manifest.tokenizer.notes
    warn([*manifest.remarks(), *(str(note) for note in notes if note.of_harm)])
    return manifest


def write_shards_of_config(
    source: Any,
    out: str | os.PathLike[str],
    config: ShardConfig,
    *,
    tokenizer: Any = None,
    overwrite: bool = False,
    tokens: str | os.PathLike[str] | None = None,
    stage: Stage = no_progress,
) -> Manifest:
    """Pack a source with options that are checked already; see `write_shards`."""
    choice = as_choice(tokenizer)
    config.input.check_tokenizer(choice)
    config.window(choice)
    check_choice(config, choice)
    target = place(out, config.input.storage_options)
    if config.index_only:
        return write_index(source, target, config, overwrite=overwrite, stage=stage)
    opened, config = open_rows(source, config, choice)
    _refuse_folder_of(opened, target)
    beside = None if isinstance(target, StorePath) else target
    store = open_store(opened, choice, config.input, folder=None if tokens is None else Path(tokens), out=beside)
    with OutputDirectory(target, overwrite=overwrite) as directory:
        prepared = prepare(opened, config, choice, stage, store)
        run_id = _run_id(opened, prepared)
        shards = _Writer(directory, prepared).write(directory.begin(run_id), stage)
        manifest = prepared.manifest(shards)
        directory.commit(manifest)
    if store is not None:
        store.done()
    return manifest


def _refuse_folder_of(source: Source, out: Path | StorePath) -> None:
    """Refuse to write beside rows: shards may have the names of their files, and the folder would hold both."""
    for file in source.files:
        if Path(file.path).is_file() and Path(file.path).resolve().parent == out.resolve():
            raise OptionError(f"out `{out}` holds a file of the source, `{file.path}`: choose another folder")


class _Writer:
    """Writer of the shards of a plan: while one is written, the next is gathered."""

    def __init__(self, directory: OutputDirectory, prepared: Preparation) -> None:
        self._directory = directory
        self._table, self._plan, self._fillers = prepared.tokens.table, prepared.plan, prepared.fillers
        self._kept = prepared.kept
        self._format = prepared.config.format
        self._schema = prepared.schema
        self._count = prepared.num_shards

    def write(self, finished: dict[str, ShardInfo], stage: Stage) -> list[ShardInfo]:
        """Write all shards but those that are finished."""
        shards: list[ShardInfo] = []
        waiting: list[Future[ShardInfo]] = []

        def settle() -> None:
            shard = waiting.pop(0).result()
            self._directory.finish(shard)
            shards.append(shard)
            advance(shard.packs)

        with stage("packing", total=self._plan.num_packs, unit="packs") as advance, ThreadPoolExecutor(1) as pool:
            for i, name in enumerate(shard_names(self._count, self._format)):
                if name in finished:
                    if waiting:
                        settle()
                    shards.append(finished[name])
                    advance(finished[name].packs)
                    continue
                start, stop = (self._plan.num_packs * at // self._count for at in (i, i + 1))
                packs = gather_packs(self._table, self._plan, start, stop, self._fillers, self._kept)
                packs = packs.cast(self._schema)
                if waiting:
                    settle()
                waiting.append(pool.submit(self._write_one, name, packs))
            while waiting:
                settle()
        return shards

    def _write_one(self, name: str, packs: pa.Table) -> ShardInfo:
        with output_errors(self._directory.out / name):
            return write_shard(self._directory.path_of(name), name, packs, self._format, self._plan.max_length)


def _run_id(source: Source, prepared: Preparation) -> str:
    """Return an id that two runs share only if they write the same shards."""
    files: list[Any] = stamps(Path(file.path) for file in source.files if Path(file.path).is_file())
    if not are_files(source):  # rows in memory have no cheaper stamp than themselves
        files += [table_digest(prepared.tokens.table).decode(), prepared.kept.digest()]
    tokenizer = None if prepared.tokenizer is None else asdict(prepared.tokenizer)
    facts = [_core.__version__, files, tokenizer, prepared.plan.fingerprint, asdict(prepared.options)]
    return digest(json.dumps(facts, default=str))
