"""Protocols of the readers of files, and errors that name the file."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import pyarrow as pa

from packsort._arrow import check_type_names, check_valid, is_text
from packsort.errors import SourceError, SourceNotFoundError
from packsort.sources.formats.block_memory import BlockMemory

_NOT_UTF8 = re.compile(r"Invalid UTF8 sequence at string index (\d+)")  # as Arrow words it


class Reader(Protocol):
    """One file or one table of a source.

    Attributes:
        path: Path of the file, or a name for rows in memory.
        schema: Its columns.
        rows: Number of its rows.
        bytes: Its size on disk or in memory.
    """

    path: str
    schema: pa.Schema
    rows: int
    bytes: int

    def read(self, columns: Sequence[str]) -> pa.Table:
        """Read all rows of some columns.

        Args:
            columns: Names of the columns; the table has them in this order.
        """

    def batches(self, columns: Sequence[str], rows: int) -> Iterator[pa.RecordBatch]:
        """Read some columns in record batches.

        Args:
            columns: Names of the columns; the batches have them in this order.
            rows: The most rows of a batch. No batch is empty.
        """


@dataclass(frozen=True)
class Blocks:
    """Rows of one file in blocks that can be read alone.

    Attributes:
        rows: Rows of each block.
        decoded: Whether a block that is read takes memory of its own. Others are mapped, or read once for all.
        read: Reads all rows of some columns of block `index`: `read(index, columns, memory)`. A decoded block is in
            that memory.
    """

    rows: tuple[int, ...]
    decoded: bool
    read: Callable[[int, Sequence[str], BlockMemory], pa.Table]


@runtime_checkable
class BlockReader(Reader, Protocol):
    """Reader of a file whose rows can be read block by block, in any order."""

    def blocks(self) -> Blocks:
        """Return the blocks of the file.

        Raises:
            SourceError: The file cannot be read, or its rows cannot be read in any order.
        """


@contextmanager
def naming(path: str, fault: str = "cannot be read") -> Iterator[None]:
    """Turn errors of reading a file into a `SourceError` that names it.

    Args:
        path: The file.
        fault: Words for the error, after the file's name.
    """
    try:
        yield
    except SourceError:
        raise
    except FileNotFoundError as error:
        raise SourceNotFoundError(f"no file `{path}`") from error
    except PermissionError as error:
        raise SourceError(f"`{path}` cannot be read: permission denied") from error
    except UnicodeDecodeError as error:
        raise SourceError(f"`{path}` {fault}: a name or a text in it is not UTF-8") from error
    except pa.ArrowMemoryError as error:
        raise SourceError(
            f"`{path}` {fault}: it needs more memory than there is, or is damaged ({_first_line(error)})"
        ) from error
    except (pa.ArrowException, OSError) as error:
        raise SourceError(f"`{path}` {fault}: {_first_line(error)}") from error


def checked_schema(schema: pa.Schema) -> pa.Schema:
    """Return a schema whose names are UTF-8.

    Raises:
        UnicodeDecodeError, pyarrow.ArrowInvalid: One is not.
    """
    for field in schema:
        _ = field.name
        check_type_names(field.type)
    return schema


def check_columns(data: pa.Table | pa.RecordBatch, path: str, first_row: int = 0) -> None:
    """Check columns that come from outside; Arrow itself trusts what it reads.

    Args:
        data: The columns.
        path: The file.
        first_row: Row of the file that is their first.

    Raises:
        SourceError: A column breaks the rules of Arrow.
    """
    for name, column in zip(data.schema.names, data.columns, strict=True):
        row = first_row
        for chunk in column.chunks if isinstance(column, pa.ChunkedArray) else [column]:
            try:
                check_valid(chunk)
            except pa.ArrowException as error:
                text = _NOT_UTF8.search(str(error)) if is_text(chunk.type) else None
                if text is not None:
                    raise SourceError(
                        f"`{path}` row {row + int(text[1])}: column `{name}` is not valid UTF-8"
                    ) from error
                raise SourceError(
                    f"`{path}` row {row} and after: column `{name}` is damaged: {_first_line(error)}"
                ) from error
            row += len(chunk)
        if row - first_row != data.num_rows:
            raise SourceError(f"`{path}`: column `{name}` is damaged: it has {row - first_row} of {data.num_rows} rows")


def check_rows(found: int, rows: int, path: str) -> None:
    """Check that a file has as many rows as it says.

    Raises:
        SourceError: It has another number.
    """
    if found != rows:
        raise SourceError(f"`{path}` is damaged: it says that it has {rows:,} rows, and has {found:,}")


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0].rstrip(".")
