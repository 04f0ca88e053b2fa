"""Write index-only directories: packs that refer to the rows of files, and hold no tokens."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from packsort import _core
from packsort._atomic import output_errors
from packsort._checksum import checksum
from packsort._progress import Stage
from packsort._stores import StorePath
from packsort.errors import OptionError
from packsort.gathering.gather import segment_columns
from packsort.gathering.segments import Segments, list_segments
from packsort.shards.config import ShardConfig
from packsort.shards.directory import OutputDirectory
from packsort.shards.index_prepare import IndexPreparation, index_folder, prepare_index
from packsort.shards.index_record import SEQUENCES
from packsort.shards.manifest import Manifest, ShardInfo, shard_names
from packsort.shards.references import ReferencedFile
from packsort.shards.shard_writing import write_shard
from packsort.sources.source import open_source
from packsort.sources.unreadable import without_unreadable
from packsort.tokenization.info import digest


def write_index(source: Any, out: Path | StorePath, config: ShardConfig, *, overwrite: bool, stage: Stage) -> Manifest:
    """Pack a source into an index-only directory; see `write_shards`.

    Args:
        source: Files with token columns, or an index-only directory, whose rows are planned anew.
        out: Directory to write.
        config: Options, checked.
        overwrite: Whether to replace what packsort wrote in `out` before.
        stage: Progress reporter.

    Raises:
        SourceError, LengthError, OutputError, OptionError, DamagedError: As for `write_shards`.
    """
    if isinstance(out, StorePath):
        raise OptionError(
            f"index_only=True refers to files on a disk, and `{out}` is in an object store: choose a folder on the disk"
        )

    def write(rows: Any) -> Manifest:
        return _write(rows, out, config, overwrite, stage)

    if index_folder(source) is not None:
        return write(source)
    return without_unreadable(open_source(source, config.input), config.input, write)


def _write(source: Any, out: Path, config: ShardConfig, overwrite: bool, stage: Stage) -> Manifest:
    with OutputDirectory(out, overwrite=overwrite) as directory:
        prepared = prepare_index(source, config, out, stage)
        finished = directory.begin(_run_id(prepared))
        shards = []
        with stage("packing", total=prepared.plan.num_packs, unit="packs") as advance:
            for name, segments in _shards(prepared):
                shard = finished.get(name)
                if shard is None:
                    shard = _write_shard(directory, name, segments, prepared)
                    directory.finish(shard)
                shards.append(shard)
                advance(shard.packs)
        if not directory.is_finished:
            _write_facts(directory, prepared)
        for file in prepared.files:
            ReferencedFile(file, out, None).check()  # a file may have been changed while it was read
        path = directory.path_of(SEQUENCES)
        manifest = prepared.manifest(shards, (path.stat().st_size, checksum(path)))
        directory.commit(manifest)
    return manifest


def _shards(prepared: IndexPreparation) -> Iterator[tuple[str, Segments]]:
    """Yield the name and the segments of each shard."""
    plan, stretches = prepared.plan, prepared.stretches
    if not stretches.divide:
        count = prepared.num_shards
        for number, name in enumerate(shard_names(count, "arrow")):
            start, stop = (plan.num_packs * at // count for at in (number, number + 1))
            yield name, list_segments(plan, start, stop)
        return
    segments = list_segments(plan, 0, plan.num_packs)
    first = segments.ids[segments.offsets[:-1]]  # a pack begins with a sequence
    stretch = stretches.of_rows(first)
    order: NDArray[np.int64] = np.argsort(stretch, kind="stable")
    filled = np.unique(stretch)  # one whose sequences were all dropped has no packs
    names = shard_names(max(1, len(filled)), "arrow")
    cuts = np.searchsorted(stretch[order], filled[1:])
    for name, packs in zip(names, np.split(order, cuts), strict=True):
        yield name, segments.of_packs(packs)


def _write_shard(directory: OutputDirectory, name: str, segments: Segments, prepared: IndexPreparation) -> ShardInfo:
    columns = segment_columns(segments, prepared.kept)
    schema = pa.schema([prepared.pack_schema.field(one) for one in columns], metadata=prepared.metadata)
    table = pa.table(columns).cast(schema)
    with output_errors(directory.out / name):
        return write_shard(directory.path_of(name), name, table, "arrow", prepared.plan.max_length)


def _write_facts(directory: OutputDirectory, prepared: IndexPreparation) -> None:
    table = prepared.facts.table().replace_schema_metadata(prepared.metadata)
    with output_errors(directory.out / SEQUENCES), directory.path_of(SEQUENCES).open("wb") as file:
        with pa.ipc.new_file(file, table.schema) as writer:
            writer.write_table(table)
        file.flush()
        os.fsync(file.fileno())


def _run_id(prepared: IndexPreparation) -> str:
    """Return an id that two runs share only if they write the same directory."""
    facts = [
        _core.__version__,
        [asdict(file) for file in prepared.files],
        prepared.plan.fingerprint,
        prepared.kept.digest(),
        asdict(prepared.options),
        prepared.stretches.ends.tolist(),
    ]
    return digest(json.dumps(facts, default=str))
