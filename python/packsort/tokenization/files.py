"""Token files: a source of any size, tokenized into Parquet or Arrow files."""

from __future__ import annotations

import inspect
import json
import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import attrgetter
from pathlib import Path
from typing import Any, Unpack

import pyarrow as pa
import pyarrow.parquet as pq

from packsort import _checks
from packsort._atomic import (
    OutputFile,
    OutputFolder,
    StoreFile,
    StoreFolder,
    open_table,
    output_file,
    output_folder,
    tables,
)
from packsort._checksum import checksum
from packsort._options.choices import OnError
from packsort._options.input import InputConfig, take_input_options
from packsort._options.keywords import InputOptions, names
from packsort._options.memory import find_memory_limit
from packsort._paths import not_a_uri
from packsort._stores import StorePath, place
from packsort.errors import OptionError, TokenizerError
from packsort.schema import INPUT_IDS
from packsort.sources.files.skipped import Skipped, count_skipped
from packsort.sources.source import Source
from packsort.sources.unreadable import open_readable
from packsort.tokenization.batches import TokenBatch
from packsort.tokenization.choice import TokenizerChoice, as_choice, stamps
from packsort.tokenization.info import digest
from packsort.tokenization.kept import are_files
from packsort.tokenization.loss import LossRule
from packsort.tokenization.notes import Note
from packsort.tokenization.tally import Tally
from packsort.tokenization.tokenize import Tokenization

_TOKENS_A_ROW_GROUP = 4_000_000
_FILE_NAME = re.compile(r"[^/]+\.parquet")


@dataclass(frozen=True)
class TokenizedFiles:
    """Token files that `write_tokens` wrote.

    Attributes:
        files: Paths of the files, in the order of the source's files.
        sequences: Number of rows in them.
        tokens: Number of tokens in them.
        loss_tokens: Number of tokens that carry loss.
        without_loss: Number of sequences in which no token carries loss.
        loss_rule: Tokens that carry loss.
        notes: Facts that a user should know; `str` of a note says it in words.
        empty: Number of rows without tokens, which stay in the files so that rows keep their numbers.
        skipped: Files of the source that were not read, by reason.
    """

    files: tuple[Path | StorePath, ...]
    sequences: int
    tokens: int
    loss_tokens: int
    without_loss: int
    loss_rule: LossRule
    notes: tuple[Note, ...]
    empty: int = 0
    skipped: tuple[Skipped, ...] = ()


