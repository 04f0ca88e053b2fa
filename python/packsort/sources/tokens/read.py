"""Token columns of a source, read into memory and checked, in the types that packing works on.

A fault in the tokens must not pass in silence. A null that reads as 0, or labels that are shifted against their tokens,
trains a model on something else without any later error.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from packsort._ahead import read_ahead
from packsort._arrow import to_numpy
from packsort._options.choices import EmptySequences
from packsort._progress import Advance, ignore
from packsort.errors import SourceError
from packsort.schema import INPUT_IDS, LENGTH
from packsort.sources.source import Source
from packsort.sources.tokens.checked import CheckedRows
from packsort.sources.tokens.disagreeing import uneven_across_files
from packsort.sources.tokens.list_checks import ListLengths
from packsort.sources.tokens.roles import MASKS, column_roles, fits, unknown_masks
from packsort.sources.tokens.rows import token_bytes
from packsort.sources.tokens.uses import ColumnUses

_PART_BYTES = 64 << 20


@dataclass(frozen=True)
class Tokens:
    """Token columns in memory, checked.

    Attributes:
        table: One sequence a row: `input_ids`, then the other token columns in the order of the source. All are `list`
            or `large_list` of integers, floats or booleans; `input_ids` and `labels` hold int32.
        left_out: The source's other columns, which are not packed.
        source: The source of the rows.
        piece_starts: First token of each piece of each row, lists of int32: (rows,). None if no row is cut.
        by_file: For each file of the source, what cutting left out: `turns_left_out`, `tokens_left_out`.
        uses: What became of columns that are not packed as they are.
        in_memory: Whether the tokens are in memory, and not mapped from a file.
    """

    table: pa.Table
    left_out: tuple[str, ...]
    source: Source
    piece_starts: pa.ChunkedArray | None = None
    by_file: tuple[dict[str, int], ...] = ()
    uses: ColumnUses = field(default_factory=ColumnUses)
    in_memory: bool = True

    @property
    def lengths(self) -> pa.ChunkedArray:
        """Number of tokens of each sequence: int32 or int64, (rows,)."""
        return pc.list_value_length(self.table[INPUT_IDS])

    @property
    def schema(self) -> pa.Schema:
        """Names and types of the token columns."""
        return self.table.schema

    def batches(self, most_bytes: int) -> Iterator[tuple[int, pa.Table]]:
        """Yield the token columns batch by batch, as `TokenRows.batches`."""
        ends = np.cumsum(to_numpy(self.lengths), dtype=np.int64) * token_bytes(self.schema)
        first = 0
        while first < len(ends):
            before = int(ends[first - 1]) if first else 0
            stop = max(first + 1, int(np.searchsorted(ends, before + most_bytes, side="right")))
            yield first, self.table.slice(first, stop - first)
            first = stop


def read_tokens(source: Source, empty: EmptySequences = "error", advance: Advance = ignore) -> Tokens:
    """Read all token columns of a source into memory and check them.

    Padding at an end of a row, where `attention_mask` is 0, is left out, and masks of the loss become labels. Other
    columns of Arrow files that hold int32 already are not copied.

    Args:
        source: Rows with `input_ids`, lists of integers.
        empty: Treatment of sequences without tokens; `"drop"` keeps them as empty lists, which `plan` then drops.
        advance: Called with the rows that were read.

    Raises:
        SourceError: There is no usable `input_ids`; or a value is wrong, and the message names file, row, column and
            value: a null list, a null in a list, a sequence without tokens, a column with more or fewer values than
            `input_ids`, a token id below 0 or above 2**31 - 1, a stored `length` that differs from the list's, or a
            mask that cannot be applied.

    Example:
        >>> import pyarrow as pa
        >>> from packsort.sources.source import open_source
        >>> table = pa.table({"input_ids": [[1, 2, 0], [3, 0, 0]], "attention_mask": [[1, 1, 0], [1, 0, 0]]})
        >>> read_tokens(open_source(table)).table["input_ids"].to_pylist()
        [[1, 2], [3]]
    """
    with source.naming():
        roles = column_roles(source.schema)
    uneven = uneven_across_files(source, roles.lists)
    columns = [name for name in roles.read if name not in uneven]
    first = 0
    files: list[CheckedRows] = []
    for index in range(len(source.files)):
        for part in _checked_parts(source, index, columns, first, empty):
            files.append(part)
            first += len(part.lengths)
            advance(len(part.lengths))
    lengths = np.concatenate([file.lengths for file in files])
    for name in files[0].undecided:
        found = np.concatenate([file.found(name) for file in files])
        if not fits(name, found, lengths):
            uneven[name] = int((found != lengths).sum())
    packed = [name for name in roles.lists if name not in uneven]
    padding = [file.padding_left_out for file in files]
    tables = []
    while files:  # of each part, only the columns that are packed stay in memory
        tables.append(files.pop(0).read(packed))
    return Tokens(
        pa.concat_tables(tables),
        tuple(name for name in source.schema.names if name in roles.other or name in uneven),
        source,
        uses=ColumnUses(
            masks=tuple(name for name in roles.lists if name in MASKS),
            unknown_masks=unknown_masks(packed),
            uneven=uneven,
            nested=roles.nested,
            padding=np.concatenate(padding) if any(rows.any() for rows in padding) else None,
        ),
    )


def _checked_parts(
    source: Source, index: int, columns: list[str], first: int, empty: EmptySequences
) -> Iterator[CheckedRows]:
    """Yield the rows of a file part by part, checked."""
    start, rows = first, source.files[index].rows
    try:
        for table in read_ahead(source.read_parts(index, columns, _PART_BYTES)):
            rows = table.num_rows
            yield CheckedRows(table, source, start, empty)
            start += rows
    except SourceError:
        if rows < source.files[index].rows:
            # A message about lists of other lengths counts the rows of the whole file, not of a part.
            ListLengths(source, index, first, [name for name in columns if name != LENGTH], empty)
        raise
