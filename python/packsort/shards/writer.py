"""Write packed directories: from a source to shards and a manifest."""

from __future__ import annotations

import json
import os
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any, Unpack

import pyarrow as pa

from packsort import _core
from packsort._options.choices import Seed, ShardFormat
from packsort._options.keywords import ShardOptions
from packsort._progress import Stage, log_stage
from packsort._stores import StorePath, place
from packsort._warn import warn
from packsort.errors import OptionError
from packsort.gathering.gather import gather_packs
from packsort.gathering.spool import Spool
from packsort.planning.plan import Plan
from packsort.shards.config import ShardConfig, shard_config
from packsort.shards.directory import OutputDirectory
from packsort.shards.index_prepare import check_choice, open_rows
from packsort.shards.index_writer import write_index
from packsort.shards.loss_counts import LossCounter
from packsort.shards.manifest import Manifest, ShardInfo
from packsort.shards.prepare import Preparation, prepare
from packsort.shards.shard_writer import Gather, ShardWriter
from packsort.shards.streaming import fill_spool, rows_digest
from packsort.shards.token_store import open_store
from packsort.sources.source import Source
from packsort.sources.tokens.read import Tokens
from packsort.sources.unchanged import Unchanged
from packsort.sources.unreadable import without_unreadable
from packsort.tokenization.choice import TokenizerChoice, as_choice, stamps
from packsort.tokenization.info import digest
from packsort.tokenization.kept import are_files


def write_shards(
    source: Any,
    out: str | os.PathLike[str],
    max_length: int | None = None,
    *,
    tokenizer: Any = None,
    plan: Plan | str | os.PathLike[str] | None = None,
    seed: Seed = "auto",
    epoch: int = 0,
    format: ShardFormat = "arrow",
    shard_size: int | str = "256MB",
    memory_limit: int | str | None = None,
    overwrite: bool = False,
    index_only: bool = False,
    tokens: str | os.PathLike[str] | None = None,
    stage: Stage = log_stage,
    **options: Unpack[ShardOptions],
) -> Manifest:
    """Pack a source into a directory of shards and a manifest.

    The directory appears whole or not at all, in one step at the end, also where it replaces another. If the call fails
    or is interrupted, what was there before stays. After a kill, the same call resumes from the finished shards.

    Args:
        source: Files, folders or glob patterns; a name on the Hub; a table; a `datasets.Dataset`. It holds
            `input_ids`, or, with a tokenizer, `messages`, `prompt` and `completion`, or `text`. Or an index-only
            directory, whose rows are packed anew.
        out: Directory to write, or the URL of a folder in an object store.
        max_length: Most tokens of a pack. `None` for a `plan`, which knows it.
        tokenizer: A `transformers` tokenizer, or its folder or name. `None` where the source holds tokens.
        plan: Plan that `Plan.from_packs` made of the source's sequences, or the file that it was saved to, in place of
            `max_length`, `seed`, `epoch` and the options of packing. `None` makes a plan.
        seed: Seed that shuffles packs and sequences of equal length. `None` keeps the order of first-fit decreasing.
            `auto` is `None` for `in_order`, and else 0, because packs in the order of their lengths train badly.
        epoch: Epoch of the shuffle.
        format: `arrow` (uncompressed, memory-mapped) or `parquet`.
        shard_size: Bytes of a shard before compression, approximately: an integer, or a text such as "256MB".
        memory_limit: Bytes of memory that the call may take, in the same way. Tokens that do not fit are read twice and
            pass through a hidden file beside `out`, as large as they are. The shards are the same. `None` is half of
            what the machine and its limits (cgroup, ulimit) allow.
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
            `on_error="skip"` leaves out files that are damaged or may not be read, where one of them would otherwise
            end the call; the manifest names and counts them. Damage within a file shows when it is read: all files are
            then read once more to find it, and the call begins anew without them.

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
        memory_limit=memory_limit,
        index_only=index_only,
        plan=plan,
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
    stage: Stage = log_stage,
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

    def write(source: Source) -> Manifest:
        return _write(source, target, config, choice, overwrite, None if tokens is None else Path(tokens), stage)

    return without_unreadable(opened, config.input, write)


def _write(
    source: Source,
    out: Path | StorePath,
    config: ShardConfig,
    choice: TokenizerChoice | None,
    overwrite: bool,
    tokens: Path | None,
    stage: Stage,
) -> Manifest:
    unchanged = Unchanged(source)
    beside = None if isinstance(out, StorePath) else out
    store = open_store(source, choice, config.input, folder=tokens, out=beside)
    with OutputDirectory(out, overwrite=overwrite) as directory:
        # Tokens that do not fit into memory wait beside the output; those of an object store, with temporary files.
        folder = Path(tempfile.gettempdir()) if beside is None else Path(os.path.realpath(beside)).parent
        prepared = prepare(source, config, choice, stage, store, folder)
        unchanged.check()  # or a call that goes on after a kill would take these shards for those of another file
        finished = directory.begin(_run_id(source, prepared))
        if prepared.input.in_memory:
            writer = ShardWriter(directory, prepared, _from_memory(prepared), prepared.shards_in_memory())
            with ThreadPoolExecutor(1, thread_name_prefix="packsort-count") as pool:
                counted = pool.submit(prepared.counted)  # a pass over the tokens, while the disk is busy
                shards = writer.write(finished, stage)
                prepared = counted.result()
            if choice is None:
                unchanged.check()  # tokens in memory may be mapped
        else:
            prepared, shards = _write_streamed(directory, prepared, folder, finished, stage)
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


def _from_memory(prepared: Preparation) -> Gather:
    """Return the packs of a shard from tokens in memory."""
    assert isinstance(prepared.tokens, Tokens)
    table = prepared.tokens.table
    starts = prepared.starts

    def gather(shard: int) -> pa.Table:
        bounds = starts[shard], starts[shard + 1]
        return gather_packs(table, prepared.plan, *bounds, prepared.fillers, prepared.kept)

    return gather


def _write_streamed(
    directory: OutputDirectory, prepared: Preparation, folder: Path, finished: dict[str, ShardInfo], stage: Stage
) -> tuple[Preparation, list[ShardInfo]]:
    """Write the shards of tokens that do not fit into memory, and count the sequences without loss on the way."""
    use = prepared.memory()
    plan, losses = prepared.plan, LossCounter(prepared.plan, prepared.places)
    with Spool(folder, prepared.tokens.schema, prepared.starts) as spool:
        with stage("reading", total=plan.num_rows, unit="sequences") as advance:
            fill_spool(spool, prepared.tokens, prepared.places, losses, use.run_bytes, advance)
        prepared = prepared.with_losses(losses)

        def gather(shard: int) -> pa.Table:
            return spool.packs(plan, shard, prepared.fillers, prepared.kept)

        writer = ShardWriter(directory, prepared, gather, use.shards_in_memory)
        return prepared, writer.write(finished, stage)


def _run_id(source: Source, prepared: Preparation) -> str:
    """Return an id that two runs share only if they write the same shards."""
    files: list[Any] = stamps(Path(file.path) for file in source.files if Path(file.path).is_file())
    if not are_files(source):  # rows in memory have no cheaper stamp than themselves
        files += [rows_digest(prepared.tokens), prepared.kept.digest()]
    info = prepared.input.tokenizer
    tokenizer = None if info is None else asdict(info)
    facts = [_core.__version__, files, tokenizer, prepared.plan.fingerprint, asdict(prepared.options)]
    return digest(json.dumps(facts, default=str))
