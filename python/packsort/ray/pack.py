"""`pack`: a Ray dataset or files in, a packed directory out."""

from __future__ import annotations

import os
from functools import partial
from typing import Any, Unpack

from packsort._options.choices import Seed, ShardFormat
from packsort._options.keywords import ShardOptions
from packsort._options.memory import find_memory_limit
from packsort._progress import Stage, log_stage
from packsort._stores import place
from packsort._warn import warn
from packsort.errors import OptionError
from packsort.planning.counted import refuse_uncountable
from packsort.ray.blocks import open_blocks
from packsort.ray.first_pass import plan, survey
from packsort.ray.manifest import manifest_of
from packsort.ray.memory import STRETCH_BYTES, TaskMemory
from packsort.ray.reading import open_files, readable_files
from packsort.ray.remote import Traffic, object_errors
from packsort.ray.second_pass import Exchange
from packsort.shards.config import ShardConfig, shard_config
from packsort.shards.directory import OutputDirectory
from packsort.shards.manifest import Manifest
from packsort.sources.source import Source
from packsort.sources.unchanged import Unchanged
from packsort.sources.unreadable import without_unreadable

_WAY_OUT = "pack on one machine with `packsort.write_shards`, or leave it out"


def pack(
    source: Any,
    max_length: int,
    out: str | os.PathLike[str],
    *,
    seed: Seed = "auto",
    epoch: int = 0,
    format: ShardFormat = "arrow",
    shard_size: int | str = "256MB",
    memory_limit: int | str | None = None,
    overwrite: bool = False,
    stage: Stage = log_stage,
    **options: Unpack[ShardOptions],
) -> Manifest:
    """Pack a source that no machine holds into a directory of shards and a manifest.

    The shards are those that `packsort.write_shards` writes of the same rows: same plan, same packs, same counts.
    Workers of the Ray cluster count lengths, the driver plans from the counts, workers send sequences to their shards
    and write them. The directory appears whole or not at all. Rows lost with a worker or a node are made again.

    Args:
        source: A `ray.data.Dataset` with `input_ids`, or files with such rows, which all nodes see. A dataset is
            executed once, and the order of its rows gives their ids.
        max_length: Most tokens of a pack.
        out: Directory to write, which all nodes share, or a URL of an object store, which workers upload shards to.
        seed: Seed of the shuffle, as for `packsort.write_shards`.
        epoch: Epoch of the shuffle.
        format: `arrow` or `parquet`.
        shard_size: Bytes of a shard before compression, approximately.
        memory_limit: Bytes of memory that one task may take, such as "2GB"; a node runs as many tasks at a time as it
            has processors. None takes about 256 MB of the source for each task, and three times as much memory. Ray's
            object store is limited by its own options.
        overwrite: Whether to replace what packsort wrote in `out` before.
        stage: Progress reporter, as for `packsort.write_shards`.
        **options: Options of `packsort.write_shards`. Those that need all sequences in one place are refused:
            `strategy="random"`, `"hybrid"` and `"in_order"`, `overlong="split"` and `"split_turns"`,
            `truncation_side="left"`, `groups`, `alone` and `splittable`. So is text: tokenize it first.

    Returns:
        The manifest that was written.

    Raises:
        SourceError: The source cannot be read or used; the message names file or dataset, row and column.
        LengthError: A sequence is longer than `max_length`.
        OutputExistsError: `out` is not empty, and `overwrite` is False.
        OutputError: `out` cannot be written, the nodes do not share it, or the disk of a node is full.
        OptionError: A value is not allowed, or one machine must have all sequences.
        TypeError: A keyword argument is unknown.
    """
    config = shard_config(
        "packsort.ray.pack", max_length, options, seed=seed, epoch=epoch, format=format, shard_size=shard_size
    )
    limit = None if memory_limit is None else find_memory_limit(memory_limit)
    manifest = pack_of_config(source, out, config, memory_limit=limit, overwrite=overwrite, stage=stage)
    warn(manifest.remarks())
    return manifest


def pack_of_config(
    source: Any,
    out: str | os.PathLike[str],
    config: ShardConfig,
    *,
    memory_limit: int | None = None,
    overwrite: bool = False,
    stage: Stage = log_stage,
    stretch_bytes: int = STRETCH_BYTES,
    traffic: Traffic | None = None,
) -> Manifest:
    """Pack a source with options that are checked already; see `pack`.

    Args:
        source: As for `pack`, like the others.
        out: Directory to write.
        config: Options of the shards.
        memory_limit: Bytes of memory that one task may take.
        overwrite: Whether to replace a directory.
        stage: Progress reporter.
        stretch_bytes: Bytes of source that one task handles, approximately.
        traffic: Counter of what passes through the driver.
    """
    import ray.data

    refuse_of_one_machine(config)
    config.input.check_tokenizer(None)
    memory = TaskMemory.within(memory_limit, stretch_bytes)

    def write(rows: Any) -> Manifest:
        return _pack(rows, out, config, overwrite, stage, memory, Traffic() if traffic is None else traffic)

    if isinstance(source, ray.data.Dataset):
        return write(source)
    find_readable = partial(readable_files, config=config.input)
    return without_unreadable(open_files(source, config.input), config.input, write, find_readable)


def _pack(
    source: Any,
    out: str | os.PathLike[str],
    config: ShardConfig,
    overwrite: bool,
    stage: Stage,
    memory: TaskMemory,
    traffic: Traffic,
) -> Manifest:
    fillers = config.fillers(None)
    output = OutputDirectory(place(out, config.input.storage_options), overwrite=overwrite)
    with output as directory, object_errors():
        unchanged = Unchanged(source) if isinstance(source, Source) else None
        blocks = open_blocks(source, config.input, config.keep, memory.stretch_bytes)
        memory.check(blocks, config.shard_size)
        surveyed = survey(blocks, config, memory.stretch_bytes, stage, traffic)
        planned = plan(surveyed, config, stage)
        if unchanged is not None:
            unchanged.check()
        exchange = Exchange(directory, surveyed, planned, config, fillers, memory, traffic)
        with stage("fingerprint"):
            fingerprint = exchange.fingerprint()
        shards = exchange.write(directory.begin(exchange.run_id(fingerprint)), stage)
        if unchanged is not None:  # what is lost with a node is read again
            unchanged.check()
        manifest = manifest_of(
            config,
            blocks,
            list(zip(surveyed.stretches, surveyed.surveys, strict=True)),
            exchange.roles,
            exchange.uneven,
            surveyed.names,
            planned,
            fingerprint,
            fillers,
            exchange.schema,
            shards,
            exchange.dictionaries,
        )
        directory.commit(manifest)
    return manifest


def refuse_of_one_machine(config: ShardConfig) -> None:
    """Refuse options for which one machine must have all sequences.

    Raises:
        OptionError: There is such an option.
    """
    refuse_uncountable(config.plan, _WAY_OUT)
    if config.split_turns:
        raise OptionError(
            "overlong='split_turns' cuts conversations while they are tokenized, and Ray packs tokens: write them with "
            "`packsort.write_tokens` first, and pass overlong='drop' or 'truncate'"
        )
    if config.plan.truncation_side == "left":
        raise OptionError(f"truncation_side='left' does not go with Ray: {_WAY_OUT}")
    if config.index_only:
        raise OptionError(f"index_only=True does not go with Ray: {_WAY_OUT}")
