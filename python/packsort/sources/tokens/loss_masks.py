"""Labels made of masks: `completion_mask` and `assistant_masks`, as transformers and TRL write them.

A token carries loss where every mask is 1. TRL takes `labels` as they are where there are any. Labels with loss where a
mask is 0 contradict it, and only the user knows which of the two is meant.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from packsort._arrow import from_numpy, list_offsets, to_numpy
from packsort.errors import SourceError
from packsort.schema import INPUT_IDS, LABELS, LOSS_MASKS, NO_LOSS
from packsort.sources.tokens.padding import first_not_0_or_1, not_0_or_1
from packsort.sources.tokens.rules import Where

Locate = Callable[[int], tuple[int, str]]
"""From the index of a value to its position in its row, and the name of the row."""


def masked_labels(
    input_ids: NDArray[Any], labels: NDArray[Any] | None, masks: Mapping[str, NDArray[Any]], locate: Locate
) -> NDArray[np.int32]:
    """Make labels: -100 where a mask is 0, else the label, or the token where there are no labels.

    Args:
        input_ids: Tokens of one or several rows: (tokens,).
        labels: Their labels, or None: (tokens,).
        masks: Masks by name, with integers, floats or booleans: (tokens,) each.
        locate: Names a token for messages.

    Raises:
        SourceError: A mask holds something other than 0 and 1, or is 0 where `labels` have loss.

    Example:
        >>> import numpy as np
        >>> masks = {"completion_mask": np.array([0, 1, 1])}
        >>> masked_labels(np.array([7, 8, 9]), None, masks, lambda index: (index, "row 0"))
        array([-100,    8,    9], dtype=int32)
    """
    trained = np.ones(len(input_ids), np.bool_)
    for name, values in masks.items():
        wrong = first_not_0_or_1(values)
        if wrong is not None:
            position, where = locate(wrong)
            raise not_0_or_1(name, values[wrong], position, where)
        mask = values == 1
        if labels is not None:
            differs = ~mask & (labels != NO_LOSS)
            if differs.any():
                position, where = locate(int(np.argmax(differs)))
                raise SourceError(
                    f"{where}: column `{LABELS}` has loss at position {position}, where `{name}` is 0: remove the "
                    "column that is not meant"
                )
        trained &= mask
    return np.where(trained, input_ids if labels is None else labels, np.int32(NO_LOSS)).astype(np.int32, copy=False)


def apply_masks(table: pa.Table, where: Where, first: NDArray[np.int64] | None) -> pa.Table:
    """Replace the masks of checked token columns by labels.

    Args:
        table: `input_ids`, `labels` if there are any, and masks: `list` or `large_list` without nulls.
        where: Names a row.
        first: Tokens of each row that were left out before its first one, (rows,); None where there are none.

    Raises:
        SourceError: As for `masked_labels`.
    """
    masks = [name for name in LOSS_MASKS if name in table.column_names]
    if not masks:
        return table
    chunks = []
    row = 0
    for ids in table[INPUT_IDS].chunks:
        rows = table.slice(row, len(ids))
        offsets = list_offsets(ids)

        def locate(index: int, offsets: NDArray[np.int64] = offsets, start: int = row) -> tuple[int, str]:
            own = int(np.searchsorted(offsets, index, side="right")) - 1
            before = 0 if first is None else int(first[start + own])
            return index - int(offsets[own]) + before, where(start + own)

        labels = _values(rows[LABELS]) if LABELS in table.column_names else None
        made = masked_labels(to_numpy(ids.flatten()), labels, {name: _values(rows[name]) for name in masks}, locate)
        large = pa.types.is_large_list(ids.type)
        lists = pa.LargeListArray if large else pa.ListArray
        ends = from_numpy(offsets if large else offsets.astype(np.int32))
        chunks.append(lists.from_arrays(ends, from_numpy(made)))
        row += len(ids)
    column = pa.chunked_array(chunks, table[INPUT_IDS].type)
    table = table.drop_columns(masks)
    if LABELS in table.column_names:
        return table.set_column(table.column_names.index(LABELS), LABELS, column)
    return table.add_column(1, LABELS, column)


def _values(column: pa.ChunkedArray) -> NDArray[Any]:
    return to_numpy(pa.chunked_array([chunk.flatten() for chunk in column.chunks], column.type.value_type))
