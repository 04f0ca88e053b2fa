"""One block of JSON text to columns: by pyarrow, and by Python where pyarrow cannot read it or would change it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Set
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.json as pj
from pyarrow import types

from packsort import _core
from packsort.sources.formats.json_rows import MAX_DEPTH, JsonError, Row, kind_of, read_rows
from packsort.sources.formats.json_types import JSON, is_json, without_dates

_SAMPLED_ROWS = 32
_MANY_KEYS = 100
_NOT_READ = (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError)


@dataclass(frozen=True)
class JsonBlock:
    """Some whole rows of a file, one JSON object after another.

    Attributes:
        text: UTF-8 text, if it was decoded already; any bytes otherwise.
        line: Line of the file that is the text's first, counted from 1.
        rows: Number of rows if the text was decoded already, None otherwise.
    """

    text: bytes
    line: int
    rows: int | None = None


@dataclass(frozen=True)
class Inferred:
    """Columns of a block, each with a type of its own.

    Attributes:
        rows: Number of rows.
        table: The columns that one Arrow type holds as they are.
        mixed: The other columns: the values that tell why, as `(row, kind)` of the first value of each kind.
    """

    rows: int
    table: pa.Table
    mixed: dict[str, list[tuple[int, str]]]


def infer_block(block: JsonBlock, known: pa.Schema, maps: Set[str] = frozenset()) -> Inferred:
    """Read all columns of a block in the types that its values have.

    Args:
        block: The block.
        known: Types of columns as blocks before had them, which saves time where they fit.
        maps: Columns that no struct can hold, from `find_maps`.

    Raises:
        JsonError: A row is wrong.
    """
    _check_utf8(block.text)
    # pyarrow crashes on text that nests very deep or begins with `null`, and takes another `null` for a row of nulls.
    rows = _core.count_objects(block.text, MAX_DEPTH) if block.rows is None else block.rows
    if rows == 0:
        return Inferred(0, pa.table({}), {})
    if rows is not None and not maps:
        for schema in (known, pa.schema([])) if len(known) else (known,):
            try:
                table = _infer(block.text, schema)
            except _NOT_READ:
                continue
            if table.num_rows == rows:
                return Inferred(rows, table, {})
    return _infer_rows(list(read_rows(block.text.decode())), maps)


def find_maps(block: JsonBlock) -> set[str]:
    """Find columns whose objects are maps, such as votes by user: each row has keys of its own.

    A struct of them would have a field for each key of any row, in every row: the square of the rows.

    Args:
        block: The first block of a file. A few rows of it tell.
    """
    rows = list(islice(read_rows(block.text.decode("utf-8", "replace")), _SAMPLED_ROWS))
    found = set()
    for name in {name for row in rows for name in row}:
        keys = [_keys(row.get(name)) for row in rows]
        number, most = len(set().union(*keys)), max(map(len, keys))
        if number > _MANY_KEYS and number > 4 * most:
            found.add(name)
    return found


def _keys(value: Any) -> set[str]:
    """Return the keys of all objects in a value, at any depth."""
    if isinstance(value, dict):
        return set(value).union(*map(_keys, value.values()))
    return set().union(*map(_keys, value)) if isinstance(value, list) else set()


def parse_block(block: JsonBlock, schema: pa.Schema) -> pa.Table:
    """Read some columns of a block, which `infer_block` has read before, in given types.

    Args:
        block: The block.
        schema: The columns. Values of columns of type `JSON` are JSON text.

    Raises:
        JsonError: A row is wrong.
    """
    plain = [field for field in schema if not is_json(field.type)]
    if len(plain) == len(schema):
        try:
            return _parse(block.text, schema, "ignore").select(schema.names)
        except _NOT_READ:
            pass  # pyarrow stops at faults of other columns as well
    rows = list(read_rows(block.text.decode()))
    columns = {}
    for field in schema:
        if is_json(field.type):
            texts = [
                None if row.get(field.name) is None else _to_text(row[field.name], i) for i, row in enumerate(rows)
            ]
            columns[field.name] = pa.ExtensionArray.from_storage(JSON, pa.array(texts, pa.string()))
        else:
            columns[field.name] = _parse(_one_column(rows, field.name), pa.schema([field]), "ignore")[field.name]
    return pa.table(columns, schema=schema)


def _check_utf8(text: bytes) -> None:
    """Check that text is UTF-8, at the speed of memory; pyarrow's JSON reader does not."""
    ends = pa.py_buffer(np.array([0, len(text)], np.int64))
    try:
        pa.Array.from_buffers(pa.large_string(), 1, [None, ends, pa.py_buffer(text)]).validate(full=True)
    except pa.ArrowInvalid:
        try:
            text.decode()
        except UnicodeDecodeError as error:
            line = text.count(b"\n", 0, error.start)
            raise JsonError(f"not valid UTF-8: {error.reason}; save the file as UTF-8", line, None) from error
        raise


