"""Protocols of the readers of files, and errors that name the file."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import pyarrow as pa

from packsort.errors import SourceError, SourceNotFoundError


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
        read: Reads all rows of some columns of block `index`: `read(index, columns)`.
    """

    rows: tuple[int, ...]
    decoded: bool
    read: Callable[[int, Sequence[str]], pa.Table]


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
    except (pa.ArrowException, OSError) as error:
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise SourceError(f"`{path}` {fault}: {reason[0].rstrip('.')}") from error
