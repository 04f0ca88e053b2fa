"""Columns of text as numbers, read batch by batch: text may be long, and the same text may be in many rows."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pyarrow import types

from packsort._arrow import is_text, to_numpy
from packsort.sources.source import Source

_ROWS = 1 << 16
_ROWS_OF_TEXT = 1000


class TextCodes:
    """Numbers of texts, in the order in which they first appear.

    Attributes:
        texts: The texts so far, by number.

    Example:
        >>> codes = TextCodes()
        >>> codes.of(pa.array(["code", "math"])), codes.of(pa.array(["math", "chat"])), list(codes.texts)
        (array([0, 1]), array([1, 2]), ['code', 'math', 'chat'])
    """

    def __init__(self) -> None:
        self.texts: dict[str, int] = {}

    def of(self, column: pa.Array) -> NDArray[np.int64]:
        """Return the number of each text: int64 (rows,).

        Args:
            column: Text without nulls: (rows,).
        """
        encoded = pc.dictionary_encode(column)
        known: list[Any] = encoded.dictionary.to_pylist()
        numbers = np.array([self.texts.setdefault(text, len(self.texts)) for text in known], np.int64)
        found: NDArray[np.int64] = numbers[to_numpy(encoded.indices)]
        return found


def column_batches(source: Source, name: str) -> Iterator[pa.Array]:
    """Yield the values of one column batch by batch; of categories, what they stand for.

    Args:
        source: The rows.
        name: The column.

    Raises:
        SourceError: As for `Source.batches`.
    """
    rows = _ROWS_OF_TEXT if is_text(source.schema.field(name).type) else _ROWS
    for _, _, batch in source.batches([name], rows):
        column = batch.column(0)
        # Categories may be in another order, unused, or null.
        yield column.cast(column.type.value_type) if types.is_dictionary(column.type) else column
