"""Every entry point that reads token files, and what is right after it: rows that agree, or an error of packsort."""

from __future__ import annotations

import contextlib
import io
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pyarrow.parquet as pq

import packsort
from packsort.cli import main
from packsort.hf import pack_dataset
from packsort.torch import PackedDataset, PackedLoader, PackedStream

MAX_LENGTH = 16
Door = Callable[[Path, Path], object]
"""Called with the file and a folder to write to; reads the file, and raises where it is refused."""

_COLUMNS: dict[str, Any] = {"groups": "groups", "alone": "flag", "keep": ["source", "score", "flag"]}
_OF_CHATS: dict[str, Any] = {"keep": ["source"]}


class WrongError(Exception):
    """The outcome is neither right nor a refusal."""


class RefusedError(Exception):
    """A command, or pyarrow in the place of the user, has refused the file."""


def _count(packs: Any, source: Path) -> None:
    """Hold the tokens of packs against the rows that pyarrow finds."""
    table = _table(source)
    expected = sum(len(row) for row in table["input_ids"].to_pylist())
    found = sum(int((pack["sequence_ids"] >= 0) @ pack["seq_lengths"]) for pack in packs)
    if found != expected:
        raise WrongError(f"packs hold {found} tokens, rows {expected}")


def _table(path: Path) -> pa.Table:
    """Read a file as a user does without packsort."""
    try:
        if path.suffix == ".parquet":
            return pq.ParquetFile(path).read()
        with pa.OSFile(str(path)) as file:
            stream = path.name.endswith("stream.arrow")
            return (pa.ipc.open_stream if stream else pa.ipc.open_file)(file).read_all()
    except Exception as error:
        raise RefusedError(f"`{path.name}`: {error}") from error


def _named(path: Path) -> pa.Table:
    """Read a file whose columns have names that Python can hold."""
    table = _table(path)
    try:
        table.column_names.count("")
    except UnicodeDecodeError as error:
        raise RefusedError(str(error)) from error
    return table


def write_shards(path: Path, out: Path) -> None:
    packsort.write_shards(path, out / "packed", MAX_LENGTH, **_COLUMNS)
    shards = packsort.open_shards(out / "packed")
    if not (result := packsort.verify(shards, path)):
        raise WrongError(f"verification: {result.problems}")
    _count(shards, path)


def write_without_mapping(path: Path, out: Path) -> None:
    packsort.write_shards(path, out / "packed", MAX_LENGTH, memory_map=False, splittable="flag", strategy="hybrid")
    packsort.export(out / "packed", out / "exported", format="trl")


def verify(path: Path, out: Path) -> None:
    """The packs are of the file before it was changed."""
    packsort.verify(path.parent / "whole" / path.name, path)


def load(path: Path, out: Path) -> None:
    loader = PackedLoader(path, MAX_LENGTH, prefetch=0, **_COLUMNS)
    tokens = sum(int(batch["input_ids"].shape[1]) for batch in loader)
    packsort.open_shards(packsort.write_shards(path, out / "packed", MAX_LENGTH) and out / "packed")
    if tokens != sum(len(pack["input_ids"]) for pack in packsort.open_shards(out / "packed")):
        raise WrongError("loader and directory differ")


def dataset(path: Path, out: Path) -> None:
    packs = PackedDataset(path, MAX_LENGTH, memory_map=False, overlong="split")
    [packs[index] for index in range(len(packs))]


def pack_file(path: Path, out: Path) -> None:
    packsort.pack(path, MAX_LENGTH, **_COLUMNS).validate(full=True)


def pack_table(path: Path, out: Path) -> None:
    packsort.pack(_table(path), MAX_LENGTH, **_COLUMNS).validate(full=True)


def plan_columns(path: Path, out: Path) -> None:
    table = _named(path)
    lengths = table["length"] if "length" in table.column_names else table.columns[0]
    flags = table["flag"] if "flag" in table.column_names else table.columns[-1]
    groups = table["groups"] if "groups" in table.column_names else table.columns[-1]
    packsort.plan(lengths, MAX_LENGTH, strategy="hybrid", splittable=flags)
    plan = packsort.plan(lengths, MAX_LENGTH, overlong="drop", groups=groups, alone=flags)
    if len(plan) and int(plan.sequence_ids.max()) >= table.num_rows:
        raise WrongError("the plan has a sequence that is no row")


def plan_starts(path: Path, out: Path) -> None:
    table = _named(path)
    lengths = table["length"] if "length" in table.column_names else table.columns[0]
    starts = table["starts"] if "starts" in table.column_names else table.columns[-1]
    packsort.plan(lengths, MAX_LENGTH, piece_starts=starts)


def compare(path: Path, out: Path) -> None:
    packsort.compare(path, MAX_LENGTH)


def compare_labels(path: Path, out: Path) -> None:
    packsort.compare(path, [MAX_LENGTH, 32], turns="labels")


def compare_columns(path: Path, out: Path) -> None:
    table = _named(path)
    turns = table["flag"] if "flag" in table.column_names else None
    packsort.compare(table.select([name for name in table.column_names if name != "labels"]), MAX_LENGTH, turns=turns)


