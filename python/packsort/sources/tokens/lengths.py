"""Lengths of a source's rows, read without their tokens where the source stores them.

Padding does not count. Where rows have an `attention_mask`, it is read, and a stored length may include padding or not.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pyarrow import types

from packsort._arrow import described, from_numpy, is_list, to_numpy
from packsort._progress import Advance, ignore
from packsort.errors import SourceError
from packsort.schema import ATTENTION_MASK, INPUT_IDS, LENGTH
from packsort.sources.source import Source
from packsort.sources.tokens import rules
from packsort.sources.tokens.checked import checked_column
from packsort.sources.tokens.padding import find_padding
from packsort.sources.tokens.roles import refuse_packs, wrong_type

_TO_MAKE = "; `packsort.tokenize` makes it of conversations and text"

_MASK_ROWS = 512  # few enough that long rows take little memory


def source_lengths(source: Source, to_make: str = _TO_MAKE, advance: Advance = ignore) -> tuple[pa.ChunkedArray, str]:
    """Read the tokens of each row: column `length` if there is one, else the lengths of the lists in `input_ids`.

    Where there is an `attention_mask`, it gives the lengths without padding.

    Args:
        source: The rows.
        to_make: How to make such a column of conversations or text, for the message.
        advance: Called with the rows whose lengths were read.

    Returns:
        Lengths, integers (rows,), as they are stored if there is no padding; and the name of the column they come from.

    Raises:
        SourceError: There is no such column, `length` does not hold integers, the mask cannot be applied, or the rows
            are packs.

    Example:
        >>> import pyarrow as pa
        >>> from packsort.sources.source import open_source
        >>> lengths, column = source_lengths(open_source(pa.table({"input_ids": [[1, 2], [3]]})))
        >>> lengths.to_pylist(), column
        ([2, 1], 'input_ids')
    """
    with source.naming():
        return _found(source, to_make, advance)


def _found(source: Source, to_make: str, advance: Advance) -> tuple[pa.ChunkedArray, str]:
    refuse_packs(source.schema.names)
    for name in (LENGTH, INPUT_IDS):
        if name not in source.schema.names:
            continue
        kind = source.schema.field(name).type
        if types.is_integer(kind):
            return _without_padding(source, _column(source, name, advance), name)
        if is_list(kind):
            return _without_padding(source, _list_lengths(source, name, advance), name)
        if name == LENGTH:
            raise SourceError(f"column `{LENGTH}` must hold integers, got {kind}")
    raise SourceError(
        f"no usable column: there are {described(source.schema)}; `{LENGTH}` (integers) or `{INPUT_IDS}` (lists) is "
        f"needed{to_make}"
    )


def _column(source: Source, name: str, advance: Advance) -> pa.ChunkedArray:
    parts = []
    for index, file in enumerate(source.files):
        parts.append(source.read_file(index, [name]))
        advance(file.rows)
    return pa.concat_tables(parts)[name]


def _list_lengths(source: Source, name: str, advance: Advance) -> pa.ChunkedArray:
    """Count the values of lists, null where there is no list, without reading them where a format allows it."""
    parts = []
    for index, file in enumerate(source.files):
        parts.append(source.list_lengths(index, [name])[name])
        advance(file.rows)
    found = np.concatenate(parts)
    lengths = from_numpy(found)
    return pa.chunked_array([lengths if found.min() >= 0 else pc.if_else(from_numpy(found >= 0), lengths, None)])


def _without_padding(source: Source, lengths: pa.ChunkedArray, column: str) -> tuple[pa.ChunkedArray, str]:
    if ATTENTION_MASK not in source.schema.names or lengths.null_count:
        return lengths, column
    if not is_list(source.schema.field(ATTENTION_MASK).type):
        raise wrong_type(ATTENTION_MASK, str(source.schema.field(ATTENTION_MASK).type))
    padded, kept = (np.concatenate(parts) for parts in zip(*_mask_lengths(source), strict=True))
    if column == LENGTH:
        rules.check_stored_lengths(lengths, padded, kept, source.where)
    else:
        rules.check_same_lengths(ATTENTION_MASK, padded, to_numpy(lengths).astype(np.int64), source.where)
    return (lengths, column) if (kept == padded).all() else (pa.chunked_array([from_numpy(kept)]), ATTENTION_MASK)


def _mask_lengths(source: Source) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Yield the tokens of rows, with padding and without: int64 (rows,) each."""
    first = 0
    for *_, batch in source.batches([ATTENTION_MASK], _MASK_ROWS):

        def where(row: int, first: int = first) -> str:
            return source.where(first + row)

        mask, padded = checked_column(pa.chunked_array([batch.column(0)]), ATTENTION_MASK, where)
        padding = find_padding(mask, where)
        yield padded, padded if padding is None else padding.kept
        first += batch.num_rows
