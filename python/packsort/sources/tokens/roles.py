"""Roles of the columns of token rows.

A token column has one value for each token: a list column of integers, floats or booleans. `input_ids` must be one.
`labels` and masks that packsort knows must be such columns where there are any. Any other list column of numbers may be
one, or may be about something else, such as the lengths of turns: `fits` decides it by the numbers of values.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyarrow import types

from packsort._arrow import described, is_list
from packsort.errors import SourceError
from packsort.schema import ATTENTION_MASK, INPUT_IDS, INT32_COLUMNS, LABELS, LENGTH, LOSS_MASKS, SEGMENT_COLUMNS

MASKS = (ATTENTION_MASK, *LOSS_MASKS)
"""Masks that packsort applies. They are not packed."""

# Columns of packs that other programs wrote: Megatron's and NeMo's, and batches of transformers. Taken for sequences,
# the sequences of a pack would see each other.
_OTHER_PACKS = ("seq_start_id", "cu_seqlens", "cu_seq_lens_q")
# A column of such a name has a value for each token. If its numbers of values differ, it is damaged.
_PER_TOKEN_NAME = re.compile("mask|weight|label")
_MOST_FITTING = 0.9  # share of rows in which a column that is not per token may have one value for each token


@dataclass(frozen=True)
class ColumnRoles:
    """Roles of the columns of token rows.

    Attributes:
        lists: List columns of numbers, `input_ids` first: those that must have a value for each token, which are
            `input_ids`, `labels` and masks, and others, which are packed if they do.
        other: Columns that cannot be token columns.
        nested: Those of them that hold a list of numbers for each token, perhaps.
        has_length: Whether the rows store their lengths, in an integer column `length`.
    """

    lists: tuple[str, ...]
    other: tuple[str, ...]
    has_length: bool
    nested: tuple[str, ...] = ()

    @property
    def read(self) -> list[str]:
        """Columns to read."""
        return [*self.lists, *([LENGTH] if self.has_length else [])]

    @property
    def loss_masks(self) -> tuple[str, ...]:
        """Masks that become labels."""
        return tuple(name for name in LOSS_MASKS if name in self.lists)


def column_roles(schema: pa.Schema) -> ColumnRoles:
    """Tell token columns from others.

    Args:
        schema: Columns of the source.

    Raises:
        SourceError: There is no `input_ids`; `input_ids`, `labels` or a mask is of the wrong type; or the rows are
            packs already.

    Example:
        >>> import pyarrow as pa
        >>> ids = pa.list_(pa.int32())
        >>> column_roles(pa.schema({"text": pa.string(), "weights": ids, "labels": ids, "input_ids": ids}))
        ColumnRoles(lists=('input_ids', 'weights', 'labels'), other=('text',), has_length=False, nested=())
    """
    for name in INT32_COLUMNS:
        if name in schema.names:
            kind = schema.field(name).type
            if is_list(kind) and not types.is_integer(kind.value_type):
                raise wrong_type(name, f"a list of {kind.value_type}")
            if name == LABELS and not is_list(kind):
                raise wrong_type(name, str(kind))
    if INPUT_IDS not in schema.names or not is_list(schema.field(INPUT_IDS).type):
        raise SourceError(
            f"no usable column: there are {described(schema)}; `{INPUT_IDS}` (lists of integers) is needed; to "
            "make it of conversations or text, pass `tokenizer`"
        )
    refuse_packs(schema.names)
    for name in MASKS:
        if name in schema.names and not _is_token_type(schema.field(name).type):
            raise wrong_type(name, str(schema.field(name).type))
    lists = [field.name for field in schema if field.name != INPUT_IDS and _is_token_type(field.type)]
    other = tuple(name for name in schema.names if name not in (INPUT_IDS, *lists))
    has_length = LENGTH in schema.names and bool(types.is_integer(schema.field(LENGTH).type))
    nested = tuple(name for name in other if _is_nested(schema.field(name).type))
    return ColumnRoles((INPUT_IDS, *lists), other, has_length, nested)


def fits(name: str, found: NDArray[np.int64], lengths: NDArray[np.int64]) -> bool:
    """Return whether a list column of numbers is meant to have a value for each token.

    A damaged column has a value for each token in nearly all rows; a column about something else, in the rows where
    its number happens to be that of the tokens.
    A column whose name speaks of a mask, weights or labels is always meant to: leaving it out would change the loss.

    Args:
        name: The column.
        found: Its values in each row, below 0 where it is null: (rows,).
        lengths: Values of `input_ids` in each row: (rows,).

    Example:
        >>> import numpy as np
        >>> fits("turn_lengths", np.array([2, 1, 3]), np.array([40, 25, 77]))
        False
    """
    filled = lengths > 0
    return fits_in(name, int(((found == lengths) & filled).sum()), int(filled.sum()))


def fits_in(name: str, fitting: int, filled: int) -> bool:
    """Return whether a column is meant to have a value for each token, from numbers of rows; see `fits`.

    Args:
        name: The column.
        fitting: Rows with tokens where it has one value for each.
        filled: Rows with tokens.
    """
    if name == INPUT_IDS or _PER_TOKEN_NAME.search(name.lower()):
        return True
    return fitting > _MOST_FITTING * filled or not filled


def unknown_masks(names: Iterable[str]) -> tuple[str, ...]:
    """Return columns that are called masks but that packsort does not apply."""
    return tuple(name for name in names if "mask" in name.lower() and name not in MASKS)


def refuse_packs(names: Iterable[str], where: str | None = None) -> None:
    """Refuse rows that have a column that packing adds.

    Args:
        names: Columns of the rows.
        where: Names the row. None if all rows have the columns.
    """
    for name in (*SEGMENT_COLUMNS, *_OTHER_PACKS):
        if name in names:
            fault = f"column `{name}` is one that packing adds: the rows are packed already, or rename it"
            raise SourceError(fault if where is None else f"{where}: {fault}")


def wrong_type(name: str, found: str, where: str | None = None) -> SourceError:
    """Return the error for a token column of the wrong type.

    Args:
        name: The column.
        found: Its type, in words.
        where: Names the row. None if the column has this type in all rows.
    """
    values = "integers" if name in INT32_COLUMNS else "0 and 1" if name in MASKS else "numbers or booleans"
    fault = f"column `{name}` must hold a list of {values}, got {found}"
    return SourceError(fault if where is None else f"{where}: {fault}")


def _is_nested(kind: pa.DataType) -> bool:
    return is_list(kind) and _is_token_type(kind.value_type)


def _is_token_type(kind: pa.DataType) -> bool:
    if not is_list(kind):
        return False
    value = kind.value_type
    return bool(types.is_integer(value) or types.is_floating(value) or types.is_boolean(value))
