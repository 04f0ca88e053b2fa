"""Convert groups, flags and piece starts to NumPy: columns with one value for each sequence and no nulls.

NumPy arrays and lists of integers and booleans import NumPy alone; `constraint_columns` handles all other columns.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from packsort._options.plan import PlanConfig


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
    starts = None
    if config.piece_starts is not None:
        from packsort.planning.constraint_columns import lists_of_column

        starts = lists_of_column("piece_starts", config.piece_starts, rows)
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
    array = _as_array(groups)
    if array is not None and array.dtype != np.bool_ and len(array) == rows and rows:
        # Copied: the core reads them more than once, and another thread may write to the caller's.
        array = array.copy()
        if array.min() >= 0 and array.max() < 2 * rows:
            return array.astype(np.uint32)
    from packsort.planning.constraint_columns import codes_of_column

    return codes_of_column(groups, rows)


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
    array = _as_array(flags)
    if array is not None and array.dtype == np.bool_ and len(array) == rows:
        return array.copy()
    from packsort.planning.constraint_columns import flags_of_column

    return flags_of_column(name, flags, rows)


def _as_array(values: Any) -> NDArray[Any] | None:
    """Return an array or a list of integers or booleans as a NumPy array (n,), and None for all else."""
    if isinstance(values, list | tuple):
        # A list that mixes the two is for Arrow, which refuses it.
        values = np.array(values) if set(map(type, values)) in ({int}, {bool}) else None
    plain = type(values) is np.ndarray and values.ndim == 1 and values.dtype.kind in "biu"
    return values if plain else None
