"""Reader of JSON Lines and of other files of JSON objects."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence, Set

import pyarrow as pa
from pyarrow import types

from packsort._progress import Advance, ignore
from packsort.errors import SourceError
from packsort.sources.formats.blocks import BlockReader, in_order
from packsort.sources.formats.json_block import Inferred, JsonBlock, find_maps, infer_block, parse_block
from packsort.sources.formats.json_rows import JsonError
from packsort.sources.formats.json_types import JSON, inexact_row, is_json, kind_of_type, merged
from packsort.sources.formats.opening import Place
from packsort.sources.formats.reader import Reader, naming

Split = Callable[[Place, str | None], Iterator[JsonBlock]]
"""Reads a file, given its compression, in blocks: `split_lines` or `split_values`."""


class JsonReader(BlockReader[JsonBlock]):
    """File of JSON objects, one a row.

    A key that a row lacks is null. Strings are strings, whatever they look like. A column whose values no Arrow type
    holds as they are, such as `content` that is text in one row and a list in the next, has the type `JSON`.

    Args:
        path: The file.
        size: Its bytes.
        split: Reads it in blocks.
        compression: As for `read_chunks`.
        advance: Called with the bytes that were read.

    Raises:
        SourceError: A row is no valid JSON object, and the message has its line and row.
    """

    def __init__(
        self, path: Place, size: int, split: Split, compression: str | None = None, advance: Advance = ignore
    ) -> None:
        super().__init__(path, size)
        self._splitter = split
        self._compression = compression
        self._types: dict[str, pa.DataType] = {}
        self._problems: dict[str, str] = {}
        self._maps: Set[str] = set()
        with naming(self.path, "is not a readable JSON file"):
            self._scan(advance)
        self.schema = pa.schema(self._types)
        self._refuse_wrapped()

    def _split(self) -> Iterator[JsonBlock]:
        try:
            yield from self._splitter(self.place, self._compression)
        except JsonError as fault:
            raise self._error(fault) from fault

    def _scan(self, advance: Advance) -> None:
        # The types are those of blocks before this one, in order, whatever the threads do.
        typed = ((block, pa.schema(self._types)) for block in self._sampled(advance))
        for block, found in in_order(lambda one: (one[0], self._infer(*one)), typed):
            if isinstance(found, JsonError):
                raise self._error(found, block.line, self.rows) from found
            self._merge(found)
            self._add_block(found.rows, found.table)

    def _sampled(self, advance: Advance) -> Iterator[JsonBlock]:
        """Yield the blocks, after the first rows have told which columns are maps."""
        for index, block in enumerate(self._counted(advance)):
            if index == 0:
                try:
                    self._maps = find_maps(block)
                except JsonError as fault:
                    raise self._error(fault, block.line) from fault
            yield block

    def _infer(self, block: JsonBlock, known: pa.Schema) -> Inferred | JsonError:
        usable = [field for field in known if field.name not in self._problems and not is_json(field.type)]
        try:
            return infer_block(block, pa.schema(usable), self._maps)
        except JsonError as fault:
            return fault

    def _merge(self, found: Inferred) -> None:
        """Add what a block tells of the types of columns."""
        for name, kinds in found.mixed.items():
            (row, one), (second, other) = kinds[0], kinds[1 if len(kinds) > 1 else 0]
            if JSON is None or not {kind for _, kind in kinds} <= {"a list", "an object"}:
                self._add_conflict(name, second, other, one)
            elif not self._add_type(name, JSON):
                self._add_conflict(name, row, one, kind_of_type(self._types[name]))
        for name in found.table.column_names:
            column = found.table[name]
            inexact = inexact_row(column)
            kind = column.type if inexact is None or JSON is None or not _has_struct(column.type) else JSON
            if inexact is not None and not is_json(kind):
                fault = f"column `{name}` has a number that a 64-bit float does not hold exactly"
                self._add_problem(name, inexact, fault)
            elif not self._add_type(name, kind):
                row = next(index for index, value in enumerate(column) if value.is_valid)
                self._add_conflict(name, row, kind_of_type(kind), kind_of_type(self._types[name]))

    def _add_type(self, name: str, kind: pa.DataType) -> bool:
        """Note the type of a column in a block; return whether it goes together with those before."""
        both = merged(self._types.get(name, pa.null()), kind)
        self._types[name] = self._types[name] if both is None else both
        return both is not None

    def _add_conflict(self, name: str, row: int, here: str, before: str) -> None:
        self._add_problem(name, row, f"column `{name}` is {here}, but {before} in rows before")

    def _add_problem(self, name: str, row: int, fault: str) -> None:
        self._types.setdefault(name, pa.string())
        self._problems.setdefault(name, f"`{self.path}` row {self.rows + row}: {fault}")

    def _refuse_wrapped(self) -> None:
        """Refuse rows that are inside one object, under a key."""
        if self.rows != 1 or len(self.schema) != 1:
            return
        name, kind = self.schema.names[0], self.schema.types[0]
        if types.is_list(kind) and types.is_struct(kind.value_type):
            inner = {field.name for field in kind.value_type}
            if not inner & {"role", "from"}:
                raise SourceError(
                    f"`{self.path}` holds one object, whose `{name}` is a list of objects: if they are the rows, write "
                    f"them to a file of their own, as `jq -c '.{name}[]'` does"
                )

    def _selected(self, columns: Sequence[str]) -> pa.Schema:
        for name in columns:
            if name in self._problems:
                raise SourceError(self._problems[name])
        return super()._selected(columns)

    def _parse(self, block: JsonBlock, schema: pa.Schema) -> pa.Table:
        try:
            return parse_block(block, schema)
        except JsonError as fault:
            raise self._error(fault, block.line, None) from fault

    def _error(self, fault: JsonError, line: int = 1, row: int | None = 0) -> SourceError:
        """Return the error of a fault in a text that begins at a line and a row of the file."""
        lines = "" if fault.line is None else f" line {fault.line + line}"
        rows = "" if fault.row is None or row is None else f"row {fault.row + row}"
        where = f"{lines} ({rows})" if lines and rows else f"{lines} {rows}".rstrip()
        return SourceError(f"`{self.path}`{where}: {fault}")


def share_types(readers: Sequence[Reader]) -> None:
    """Give the JSON files of a source the same columns and types, as if they were one file.

    Args:
        readers: Readers of any files. A column whose types do not go together is left as it is.
    """
    found: dict[str, pa.DataType | None] = {}
    files = [reader for reader in readers if isinstance(reader, JsonReader)]
    for reader in files:
        for field in reader.schema:
            known = found.get(field.name, pa.null())
            found[field.name] = None if known is None else merged(known, field.type)
    for reader in files:
        own = {field.name: field.type for field in reader.schema}
        shared = {name: own.get(name) if kind is None else kind for name, kind in found.items()}
        reader.schema = pa.schema([(name, kind) for name, kind in shared.items() if kind is not None])


def _has_struct(kind: pa.DataType) -> bool:
    return types.is_struct(kind) or (types.is_list(kind) and _has_struct(kind.value_type))
