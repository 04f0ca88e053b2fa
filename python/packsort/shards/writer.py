"""Packed shards: from a source to a directory that a training loop reads."""

from __future__ import annotations

import json
import os
import re
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from packsort import _checks, _core
from packsort._atomic import output_error
from packsort._progress import Stage, no_progress, note_search
from packsort.errors import OptionError
from packsort.gathering import Fillers, fillers, gather_packs, has_fillers, plan_lengths
from packsort.planning.plan import Plan
from packsort.shards.counts import count
from packsort.shards.directory import Folder, shard_names
from packsort.shards.manifest import FORMAT_VERSION, Manifest, ShardInfo, checksum
from packsort.sources.source import Source, open_source
from packsort.tokenization.info import TokenizerInfo, digest
from packsort.tokenization.load import load_tokens, window_limit
from packsort.tokenization.tokenizer import as_tokenizer

_SUFFIXES = {"arrow": "arrow", "parquet": "parquet"}
_UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}
_TOKENS_A_ROW_GROUP = 4_000_000


def write_shards(
    source: Any,
    out: str | os.PathLike[str],
    max_length: int,
    *,
    tokenizer: Any = None,
    strategy: str = "ffd",
    overlong: str = "error",
    truncation_side: str = "right",
    max_sequences: int | None = None,
    pad_to_multiple_of: int = 1,
    pad_token_id: int | None = None,
    separator: int | str | None = None,
    num_packs_multiple_of: int = 1,
    groups: Any = None,
    splittable: Any = None,
    alone: Any = None,
    seed: int | None = 0,
    epoch: int = 0,
    gap: float | None = None,
    max_iterations: int | None = None,
    max_seconds: float | None = None,
    format: str = "arrow",
    shard_size: int | str = "256MB",
    overwrite: bool = False,
    stage: Stage = no_progress,
) -> Manifest:
    """Packs a source into a directory of shards and a manifest.

    The directory is whole or not there: shards come into place at the end, the manifest last. When this fails or is
    interrupted, what was there before is as it was. After a kill, the same call goes on from the finished shards.

    Args:
        source: files, folders or glob patterns of Parquet or Arrow; a table, a `datasets.Dataset`. With `input_ids`,
            or, with a tokenizer, `messages`, `prompt` and `completion`, or `text`.
        out: the directory.
        max_length: the most tokens a pack may hold.
        tokenizer: a `transformers` tokenizer, or its folder or name; None where the source has tokens.
        strategy: as for `packsort.plan`.
        overlong: as for `packsort.plan`; or, for `messages`, `split_turns`: conversations are cut between turns, the
            system prompt repeated in each part without loss, each turn trained on once. A turn that does not fit
            alone is left out and counted.
        truncation_side: as for `packsort.plan`.
        max_sequences: as for `packsort.plan`.
        pad_to_multiple_of: as for `packsort.plan`.
        pad_token_id: the token that fills sequences up; None for the tokenizer's, or 0.
        separator: a token to put between any two sequences of a pack: its id, or, with a tokenizer, its text.
        num_packs_multiple_of: as for `packsort.plan`.
        groups: as for `packsort.plan`, or the name of a column of the source.
        splittable: likewise.
        alone: likewise.
        seed: as for `packsort.plan`; 0, since packs in the order of length train badly.
        epoch: as for `packsort.plan`.
        gap: as for `packsort.plan`.
        max_iterations: likewise.
        max_seconds: likewise.
        format: `arrow` (uncompressed, memory-mapped) or `parquet`.
        shard_size: bytes of a shard before compression, about: a number, or such as `256MB`.
        overwrite: whether what packsort wrote in `out` before may be replaced.
        stage: called as `stage(name, total=, unit=)` for each stage of the work; a context that yields a function to
            be called with the units done and, where there is more to say, a note.

    Returns:
        The manifest written.

    Raises:
        SourceError, LengthError: something is wrong with the source; the message names file, column and row.
        OutputExistsError: `out` is not empty. OutputError: it cannot be written.
        OptionError: an option has a value that is not allowed.

    Example:
        >>> import packsort, pyarrow as pa, tempfile
        >>> table = pa.table({"input_ids": [[1, 2, 3], [4, 5, 6, 7], [8]]})
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     manifest = packsort.write_shards(table, folder + "/packed", max_length=5)
        ...     packed = packsort.open_shards(folder + "/packed")
        ...     sorted(pack["input_ids"].tolist() for pack in packed)
        [[1, 2, 3], [4, 5, 6, 7, 8]]
    """
    _checks.max_length(max_length)
    if format not in _SUFFIXES:
        raise OptionError(f"format is {format!r}, allowed are 'arrow', 'parquet'")
    tokenizer = as_tokenizer(tokenizer)
    between = _fillers(separator, pad_token_id, tokenizer)
    options: dict[str, Any] = {
        "strategy": strategy,
        "overlong": overlong,
        "truncation_side": truncation_side,
        "max_sequences": max_sequences,
        "pad_to_multiple_of": pad_to_multiple_of,
        "num_packs_multiple_of": num_packs_multiple_of,
        "seed": seed,
        "epoch": epoch,
        "gap": gap,
        "max_iterations": max_iterations,
        "max_seconds": max_seconds,
    }
    columns = {"groups": groups, "splittable": splittable, "alone": alone}
    target = _bytes(shard_size)
    opened = open_source(source)
    with Folder(Path(out), overwrite=overwrite) as folder:
        split_turns = None
        if overlong == "split_turns":
            split_turns = window_limit(max_length, pad_to_multiple_of, tokenizer)
        tokens, about = load_tokens(opened, tokenizer, stage, split_turns=split_turns)
        with stage("planning") as advance:
            name = "input_ids" if about is None else about.columns[0]
            given = options | columns | {"separator": between.separator is not None}
            if split_turns is not None:
                given |= {"overlong": "error", "piece_starts": tokens.piece_starts}
            on_progress = note_search(advance)
            planned = plan_lengths(opened, tokens.lengths, name, max_length, on_progress=on_progress, **given)
            counts, by_file = count(planned, tokens)
        options |= {option: _named(values) for option, values in columns.items()}
        options |= {"separator": between.separator, "pad_token_id": between.padding if has_fillers(planned) else None}
        options |= {"format": format, "shard_size": target}
        writer = _Writer(folder, tokens.table, planned, between, format, target)
        run = _run(opened, about, planned, options)
        shards = writer.write(folder.begin(run), stage)
        manifest = Manifest(
            packsort_version=_core.__version__,
            max_length=planned.max_length,
            options=options,
            sources=tuple(
                {"path": f.path, "rows": f.rows, "bytes": f.bytes, **found}
                for f, found in zip(opened.files, by_file, strict=True)
            ),
            tokenizer=about,
            columns={field.name: str(field.type) for field in writer.schema},
            left_out=tokens.left_out,
            counts=counts,
            plan=planned.fingerprint,
            shards=tuple(shards),
        )
        folder.commit(manifest)
    return manifest


