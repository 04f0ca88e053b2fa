"""Padding of an earlier step: tokens at an end of a row where `attention_mask` is 0.

A row keeps the stretch of its tokens where the mask is 1. Leaving out padding inside that stretch would join tokens
that were apart, so such a row is refused.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pyarrow import types

from packsort import _core
from packsort._arrow import from_numpy, list_offsets, to_numpy
from packsort.errors import SourceError
from packsort.schema import ATTENTION_MASK
from packsort.sources.tokens.rules import Where

_ROWS_AT_A_TIME = 1 << 14  # of a mask, so that what is found in it takes little memory


@dataclass(frozen=True)
class Padding:
    """Padding that is left out of a source's rows.

    Attributes:
        first: First token of each row that is kept: int64 (rows,).
        kept: Tokens of each row that are kept: int64 (rows,).
        left_out: Tokens of each row that are left out: int64 (rows,).
    """

    first: NDArray[np.int64]
    kept: NDArray[np.int64]
    left_out: NDArray[np.int64]

    def strip(self, column: pa.ChunkedArray) -> pa.ChunkedArray:
        """Leave padding out of a token column; chunks without any are not copied.

        Args:
            column: `list` or `large_list` of numbers or booleans without nulls.
        """
        chunks = []
        end = 0
        for chunk in column.chunks:
            rows = slice(end, end + len(chunk))
            end = rows.stop
            chunks.append(self._strip_chunk(chunk, rows) if self.left_out[rows].any() else chunk)
        return pa.chunked_array(chunks, column.type)

    def _strip_chunk(self, chunk: pa.Array, rows: slice) -> pa.Array:
        kind = stored = chunk.type.value_type
        if types.is_boolean(kind):  # Arrow packs eight booleans into a byte, and the core moves whole bytes
            stored = pa.uint8()
            chunk = chunk.cast((pa.large_list if types.is_large_list(chunk.type) else pa.list_)(stored))
        ids, starts = np.arange(len(chunk), dtype=np.int64), self.first[rows].astype(np.int32)
        kept = self.kept[rows]
        no_filler = bytes(stored.bit_width // 8)
        values = _core.gather(pa.chunked_array([chunk]), ids, starts, kept.astype(np.int32), (no_filler, no_filler))
        found = pa.Array.from_buffers(stored, len(values) * 8 // stored.bit_width, [None, pa.py_buffer(values)])
        large = types.is_large_list(chunk.type)
        offsets = np.concatenate([[0], np.cumsum(kept)]).astype(np.int64 if large else np.int32)
        lists = pa.LargeListArray if large else pa.ListArray
        return lists.from_arrays(from_numpy(offsets), found if stored is kind else found.cast(kind))


def find_padding(mask: pa.ChunkedArray, where: Where) -> Padding | None:
    """Find the padding of rows.

    Args:
        mask: Column `attention_mask`, lists without nulls: (rows,).
        where: Names a row.

    Returns:
        The padding, or None if there is none.

    Raises:
        SourceError: The mask holds something other than 0 and 1, or a 0 between ones.

    Example:
        >>> import pyarrow as pa
        >>> found = find_padding(pa.chunked_array([[[0, 1, 1], [1, 0, 0], [1]]]), str)
        >>> found.first.tolist(), found.kept.tolist(), found.left_out.tolist()
        ([1, 0, 0], [2, 1, 1], [1, 2, 0])
    """
    lengths = to_numpy(pc.list_value_length(mask)).astype(np.int64)
    first = np.zeros(len(lengths), np.int64)
    kept = lengths.copy()
    row = 0
    for chunk in mask.chunks:
        for start in range(0, len(chunk), _ROWS_AT_A_TIME):
            block = chunk.slice(start, _ROWS_AT_A_TIME)
            rows = slice(row, row + len(block))
            row = rows.stop
            attended = zeros_and_ones(block, ATTENTION_MASK, where, rows.start)
            if attended is not None:
                first[rows], kept[rows] = _stretches(attended, list_offsets(block), where, rows.start)
    left_out = lengths - kept
    return Padding(first, kept, left_out) if left_out.any() else None


def stretch_of(mask: NDArray[Any], where: str) -> tuple[int, int]:
    """Return the first token of one row that is kept, and the number of tokens that are.

    Args:
        mask: `attention_mask` of the row: (tokens,).
        where: Names the row.

    Raises:
        SourceError: As for `find_padding`.
    """
    wrong = first_not_0_or_1(mask)
    if wrong is not None:
        raise not_0_or_1(ATTENTION_MASK, mask[wrong], wrong, where)
    attended = mask == 1
    places = np.flatnonzero(attended)
    if not len(places):
        return 0, 0
    first, end = int(places[0]), int(places[-1]) + 1
    if end - first > len(places):
        raise padding_inside(first + int(np.argmin(attended[first:end])), where)
    return first, len(places)


def zeros_and_ones(lists: pa.Array, name: str, where: Where, first_row: int) -> NDArray[np.bool_] | None:
    """Return the values of a mask, or None if all are 1.

    Args:
        lists: Rows of the mask.
        name: The mask's column.
        where: Names a row.
        first_row: Number of the first row.

    Raises:
        SourceError: A value is neither 0 nor 1.
    """
    values = lists.flatten()
    if not len(values):
        return None
    bounds = pc.min_max(values).as_py()
    exact = not types.is_floating(values.type)  # bounds leave out NaN
    if exact and bounds["min"] == bounds["max"] == 1:
        return None
    numbers = to_numpy(values)
    found: NDArray[np.bool_] = numbers == 1
    wrong = None if exact and bounds["min"] >= 0 and bounds["max"] <= 1 else first_not_0_or_1(numbers)
    if wrong is not None:
        offsets = list_offsets(lists)
        row = int(np.searchsorted(offsets, wrong, side="right")) - 1
        raise not_0_or_1(name, numbers[wrong], wrong - int(offsets[row]), where(first_row + row))
    return found


def first_not_0_or_1(values: NDArray[Any]) -> int | None:
    """Return the index of the first value that a mask may not hold, or None."""
    if values.dtype.kind == "b":
        return None
    wrong = (values != 0) & (values != 1)
    return int(np.argmax(wrong)) if wrong.any() else None


def not_0_or_1(name: str, value: object, position: int, where: str) -> SourceError:
    """Return the error for a value that `first_not_0_or_1` found."""
    return SourceError(
        f"{where}: column `{name}` must hold 0 and 1, got {value} at position {position}: correct or remove the column"
    )


def padding_inside(position: int, where: str) -> SourceError:
    """Return the error for a row with padding between its tokens."""
    return SourceError(
        f"{where}: column `{ATTENTION_MASK}` is 0 at position {position}, between tokens where it is 1; only padding "
        "at an end can be left out: remove these tokens, or the column if they are to be trained on"
    )


def _stretches(
    attended: NDArray[np.bool_], offsets: NDArray[np.int64], where: Where, first_row: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the first token of each row's one stretch of attended tokens, and their number: int64 (rows,) each."""
    first, kept = np.zeros((2, len(offsets) - 1), np.int64)
    # Cut where the value changes and where a row begins: between two cuts, all values are equal. Comparing neighbours
    # costs a tenth of summing rows.
    changes = np.flatnonzero(attended[1:] != attended[:-1]) + 1
    cuts = np.union1d(changes, offsets[:-1][np.diff(offsets) > 0])
    ends = np.append(cuts[1:], len(attended))
    ones = attended[cuts]
    starts, ends = cuts[ones], ends[ones]
    rows = np.searchsorted(offsets, starts, side="right") - 1
    again = np.flatnonzero(rows[1:] == rows[:-1])
    if len(again):
        row = int(rows[again[0]])
        raise padding_inside(int(ends[again[0]] - offsets[row]), where(first_row + row))
    first[rows] = starts - offsets[rows]
    kept[rows] = ends - starts
    return first, kept
