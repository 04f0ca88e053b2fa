"""Number of values of each list of a column, read without the values where a format allows it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import numpy as np
import pyarrow.compute as pc
from numpy.typing import NDArray

from packsort._arrow import fill_null, to_numpy
from packsort.sources.formats.reader import Reader

_ROWS = 512  # few enough that long rows take little memory


@runtime_checkable
class CountsListValues(Protocol):
    """Reader that counts the values of lists without reading them."""

    def list_lengths(self, columns: Sequence[str]) -> dict[str, NDArray[np.int64]]:
        """Return what `list_lengths` does."""


def list_lengths(reader: Reader, columns: Sequence[str]) -> dict[str, NDArray[np.int64]]:
    """Count the values of each list of some columns.

    Args:
        reader: The rows.
        columns: Names of list columns.

    Returns:
        Number of values in each row, -1 where the list is null, by column: int64 (rows,).

    Raises:
        SourceError: The file cannot be read.

    Example:
        >>> import pyarrow as pa
        >>> from packsort.sources.formats.memory import MemoryReader
        >>> list_lengths(MemoryReader(pa.table({"input_ids": [[5, 6], None, []]})), ["input_ids"])
        {'input_ids': array([ 2, -1,  0])}
    """
    if isinstance(reader, CountsListValues):
        return reader.list_lengths(columns)
    return list_lengths_of_batches(reader, columns)


def list_lengths_of_batches(reader: Reader, columns: Sequence[str]) -> dict[str, NDArray[np.int64]]:
    """Count the values of each list of some columns, which are read batch by batch; see `list_lengths`."""
    if not columns:
        return {}
    parts: dict[str, list[NDArray[np.int64]]] = {name: [np.empty(0, np.int64)] for name in columns}
    for batch in reader.batches(columns, _ROWS):
        for name in columns:
            found = fill_null(pc.list_value_length(batch.column(name)), -1)
            parts[name].append(to_numpy(found).astype(np.int64))
    return {name: np.concatenate(found) for name, found in parts.items()}
