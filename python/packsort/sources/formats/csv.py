"""Reader of CSV files, parsed by pyarrow."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import islice

import pyarrow as pa
import pyarrow.csv as csv

from packsort._progress import Advance, ignore
from packsort.errors import SourceError
from packsort.schema import LENGTH
from packsort.sources.formats.blocks import BlockReader, in_order
from packsort.sources.formats.csv_records import CsvBlock, CsvError, split_records
from packsort.sources.formats.opening import Place
from packsort.sources.formats.reader import naming

_FAULT = re.compile(r"Row #(\d+): (.*)")


class CsvReader(BlockReader[CsvBlock]):
    """CSV file with a header.

    Cells are strings, letter for letter: `007` and `NA` are text. A cell without anything in it is null, and `""` is an
    empty string. A column `length` holds integers if all its cells are integers.

    Args:
        path: The file.
        size: Its bytes.
        delimiter: What stands between cells.
        compression: As for `read_chunks`.

    Raises:
        SourceError: A record has more or fewer cells than the header, a quote is in a wrong place, or the text is no
            UTF-8.
    """

    def __init__(
        self, path: Place, size: int, delimiter: str = ",", compression: str | None = None, advance: Advance = ignore
    ) -> None:
        super().__init__(path, size)
        self._delimiter = delimiter
        self._compression = compression
        with naming(self.path, "is not a readable CSV file"):
            self.schema = self._header()
            integers = self._scan(advance)
        if integers and LENGTH in self.schema.names:
            at = self.schema.get_field_index(LENGTH)
            self.schema = self.schema.set(at, pa.field(LENGTH, pa.int64()))

    def _records(self) -> Iterator[CsvBlock]:
        try:
            yield from split_records(self.place, self._compression, self._delimiter)
        except CsvError as fault:
            raise SourceError(f"`{self.path}` line {fault.line}: {fault}") from fault

    def _split(self) -> Iterator[CsvBlock]:
        return islice(self._records(), 1, None)

    def _header(self) -> pa.Schema:
        header = next(self._records(), None)
        if header is None:
            raise SourceError(f"`{self.path}` has no header: the first line of a CSV file names its columns")
        names = self._read(header.text + b"\n", None, None).schema.names
        return pa.schema([(name, pa.string()) for name in names])

    def _scan(self, advance: Advance) -> bool:
        """Parse all blocks; return whether the column `length` holds integers only."""
        integers = True
        for table in in_order(self._scan_block, self._counted(advance)):
            if isinstance(table, pa.ArrowInvalid):
                raise self._error(table) from table
            if LENGTH in table.schema.names:
                integers = integers and _are_integers(table.column(LENGTH))
            self._add_block(table.num_rows, table)
        return integers

    def _scan_block(self, block: CsvBlock) -> pa.Table | pa.ArrowInvalid:
        try:
            return self._read(block.text, self.schema)
        except pa.ArrowInvalid as error:
            return error

    def _parse(self, block: CsvBlock, schema: pa.Schema) -> pa.Table:
        return self._read(block.text, self.schema, schema)

    def _read(self, text: bytes, header: pa.Schema | None, wanted: pa.Schema | None = None) -> pa.Table:
        """Parse text as one block.

        Args:
            text: Records, or the header.
            header: All columns. None reads them from the text.
            wanted: The columns to give, all if None.
        """
        columns = header if wanted is None else wanted
        return csv.read_csv(
            pa.BufferReader(text),
            csv.ReadOptions(
                use_threads=False, block_size=len(text) + 1, column_names=None if header is None else header.names
            ),
            csv.ParseOptions(
                delimiter=self._delimiter,
                newlines_in_values=True,
                # With one column, an empty line is a row whose cell is empty.
                ignore_empty_lines=header is None or len(header) > 1,
            ),
            csv.ConvertOptions(
                column_types=columns,
                include_columns=None if wanted is None else wanted.names,
                null_values=[""],
                strings_can_be_null=True,
                quoted_strings_can_be_null=False,
            ),
        )

    def _error(self, error: pa.ArrowInvalid) -> SourceError:
        """Return the error of a block that comes after the rows that were scanned."""
        found = _FAULT.search(str(error))
        if found is None:
            return SourceError(f"`{self.path}` after row {self.rows}: {error}")
        fault = found[2].replace("Expected", "expected", 1)
        if "invalid UTF8" in fault:
            fault = "not valid UTF-8: save the file as UTF-8"
        return SourceError(f"`{self.path}` row {self.rows + int(found[1]) - 1}: {fault}")


def _are_integers(column: pa.ChunkedArray) -> bool:
    try:
        column.cast(pa.int64())
    except pa.ArrowInvalid:
        return False
    return True