def write_tokens(
    source: Any,
    out: str | os.PathLike[str],
    tokenizer: Any,
    *,
    overwrite: bool = False,
    keep: Sequence[str] = (),
    on_error: OnError = "error",
    memory_limit: int | str | None = None,
    on_progress: Callable[[int], None] | None = None,
    **options: Unpack[InputOptions],
) -> TokenizedFiles:
    """Tokenize a source of any size into files; row i of a file is row i of the source's file.

    All files appear in one step, also where they replace others. Until then what was there is untouched, and a failure
    leaves nothing behind. After a kill, the same call on a folder goes on after the files that were finished.

    Args:
        source: Rows, as `packsort.tokenize` takes them.
        out: A path, or the URL of an object or folder. One file for all rows if it ends in `.parquet` or `.arrow`.
            Otherwise a folder, which gets one Parquet file with the same stem for each file of the source.
        tokenizer: A `transformers` tokenizer, its folder or its Hub name.
        overwrite: Whether to replace the file, or what this function wrote to the folder before. A folder with other
            files is refused.
        keep: Other columns to copy.
        on_error: `skip` leaves out files that are damaged or may not be read, which otherwise end the call, and names
            and counts them. Every file is then read to its end before the first is tokenized.
        memory_limit: Bytes of memory that this process and those of `num_proc` may take, such as "8GB"; None is half of
            what the machine and its limits (cgroup, ulimit) allow. `num_proc="auto"` takes as many as fit.
        on_progress: Called with the number of sequences done since its last call.
        **options: Options of what goes in, as for `packsort.tokenize`.

    Returns:
        The files, with counts and notes.

    Raises:
        SourceError: As for `packsort.tokenize`.
        TokenizerError: As for `packsort.tokenize`.
        OptionError: As for `packsort.tokenize`; or a file of the source would be replaced.
        OutputExistsError: The file exists, or the folder is not empty, and `overwrite` is False; or a call with another
            source, tokenizer or options was killed while it wrote the folder.
        OutputError: A file cannot be written; the folder cannot be replaced in one step (a mount point, the working
            folder), or holds files of others; or another process is writing to it.

    Example:
        >>> import packsort, pyarrow as pa, tempfile
        >>> from tokenizers import Tokenizer, models, pre_tokenizers
        >>> from transformers import PreTrainedTokenizerFast
        >>> words = Tokenizer(models.WordLevel({"</s>": 0, "hello": 1, "world": 2}))
        >>> words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
        >>> tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, eos_token="</s>")
        >>> table = pa.table({"text": ["hello world", "hello"]})
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     written = packsort.write_tokens(table, folder + "/tokens.parquet", tokenizer)
        ...     packsort.pack(folder + "/tokens.parquet", 8, seed=None)["input_ids"].to_pylist()
        [[1, 2, 0, 1, 0]]
        >>> written.tokens, str(written.loss_rule)
        (5, 'all')
    """
    _checks.keywords("write_tokens", options, names(InputOptions) | set(inspect.signature(write_tokens).parameters))
    config = take_input_options({**options, "on_error": on_error})
    limit = find_memory_limit(memory_limit)
    opened = open_readable(source, config)
    target = place(out, config.storage_options)
    targets = _targets(opened, target)
    source_paths = {Path(file.path).resolve() for file in opened.files}
    for path in targets:
        if path.resolve() in source_paths:
            raise OptionError(f"out `{path}` would replace a file of the source: choose another file or folder")
    output: OutputFile | StoreFile | OutputFolder | StoreFolder
    if targets == [target]:
        output = output_file(target, overwrite=overwrite, parents=True)
    else:
        output = output_folder(target, overwrite=overwrite, own=_own_files, names=_FILE_NAME)
    choice = as_choice(tokenizer)
    assert choice is not None
    with output:
        tokenization = Tokenization(
            opened, choice.load(), config, keep=keep, on_progress=on_progress, memory_limit=limit
        )
        if isinstance(output, (OutputFile, StoreFile)):
            with tables(output.file, target, tokenization.schema) as write:
                for group in _row_groups(batch.table for batch in tokenization.by_file()):
                    write(group)
        else:
            known = _identity(choice) if are_files(opened) else None
            identity = digest(json.dumps([_facts(opened, tokenization, config), known], default=str))
            _write_files(tokenization, output, targets, identity, resume=known is not None)
            output.commit({path.name for path in targets})
    return TokenizedFiles(
        files=tuple(targets),
        sequences=tokenization.sequences,
        tokens=tokenization.tokens,
        loss_tokens=tokenization.loss_tokens,
        without_loss=tokenization.without_loss,
        empty=tokenization.empty,
        loss_rule=tokenization.loss_rule,
        notes=tuple(tokenization.notes),
        skipped=count_skipped(opened.skipped),
    )


def _targets(source: Source, out: Path | StorePath) -> Sequence[Path | StorePath]:
    """Return the files to write: `out` itself, or one in it for each file of the source."""
    if out.suffix in {".parquet", ".arrow"}:
        return [out]
    used: set[str] = set()
    targets: list[Path | StorePath] = []
    for file in source.files:
        # `find_files` skips names that start with "." or "_", so the output must not.
        stem = (Path(file.path).stem if file.path != "<table>" else "table").lstrip("._") or "tokens"
        name, number = stem, 1
        while name.casefold() in used:
            number += 1
            name = f"{stem}-{number}"
        used.add(name.casefold())
        targets.append(out / f"{name}.parquet")
    return targets


