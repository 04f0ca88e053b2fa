"""The source as blocks of rows, which stay in the object store or in their files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from packsort._options.input import InputConfig
from packsort.ray.reading import read_files
from packsort.ray.remote import Ref, largest
from packsort.sources.formats.memory import MemoryReader
from packsort.sources.renamed import rename_columns
from packsort.sources.source import Source, SourceFile


@dataclass(frozen=True)
class Block:
    """Consecutive rows of one file of the source, or of a dataset.

    Attributes:
        ref: The rows, an Arrow table.
        rows: Number of them.
        bytes: Their size in memory, approximately.
        file: Index of the file.
    """

    ref: Ref
    rows: int
    bytes: int
    file: int = 0


@dataclass(frozen=True)
class Blocks:
    """A source as blocks.

    Attributes:
        files: The files, or the dataset as one.
        blocks: Blocks of all files, in order; none is empty.
        skipped: Files that were found and not read.
        columns: All columns of files, of which blocks hold those that are read; None where blocks hold all.
    """

    files: tuple[SourceFile, ...]
    blocks: tuple[Block, ...]
    skipped: tuple[Any, ...] = ()
    columns: pa.Schema | None = None


@dataclass(frozen=True)
class Stretch:
    """Consecutive blocks of one file, which one task handles.

    Attributes:
        path: The file, or `<dataset>`.
        file: Index of the file.
        first_row: Row of the source that is the first.
        first_in_file: The same row within its file.
        block_rows: Rows of each block.
    """

    path: str
    file: int
    first_row: int
    first_in_file: int
    block_rows: tuple[int, ...]

    @property
    def rows(self) -> int:
        """Number of rows."""
        return sum(self.block_rows)

    def sources(self, tables: Sequence[Any], config: InputConfig, schema: pa.Schema | None = None) -> Iterator[Source]:
        """Yield each block as a source that names its rows as users know them.

        Args:
            tables: The blocks.
            config: `columns` says which columns are meant.
            schema: Columns that are read, which these are cast to; None leaves them as they are.
        """
        first = self.first_in_file
        for table, rows in zip(tables, self.block_rows, strict=True):
            yield _RowsOfBlock(_as_table(table), self.path, first, config, schema)
            first += rows


class _RowsOfBlock(Source):
    """Rows of a block."""

    def __init__(self, table: pa.Table, path: str, first: int, config: InputConfig, schema: pa.Schema | None) -> None:
        reader = MemoryReader(table, path)
        readers = [reader] if config.columns is None else rename_columns([reader], config.columns)
        super().__init__(readers)
        if schema is not None:
            self.schema = schema
        self._path, self._first = path, first

    def where(self, row: int) -> str:
        return f"`{self._path}` row {self._first + row}"


def open_blocks(source: Any, config: InputConfig, keep: Sequence[str], stretch_bytes: int) -> Blocks:
    """Open a Ray dataset or files.

    Args:
        source: A `ray.data.Dataset`, or files that are open. A dataset is executed once, in order, and its blocks stay
            in the object store, which spills them to disk where they exceed its memory.
        config: Rows and columns that are meant.
        keep: Columns with one value for each sequence that packs keep.
        stretch_bytes: Bytes of a block of a file, approximately.

    Raises:
        SourceError: The dataset has no rows, or the files disagree about a column.
        OptionError: There is no such split.
    """
    if isinstance(source, Source):
        read = read_files(source, config, keep, stretch_bytes)
        return Blocks(source.files, tuple(Block(*one) for one in read), source.skipped, source.schema)
    from packsort.errors import OptionError, SourceError

    if config.split is not None:
        raise OptionError(f"split={config.split!r} does not go with a Ray dataset: leave it out")
    if config.on_error != "error":
        raise OptionError(
            f"on_error={config.on_error!r} does not go with a Ray dataset, whose files Ray reads: pass the files "
            "themselves, or leave it out"
        )
    blocks = []
    for bundle in _in_order(source):
        for ref, metadata in ((entry.ref, entry.metadata) for entry in bundle.blocks):
            if metadata.num_rows:
                blocks.append(Block(ref, metadata.num_rows, metadata.size_bytes or stretch_bytes))
    if not blocks:
        raise SourceError("the dataset holds no rows")
    rows, size = sum(block.rows for block in blocks), sum(block.bytes for block in blocks)
    return Blocks((SourceFile("<dataset>", rows, size),), tuple(blocks))


def _in_order(dataset: Any) -> list[Any]:
    """Execute a dataset with its blocks in order, because the place of a row is its id."""
    options = dataset.context.execution_options
    before, options.preserve_order = options.preserve_order, True
    try:
        return list(dataset.materialize().iter_internal_ref_bundles())
    finally:
        options.preserve_order = before


def stretches(blocks: Blocks, most_bytes: int) -> Iterator[tuple[Stretch, list[Ref]]]:
    """Divide blocks among tasks.

    Args:
        blocks: The blocks.
        most_bytes: Bytes of one task, exceeded by single blocks, and where there would be very many tasks.

    Yields:
        The rows of a task, and its blocks.
    """
    most_bytes = largest(most_bytes, sum(block.bytes for block in blocks.blocks))
    own: list[Block] = []
    row = in_file = 0

    def finished() -> tuple[Stretch, list[Ref]]:
        file = own[0].file
        rows = tuple(block.rows for block in own)
        begin = in_file - sum(rows)
        stretch = Stretch(blocks.files[file].path, file, row - sum(rows), begin, rows)
        return stretch, [block.ref for block in own]

    for block in blocks.blocks:
        if own and (block.file != own[0].file or sum(one.bytes for one in own) + block.bytes > most_bytes):
            yield finished()
            in_file = in_file if block.file == own[0].file else 0
            own = []
        own.append(block)
        row, in_file = row + block.rows, in_file + block.rows
    if own:
        yield finished()


def _as_table(block: Any) -> pa.Table:
    if isinstance(block, pa.Table):
        return block
    from ray.data.block import BlockAccessor

    return BlockAccessor.for_block(block).to_arrow()
