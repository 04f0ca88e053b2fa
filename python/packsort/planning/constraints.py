"""Convert groups, flags and piece starts to NumPy: columns with one value for each sequence and no nulls."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from packsort._arrow import as_chunked, first_null, is_list, to_numpy
from packsort._options.plan import PlanConfig
from packsort.errors import OptionError


class Constraints(NamedTuple):
    """Constraints on sequences, as the core takes them; None where there are none.

    Attributes:
        groups: (group of each sequence uint32 (rows,), number of groups, whether the last group holds the sequences
            that get a pack of their own).
        splittable: Whether each sequence may be cut: bool (rows,).
        piece_starts: (offsets of the lists int64 (rows + 1,), first token of each piece int32).
    """

    groups: tuple[NDArray[np.uint32], int, bool] | None
    splittable: NDArray[np.bool_] | None
    piece_starts: tuple[NDArray[np.int64], NDArray[np.int32]] | None


def as_constraints(config: PlanConfig, rows: int) -> Constraints:
    """Convert the columns among the options of a plan.

    Args:
        config: The options.
        rows: Number of sequences.

    Raises:
        OptionError: A column does not hold what it must, or not for each of `rows` sequences.
    """
    flags = None if config.splittable is None else as_flags("splittable", config.splittable, rows)
    starts = None if config.piece_starts is None else as_lists("piece_starts", config.piece_starts, rows)
    return Constraints(_groups(config.groups, config.alone, rows), flags, starts)


def _groups(groups: Any, alone: Any, rows: int) -> tuple[NDArray[np.uint32], int, bool] | None:
    """Number the groups, and put the sequences that get a pack of their own into a last one."""
    if groups is None and alone is None:
        return None
    codes = np.zeros(rows, np.uint32) if groups is None else as_codes(groups, rows)
    number = int(codes.max(initial=0)) + 1
    if alone is None:
        return codes, number, False
    return np.where(as_flags("alone", alone, rows), np.uint32(number), codes), number + 1, True


def as_codes(groups: Any, rows: int) -> NDArray[np.uint32]:
    """Number the groups.

    Args:
        groups: Column of any type that Arrow can compare, (rows,): Arrow, NumPy, pandas, polars or a list.
        rows: Number of sequences.

    Returns:
        Number of each sequence's group: uint32 (rows,). Non-negative integers below `2 * rows` are their own numbers.
        Other values are numbered in the order in which they first appear.

    Raises:
        OptionError: There is a null, the number of values is not `rows`, or the values cannot be compared.
    """
    import pyarrow.compute as pc  # takes as long as all of packsort, and flags do without

    column = _checked("groups", groups, rows)
    if pa.types.is_integer(column.type) and rows:
        bounds = pc.min_max(column).as_py()
        if bounds["min"] >= 0 and bounds["max"] < 2 * rows:
            # Copied: the core reads them more than once, and another thread may write to the caller's.
            return _joined([to_numpy(chunk).astype(np.uint32) for chunk in column.chunks], np.uint32)
    try:
        encoded = column if pa.types.is_dictionary(column.type) else pc.dictionary_encode(column)
        encoded = encoded.unify_dictionaries()
    except (pa.ArrowNotImplementedError, pa.ArrowInvalid) as error:
        raise OptionError(f"groups must be of a type whose values can be compared, got {column.type}") from error
    return _joined([np.asarray(to_numpy(chunk.indices), np.uint32) for chunk in encoded.chunks], np.uint32)


def as_flags(name: str, flags: Any, rows: int) -> NDArray[np.bool_]:
    """Convert a column of booleans.

    Args:
        name: The option's name, for messages.
        flags: Column of booleans, (rows,).
        rows: Number of sequences.

    Returns:
        bool (rows,).

    Raises:
        OptionError: There is a value that is no boolean, a null, or the number of values is not `rows`.
    """
    column = _checked(name, flags, rows)
    if not pa.types.is_boolean(column.type) and len(column):
        raise OptionError(f"{name} must be booleans, got {column.type}")
    return _joined([to_numpy(chunk) for chunk in column.chunks if len(chunk)], np.bool_)


def as_lists(name: str, lists: Any, rows: int) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """Convert a column of lists of integers.

    Args:
        name: The option's name, for messages.
        lists: Column of lists, (rows,).
        rows: Number of sequences.

    Returns:
        (offsets of the lists int64 (rows + 1,), values of all lists int32).

    Raises:
        OptionError: There is a value that is no list of 32-bit integers, a null, or the number of lists is not `rows`.
    """
    import pyarrow.compute as pc

    column = _checked(name, lists, rows)
    if not len(column):
        return np.zeros(1, np.int64), np.zeros(0, np.int32)
    if not is_list(column.type) or not pa.types.is_integer(column.type.value_type):
        raise OptionError(f"{name} must be lists of integers, got {column.type}")
    lengths = to_numpy(pc.list_value_length(column)).astype(np.int64)
    try:
        values = pc.list_flatten(column).cast(pa.int32())
    except pa.ArrowInvalid as error:
        raise OptionError(f"{name} must be integers of 32 bits: {error}") from error
    if values.null_count:
        raise OptionError(f"{name} must be lists without nulls, got a null")
    # Copied: the core reads them more than once, and another thread may write to the caller's.
    return np.concatenate([[0], np.cumsum(lengths)]), to_numpy(values).copy()


def _joined(chunks: list[NDArray[Any]], dtype: Any) -> NDArray[Any]:
    if len(chunks) == 1:
        return np.ascontiguousarray(chunks[0])
    return np.concatenate(chunks) if chunks else np.zeros(0, dtype)


def _checked(name: str, values: Any, rows: int) -> pa.ChunkedArray:
    try:
        column = as_chunked(values)
    except (TypeError, ValueError, pa.ArrowException) as error:
        raise OptionError(f"{name} must be a column of values, got {type(values).__name__}: {error}") from error
    if len(column) != rows:
        raise OptionError(f"{name} must have a value for each of {rows:,} sequences, got {len(column):,}")
    if column.null_count:
        raise OptionError(
            f"{name} has a null at sequence {first_null(column)}; every sequence needs {_NEEDS.get(name, 'a value')}"
        )
    return column


_NEEDS = {"groups": "a group", "splittable": "True or False", "alone": "True or False", "piece_starts": "a list"}