def _write_files(
    tokenization: Tokenization,
    folder: OutputFolder | StoreFolder,
    targets: Sequence[Path | StorePath],
    identity: str,
    *,
    resume: bool,
) -> None:
    """Write one file for each file of the source, but those that a run of the same identity has finished."""
    finished = _finished(folder, folder.begin(identity, resume=resume), targets)
    if folder.finished and len(finished) < len(targets):
        folder.restart(identity)
        finished = []
    for index, tally in enumerate(finished):
        tokenization.count(index, tally)
        tokenization.advance(tally.sequences)
    parts = groupby(tokenization.by_file(len(finished)), key=attrgetter("file"))
    current, made = next(parts, (-1, iter(())))
    for index, path in enumerate(targets[len(finished) :], start=len(finished)):
        tally = Tally()
        part = folder.path_of(path.name)
        with open_table(part, path, tokenization.schema) as write:
            # A file without rows gives no tables. Its output is a file without rows.
            if current == index:
                for group in _row_groups(_counted(made, tally)):
                    write(group)
                current, made = next(parts, (-1, iter(())))
        fact = {"name": path.name, "checksum": checksum(part), "tally": tally.to_json()}
        folder.finish(path.name, fact)


def _counted(batches: Iterable[TokenBatch], tally: Tally) -> Iterator[pa.Table]:
    """Yield the tables of batches, and add up their counts."""
    for batch in batches:
        tally += batch.tally
        yield batch.table


def _finished(
    folder: OutputFolder | StoreFolder, records: Sequence[Any], targets: Sequence[Path | StorePath]
) -> list[Tally]:
    """Return the counts of the first files, as far as they are recorded and as whole as they were."""
    tallies = []
    for record, target in zip(records, targets, strict=False):
        try:
            if record["name"] != target.name:
                break
            # A store has compared what it recorded.
            if isinstance(folder, OutputFolder) and checksum(folder.path_of(target.name)) != record["checksum"]:
                break
            tallies.append(Tally.from_json(record["tally"]))
        except (OSError, LookupError, TypeError, AttributeError):
            break
    return tallies


def _identity(choice: TokenizerChoice) -> list[Any] | None:
    """Return what tells a tokenizer from others, or None if nothing does: then no call goes on after another."""
    try:
        return choice.identity
    except TokenizerError:
        return None


def _facts(source: Source, tokenization: Tokenization, config: InputConfig) -> list[Any]:
    """Return what a call shares with the one that repeats it after a kill."""
    rows = stamps(Path(file.path) for file in source.files) if are_files(source) else source.num_rows
    return [rows, tokenization.schema.serialize().to_pybytes().hex(), config.of_rows()]


def _own_files(folder: Path) -> set[str]:
    """Return the names of the files in a folder that packsort wrote, told by their metadata."""
    return {path.name for path in folder.iterdir() if path.suffix == ".parquet" and _is_tokenized(path)}


def _is_tokenized(path: Path) -> bool:
    try:
        # Opening a named pipe would wait for ever.
        schema = pq.read_schema(not_a_uri(path)) if path.is_file() else pa.schema([])
        return b"packsort" in (schema.metadata or {}) and INPUT_IDS in schema.names
    except (OSError, pa.ArrowException, UnicodeDecodeError):
        return False


def _row_groups(tables: Iterator[pa.Table]) -> Iterator[pa.Table]:
    """Join tables into row groups of some millions of tokens; rows differ too much in length to count rows."""
    group: list[pa.Table] = []
    tokens = 0
    for table in tables:
        group.append(table)
        tokens += len(table[INPUT_IDS].chunk(0).values)
        if tokens >= _TOKENS_A_ROW_GROUP:
            yield pa.concat_tables(group)
            group, tokens = [], 0
    if group:
        yield pa.concat_tables(group)