def _fillers(separator: int | str | None, pad_token_id: int | None, tokenizer: Any) -> Fillers:
    """The fillers; the text of a separator is looked up."""
    vocabulary = None if tokenizer is None else len(tokenizer)
    if isinstance(separator, str):
        if tokenizer is None:
            raise OptionError(
                f"separator is {separator!r} and tokenizer is None: a text is looked up in a tokenizer; "
                "allowed without one is a token id"
            )
        token = tokenizer.get_vocab().get(separator)
        if token is None:
            raise OptionError(
                f"separator is {separator!r}, which is no token of the tokenizer; allowed are its tokens, such as "
                f"{tokenizer.eos_token or next(iter(tokenizer.get_vocab()))!r}, and ids 0 to {len(tokenizer) - 1}"
            )
        separator = int(token)
    if pad_token_id is None and tokenizer is not None:
        pad_token_id = tokenizer.pad_token_id
    return fillers(separator, pad_token_id, vocabulary)


class _Writer:
    """Writes the shards of a plan: while one is written, the next is gathered."""

    def __init__(
        self, folder: Folder, table: pa.Table, planned: Plan, between: Fillers, format: str, target: int
    ) -> None:
        self._folder, self._table, self._plan, self._fillers = folder, table, planned, between
        self._format = format
        self.schema = gather_packs(table, planned, 0, 0, between).schema.with_metadata(
            {"packsort": json.dumps({"format_version": FORMAT_VERSION, "max_length": planned.max_length})}
        )
        width = sum(field.type.value_type.bit_width for field in table.schema) / 8
        # 32-bit offsets, whatever size is asked for
        fits = min(target / (width * planned.max_length), (2**31 - 1) // planned.max_length)
        self._count = max(1, -(-planned.num_packs // max(1, int(fits))))

    def write(self, finished: dict[str, ShardInfo], stage: Stage) -> list[ShardInfo]:
        names = shard_names(self._count, _SUFFIXES[self._format])
        shards: list[ShardInfo] = []
        waiting: list[Future[ShardInfo]] = []

        def settle() -> None:
            shard = waiting.pop(0).result()
            self._folder.finish(shard)
            shards.append(shard)
            advance(shard.packs)

        with stage("packing", total=self._plan.num_packs, unit="packs") as advance, ThreadPoolExecutor(1) as pool:
            for i, name in enumerate(names):
                if name in finished:
                    if waiting:
                        settle()
                    shards.append(finished[name])
                    advance(finished[name].packs)
                    continue
                start, stop = (self._plan.num_packs * at // self._count for at in (i, i + 1))
                rows = gather_packs(self._table, self._plan, start, stop, self._fillers).cast(self.schema)
                if waiting:
                    settle()
                waiting.append(pool.submit(self._write_one, name, rows))
            while waiting:
                settle()
        return shards

    def _write_one(self, name: str, rows: pa.Table) -> ShardInfo:
        path = self._folder.path_of(name)
        try:
            with path.open("wb") as file:
                if self._format == "arrow":
                    with pa.ipc.new_file(file, self.schema) as writer:
                        writer.write_table(rows)
                else:
                    packs = max(1, _TOKENS_A_ROW_GROUP // self._plan.max_length)
                    pq.write_table(rows, file, compression="zstd", row_group_size=packs)
                file.flush()
                os.fsync(file.fileno())
            pieces = pc.greater_equal(pc.list_flatten(rows["sequence_ids"]), 0)
            tokens = pc.sum(pc.filter(pc.list_flatten(rows["seq_lengths"]), pieces)).as_py()
            return ShardInfo(
                name=name,
                packs=rows.num_rows,
                sequences=pc.sum(pieces).as_py() or 0,
                tokens=tokens or 0,
                bytes=path.stat().st_size,
                checksum=checksum(path),
            )
        except OSError as error:
            raise output_error(self._folder.out / name, error) from error


def _run(source: Source, about: TokenizerInfo | None, planned: Plan, options: dict[str, Any]) -> str:
    """Says what a run packs and how: two that say the same write the same shards."""
    files = []
    for file in source.files:
        path = Path(file.path)
        # rows in memory are compared by nothing cheaper than themselves, so they are never gone on with
        stamp = [path.stat().st_mtime_ns, file.bytes] if path.is_file() else os.urandom(8).hex()
        files.append([str(path.resolve()), stamp])
    made = None if about is None else asdict(about)
    facts = [_core.__version__, files, made, planned.fingerprint, options]
    return digest(json.dumps(facts, default=str))


def _named(values: Any) -> str | None:
    """How the manifest calls a column of groups or flags."""
    return values if values is None or isinstance(values, str) else "<values>"


def _bytes(size: int | str) -> int:
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([KMGT]?)(i?)B?\s*", str(size), re.IGNORECASE)
    number = 0
    if match:
        unit = _UNITS[match[2].upper()]
        if match[3]:
            unit = 1 << {1: 0, 10**3: 10, 10**6: 20, 10**9: 30, 10**12: 40}[unit]
        number = int(float(match[1]) * unit)
    if number < 1:
        raise OptionError(f"shard size is {size!r}, allowed are bytes such as 256MB or 1GiB")
    return number
