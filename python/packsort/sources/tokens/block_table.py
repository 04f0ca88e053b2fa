"""Token columns of one block of a file, as they are gathered from."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from packsort._arrow import is_list
from packsort.errors import DamagedError, SourceError
from packsort.sources.formats.reader import naming
from packsort.sources.tokens.disagreeing import values_in_rows
from packsort.sources.tokens.lazy import plain_lists
from packsort.sources.tokens.rules import Where


def checked_block(
    table: pa.Table, path: str, stored: pa.Schema, lengths: NDArray[Any], padded: bool, where: Where
) -> pa.Table:
    """Check that a block has the rows that were packed, and return its columns as they are gathered from.

    Args:
        table: The columns as they were read.
        path: The file, for messages.
        stored: Columns and their types, as `TokenSurvey.stored`.
        lengths: Tokens of each row without padding: (rows,).
        padded: Whether rows may have padding beside them.
        where: Names a row of the block.

    Raises:
        DamagedError: It has others.
    """
    columns = {}
    for one in stored:
        if not is_list(table[one.name].type):
            raise DamagedError(f"`{path}`: column `{one.name}` is {table[one.name].type}, packed was {one.type}")
        try:
            lists = plain_lists(table[one.name], one.name, where)
            with naming(path):
                columns[one.name] = lists if lists.type.equals(one.type) else lists.cast(one.type)
        except SourceError as error:
            raise DamagedError(f"{error}: restore the file, or pack again") from error
        found = values_in_rows(lists)
        if not ((found >= lengths).all() if padded else np.array_equal(found, lengths)):
            row = int(np.argmax(found < lengths if padded else found != lengths))
            raise DamagedError(
                f"{where(row)}: column `{one.name}` has {found[row]} values, {lengths[row]} were packed: restore the "
                "file, or pack again"
            )
    return pa.table(_with_shared_offsets(columns))


def block_bytes(stored: pa.Schema, lengths: NDArray[Any]) -> int:
    """Return the memory that rows take once they are decoded.

    Args:
        stored: The columns.
        lengths: Tokens of each row: (rows,).
    """
    tokens = int(lengths.sum(dtype=np.int64))
    return sum(tokens * one.type.value_type.bit_width // 8 + 4 * len(lengths) for one in stored)


def _with_shared_offsets(columns: dict[str, pa.ChunkedArray]) -> dict[str, pa.ChunkedArray]:
    """Return columns of equal offsets with the offsets of the first: looking up a row then touches one place of memory.

    Args:
        columns: `list` or `large_list` without nulls, of the same rows.
    """
    first, *others = columns.values()
    shared = [first]
    for column in others:
        if column.num_chunks != first.num_chunks:
            return columns
        chunks = []
        for one, like in zip(column.chunks, first.chunks, strict=True):
            same = type(one) is type(like) and one.offsets.equals(like.offsets)
            chunks.append(type(one).from_arrays(like.offsets, one.values) if same else one)
        shared.append(pa.chunked_array(chunks, column.type))
    return dict(zip(columns, shared, strict=True))