def _parse(text: bytes, schema: pa.Schema, unexpected: str, *, checked: bool = True) -> pa.Table:
    """Parse text as one block, so that types are those of all its rows."""
    table = pj.read_json(
        pa.BufferReader(text),
        pj.ReadOptions(use_threads=False, block_size=len(text) + 1),
        pj.ParseOptions(explicit_schema=schema, unexpected_field_behavior=unexpected),
    )
    if checked:
        table.validate()  # lists of nulls only are damaged
    return table


def _infer(text: bytes, known: pa.Schema) -> pa.Table:
    """Parse text in the types of its values, dates as the strings that they are."""
    table = _parse(text, known, "infer", checked=False)
    wanted = pa.schema([(field.name, without_dates(field.type)) for field in table.schema])
    # pyarrow 26 loses nulls before the first number of a list in a list, unless it is given the type.
    nulls = any(_has_list_in_list(kind) for kind in wanted.types) and not wanted.equals(known) and b"null" in text
    if nulls or not wanted.equals(table.schema):
        return _parse(text, wanted, "infer")
    table.validate()
    return table


def _has_list_in_list(kind: pa.DataType, *, within: bool = False) -> bool:
    if types.is_list(kind):
        return within or _has_list_in_list(kind.value_type, within=True)
    return types.is_struct(kind) and any(_has_list_in_list(field.type, within=within) for field in kind)


def _infer_rows(rows: list[Row], maps: Set[str]) -> Inferred:
    """Infer the types of columns one by one: pyarrow reads none of them if it cannot read one."""
    columns: dict[str, pa.ChunkedArray] = {}
    mixed: dict[str, list[tuple[int, str]]] = {}
    for name in dict.fromkeys(name for row in rows for name in row):
        if name not in maps:
            try:
                columns[name] = _infer(_one_column(rows, name), pa.schema([]))[name]
                continue
            except _NOT_READ:
                pass
        if kinds := _kinds(row.get(name) for row in rows):
            mixed[name] = kinds
    return Inferred(len(rows), pa.table(columns), mixed)


def _kinds(values: Iterable[Any]) -> list[tuple[int, str]]:
    found: dict[str, int] = {}
    for row, value in enumerate(values):
        if value is not None:
            found.setdefault(kind_of(value), row)
    return [(row, kind) for kind, row in found.items()]


def _one_column(rows: list[Row], name: str) -> bytes:
    """Return rows as JSON Lines with one column."""
    lines = (_to_text({name: row[name]} if name in row else {}, i) for i, row in enumerate(rows))
    return "".join(f"{line}\n" for line in lines).encode()


def _to_text(value: Any, row: int) -> str:
    text = json.dumps(value, ensure_ascii=False)
    try:
        text.encode()
    except UnicodeEncodeError as error:
        fault = f"half of a surrogate pair, \\u{ord(error.object[error.start]):04x}, is no character"
        raise JsonError(fault, None, row) from error
    return text
