"""Base of the readers of text, which read a file block by block.

Text has no footer: columns, types and the number of rows are known only at its end. So a file is read once when it is
opened, which finds every fault before anything is packed, and again when its rows are wanted. A block is about
four megabytes of whole rows. The tables of the first blocks are kept, so that files that fit are parsed only once.
"""

from __future__ import annotations

import os
import weakref
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import count
from threading import RLock
from typing import Any, Generic, Protocol, TypeVar

import pyarrow as pa

from packsort._progress import Advance
from packsort.errors import SourceError
from packsort.sources.formats.opening import Place
from packsort.sources.formats.reader import naming

BLOCK_BYTES = 4 << 20
KEPT_BYTES = 512 << 20
"""The most bytes of parsed tables that all readers of the process keep."""

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")
_Block = TypeVar("_Block", bound="_Text")


class _Room:
    """Memory for tables that are kept."""

    def __init__(self) -> None:
        self._taken = 0
        self._lock = RLock()  # a reader may be collected while it is held

    def take(self, size: int, owner: object) -> bool:
        """Take some bytes until the owner is gone; return whether there was room."""
        with self._lock:
            if self._taken + size > KEPT_BYTES:
                return False
            self._taken += size
        weakref.finalize(owner, self._give_back, size)
        return True

    def _give_back(self, size: int) -> None:
        with self._lock:
            self._taken -= size


_room = _Room()


class _Text(Protocol):
    """Block of a file."""

    @property
    def text(self) -> bytes:
        """The text."""


class BlockReader(ABC, Generic[_Block]):
    """Reader of a file that is parsed block by block, on several threads.

    Subclasses split the file, scan it when it is opened, and parse blocks.

    Args:
        path: The file.
        size: Its bytes.

    Attributes:
        path, schema, rows, bytes: As for `Reader`.
        place: The file, as it is opened.
    """

    def __init__(self, path: Place, size: int) -> None:
        self.place = path
        self.path = str(path)
        self.bytes = size
        self.rows = 0
        self.schema = pa.schema([])
        self._block_rows: list[int] = []
        self._kept: list[pa.Table | None] = []

    def __getstate__(self) -> dict[str, Any]:
        """Leave out what is kept: parsing it again is faster than sending it to another process."""
        return self.__dict__ | {"_kept": [None] * len(self._kept)}

    @abstractmethod
    def _split(self) -> Iterator[_Block]:
        """Read the file in blocks, the same ones each time."""

    @abstractmethod
    def _parse(self, block: _Block, schema: pa.Schema) -> pa.Table:
        """Parse some columns of a block that was scanned."""

    def _add_block(self, rows: int, table: pa.Table | None) -> None:
        """Note a block that was scanned, and keep what was parsed of it if there is room."""
        self._kept.append(table if table is not None and _room.take(table.nbytes, self) else None)
        self._block_rows.append(rows)
        self.rows += rows

    def _counted(self, advance: Advance) -> Iterator[_Block]:
        """Read the file in blocks, and report the bytes of each."""
        for block in self._split():
            yield block
            advance(len(block.text))

    def read(self, columns: Sequence[str]) -> pa.Table:
        """Read all rows of some columns, as `Reader.read`."""
        schema = self._selected(columns)
        return pa.concat_tables([pa.Table.from_batches([], schema=schema), *self._tables(schema)])

    def batches(self, columns: Sequence[str], rows: int) -> Iterator[pa.RecordBatch]:
        """Read some columns in record batches, as `Reader.batches`."""
        for table in self._tables(self._selected(columns)):
            yield from (batch for batch in table.to_batches(max_chunksize=rows) if batch.num_rows)

    def _selected(self, columns: Sequence[str]) -> pa.Schema:
        return pa.schema([self.schema.field(name) for name in columns])

    def _tables(self, schema: pa.Schema) -> Iterator[pa.Table]:
        """Read some columns, one table a block."""
        if all(_has(kept, schema) for kept in self._kept):
            yield from (kept.select(schema.names) for kept in self._kept if kept is not None)
            return
        index = -1
        with naming(self.path):
            numbered = zip(count(), self._split(), strict=False)
            for index, table in in_order(lambda item: self._table(*item, schema), numbered):
                if index >= len(self._block_rows) or (len(schema) and table.num_rows != self._block_rows[index]):
                    raise self._changed()
                yield table
        if index + 1 < len(self._block_rows):
            raise self._changed()

    def _table(self, index: int, block: _Block, schema: pa.Schema) -> tuple[int, pa.Table]:
        kept = self._kept[index] if index < len(self._kept) else None
        if kept is not None and _has(kept, schema):
            return index, kept.select(schema.names)
        return index, self._parse(block, schema)

    def _changed(self) -> SourceError:
        return SourceError(f"`{self.path}` changed while it was read")


def _has(table: pa.Table | None, schema: pa.Schema) -> bool:
    if table is None:
        return False
    return all(field.name in table.schema.names and table.schema.field(field.name).equals(field) for field in schema)


def in_order(function: Callable[[_Item], _Result], items: Iterable[_Item]) -> Iterator[_Result]:
    """Apply a function to items on several threads, a few items ahead; results keep the order of the items.

    Args:
        function: Called on another thread; pyarrow releases the interpreter lock while it parses.
        items: Read on the calling thread.
    """
    threads = min(8, os.cpu_count() or 1)
    waiting: deque[Future[_Result]] = deque()
    pool = ThreadPoolExecutor(threads)
    try:
        for item in items:
            waiting.append(pool.submit(function, item))
            if len(waiting) > 2 * threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