def hugging_face(path: Path, out: Path) -> None:
    try:
        rows = datasets.Dataset(datasets.table.InMemoryTable(_table(path)), fingerprint="0")
    except Exception as error:
        raise RefusedError(str(error)) from error
    pack_dataset(rows, MAX_LENGTH, **_COLUMNS)


def stream(path: Path, out: Path) -> None:
    table = _table(path)
    try:
        table.validate(full=True)
        rows = table.select([name for name in table.column_names if name != "starts"]).to_pylist()
    except Exception as error:  # the user's own reading
        raise RefusedError(str(error)) from error
    list(PackedStream(rows, MAX_LENGTH, buffer_size=8))


def command(*arguments: str) -> Door:
    """Make a command of packsort a door; `{}` is the file, `{out}` the folder to write to."""

    def run(path: Path, out: Path) -> None:
        said = io.StringIO()
        filled = [part.format(path, out=out, tokenizer=path.parent / "tokenizer") for part in arguments]
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(said):
            status = main(filled)
        if status not in (0, 1) or "Traceback" in said.getvalue():
            raise WrongError(f"exit status {status}: {said.getvalue()}")
        if status:
            lines = [line for line in said.getvalue().splitlines() if line.startswith("error: ")]
            raise RefusedError(lines[0] if lines else f"nothing was said: {said.getvalue()}")

    return run


def _chats(function: Callable[..., Any], *arguments: Any, **options: Any) -> Door:
    def run(path: Path, out: Path) -> None:
        given = [path, *(out / one if isinstance(one, str) else one for one in arguments)]
        made = function(*given, **options, tokenizer=TOKENIZER[0])
        if function is PackedLoader:
            list(made)

    return run


TOKENIZER: list[Any] = [None]
"""The tokenizer, which whoever opens doors loads."""

_LIMIT = ("--max-length", str(MAX_LENGTH))
TOKENS: dict[str, Door] = {
    "write_shards, verify": write_shards,
    "write_shards without mapping, export": write_without_mapping,
    "verify": verify,
    "PackedLoader": load,
    "PackedDataset": dataset,
    "pack of a file": pack_file,
    "pack of a table": pack_table,
    "plan of columns": plan_columns,
    "plan with piece_starts": plan_starts,
    "compare": compare,
    "compare by labels": compare_labels,
    "compare of a table": compare_columns,
    "hf.pack_dataset": hugging_face,
    "PackedStream": stream,
    "packsort pack": command("pack", "{}", "-o", "{out}/packed", *_LIMIT, "--keep", "source", "--groups", "groups"),
    "packsort plan": command("plan", "{}", "-o", "{out}/plan.arrow", *_LIMIT),
    "packsort compare": command("compare", "{}", *_LIMIT),
    "packsort inspect --rows": command("inspect", "--rows", "{}", "--row", "12"),
}
CHATS: dict[str, Door] = {
    "tokenize": _chats(lambda source, tokenizer: list(packsort.tokenize(source, tokenizer))),
    "write_shards, tokenizer": _chats(packsort.write_shards, "packed", 64, **_OF_CHATS),
    "PackedLoader, tokenizer": _chats(PackedLoader, 64, prefetch=0, **_OF_CHATS),
    "pack, tokenizer": _chats(packsort.pack, 64, **_OF_CHATS),
    "compare, tokenizer": _chats(packsort.compare, 64, overlong="truncate"),
    "packsort tokenize": command("tokenize", "{}", "-o", "{out}/tokens.arrow", "--tokenizer", "{tokenizer}"),
    "packsort inspect --rows, tokenizer": command("inspect", "--rows", "{}", "--tokenizer", "{tokenizer}"),
}
OF_TABLES = {"pack of a table", "plan of columns", "plan with piece_starts", "compare of a table", "hf.pack_dataset",
             "PackedStream"}  # fmt: skip
"""Doors that get rows in memory, which have no file to name."""


def enter(door: Door, path: Path, out: Path, *, named: bool) -> str:
    """Open a file through a door.

    Args:
        door: The door.
        path: The file.
        out: Folder to write to, which is emptied.
        named: Whether an error must have the name of the file.

    Returns:
        `taken` or `refused`, or else what is wrong.
    """
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir()
    try:
        door(path, out)
    except RefusedError as error:
        text = str(error)
        if named and path.name not in text:
            return f"does not name the file: {text[:300]}"
    except packsort.PacksortError as error:
        text = f"{type(error).__name__}: {error}"
        if isinstance(error, packsort.errors.InternalError):
            return text[:500]
        if named and path.name not in text:
            return f"does not name the file: {text[:300]}"
    except WrongError as error:
        return f"wrong: {error}"[:500]
    except Exception as error:
        import traceback

        places = [f"{Path(one.filename).name}:{one.lineno}" for one in traceback.extract_tb(error.__traceback__)[-6:]]
        return f"foreign {type(error).__name__}: {str(error)[:200]} at {' '.join(places)}"
    else:
        return "taken"
    return "refused"
