"""Rules that token columns keep, and the words for breaking them; the same for files, loaders and streams.

`column_roles` tells token columns from others. The columns of `schema.INT32_COLUMNS` become int32 and have a range;
others keep their type.

A check takes `where`, which names a row for the message: "`a.parquet` row 7", or "sequence 7 of the stream". Checks of
whole columns find the first wrong row.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from packsort._arrow import list_offsets, to_numpy
from packsort.errors import SourceError
from packsort.schema import ATTENTION_MASK, INPUT_IDS, INT32_COLUMNS, LENGTH, MAX_TOKEN_ID, POSITION_IDS

Where = Callable[[int], str]


def null_list(name: str, where: str) -> SourceError:
    """Return the error for a row without a list."""
    return SourceError(f"{where}: column `{name}` is null; every sequence needs a list")


def null_value(name: str, position: int, where: str) -> SourceError:
    """Return the error for a null in a row's list."""
    return SourceError(f"{where}: column `{name}` has a null at position {position}; every token needs a value")


def damaged(name: str, error: Exception, where: str) -> SourceError:
    """Return the error for a column whose lists point outside its values."""
    return SourceError(f"{where} and after: column `{name}` is damaged: {error}")


def check_not_empty(lengths: NDArray[np.int64], where: Where, left_out: NDArray[np.int64] | None = None) -> None:
    """Check that every sequence has tokens.

    Args:
        lengths: Tokens of each row, without padding: (rows,).
        where: Names a row.
        left_out: Padding of each row, (rows,); None if there is none.
    """
    row = _first(lengths == 0)
    if row is not None:
        padded = left_out is not None and left_out[row] > 0
        fault = f"column `{ATTENTION_MASK}` is 0 everywhere" if padded else f"column `{INPUT_IDS}` is empty"
        raise SourceError(
            f"{where(row)}: {fault}; every sequence needs at least one token: pass empty='drop' to leave empty "
            "sequences out"
        )


def check_same_lengths(name: str, found: NDArray[np.int64], lengths: NDArray[np.int64], where: Where) -> None:
    """Check that a column has one value for each token.

    Args:
        name: The column.
        found: Its values in each row: (rows,).
        lengths: Values of `input_ids` in each row: (rows,).
        where: Names a row.
    """
    wrong = found != lengths
    row = _first(wrong)
    if row is not None:
        number = int(wrong.sum())
        others = f", as in {number:,} of {len(wrong):,} rows" if number > 1 else ""
        raise SourceError(
            f"{where(row)}: column `{name}` has {found[row]} values, but `{INPUT_IDS}` has {lengths[row]}{others}; "
            "every token needs one value: correct or remove the column"
        )


def check_positions(column: pa.ChunkedArray, where: Where) -> None:
    """Check that `position_ids` count through each row: where they start anew, another sequence begins.

    Args:
        column: The column, `list` or `large_list` of numbers without nulls, without padding: (rows,).
        where: Names a row.
    """
    first_row = 0
    for chunk in column.chunks:
        offsets = list_offsets(chunk)
        at = first_restart(to_numpy(chunk.flatten()), offsets[:-1])
        if at is not None:
            raise restarts(where(first_row + int(np.searchsorted(offsets, at, side="right")) - 1))
        first_row += len(chunk)


def first_restart(positions: NDArray[Any], starts: NDArray[Any]) -> int | None:
    """Return the index of the first position that starts anew, or None.

    Args:
        positions: Positions of rows or pieces, one after another: (tokens,).
        starts: Index of the first token of each: (rows,).

    Example:
        >>> import numpy as np
        >>> first_restart(np.array([0, 1, 0, 1, 2, 0]), np.array([0, 2]))
        5
    """
    anew = np.zeros(len(positions), np.bool_)
    anew[1:] = (positions[1:] == 0) | (positions[1:] < positions[:-1])
    anew[starts[starts < len(positions)]] = False
    return _first(anew)


def restarts(where: str) -> SourceError:
    """Return the error for a row of several sequences."""
    return SourceError(
        f"{where}: column `{POSITION_IDS}` starts anew within the row, which holds several sequences or padding: pass "
        "one sequence a row, or remove the column if it is one"
    )


def check_stored_lengths(
    stored: pa.ChunkedArray, lengths: NDArray[np.int64], kept: NDArray[np.int64], where: Where
) -> None:
    """Check that the column `length` tells how many tokens there are, with padding or without.

    Args:
        stored: The column, integers: (rows,).
        lengths: Values of `input_ids` in each row: (rows,).
        kept: Tokens of each row without padding: (rows,).
        where: Names a row.
    """
    # No list has -1 values, so a null is wrong as well.
    numbers = to_numpy(pc.fill_null(stored.cast(pa.int64(), safe=False), -1))
    row = _first((numbers != lengths) & (numbers != kept))
    if row is not None:
        raise wrong_length(stored[row].as_py(), int(lengths[row]), where(row))


def wrong_length(stored: object, tokens: int, where: str) -> SourceError:
    """Return the error for a stored length that is not the number of tokens."""
    return SourceError(f"{where}: column `{LENGTH}` is {stored}, but `{INPUT_IDS}` has {tokens} values")


def first_out_of_range(values: NDArray[Any], name: str) -> int | None:
    """Return the index of the first value that the column may not hold, or None.

    Args:
        values: Values of the column, integers: (values,).
        name: The column, one of `INT32_COLUMNS`.
    """
    least, (smallest, largest) = INT32_COLUMNS[name], _bounds(values.dtype)
    if not len(values):
        return None
    # A bound that the type cannot pass is not searched for.
    if not (smallest < least and values.min() < least) and not (largest > MAX_TOKEN_ID and values.max() > MAX_TOKEN_ID):
        return None
    return int(np.argmax((values < least) | (values > MAX_TOKEN_ID)))


def out_of_range(name: str, value: object, position: int, where: str) -> SourceError:
    """Return the error for a value that `first_out_of_range` found."""
    least = "-2**31" if INT32_COLUMNS[name] else "0"
    return SourceError(
        f"{where}: column `{name}` must hold values from {least} to 2**31 - 1, got {value} at position {position}"
    )


@cache
def _bounds(dtype: np.dtype[Any]) -> tuple[int, int]:
    """Return the smallest and largest integer of a type; streams ask for each sequence."""
    bounds = np.iinfo(dtype)
    return int(bounds.min), int(bounds.max)


def _first(wrong: NDArray[np.bool_]) -> int | None:
    return int(np.argmax(wrong)) if wrong.any() else None
