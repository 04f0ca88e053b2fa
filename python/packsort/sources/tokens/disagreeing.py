"""List columns that files disagree about: one file has none, or has another type.

If they have no value for each token, they are about something else and are left out like others of their kind. If they
have, reading them raises, because a column of the training would be missing.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from packsort._arrow import fill_null, to_numpy
from packsort.schema import INPUT_IDS, LABELS
from packsort.sources.source import Source
from packsort.sources.tokens.roles import MASKS, fits


def values_in_rows(column: pa.ChunkedArray) -> NDArray[np.int64]:
    """Return the number of values of a list column in each row, -1 where it is null: int64 (rows,)."""
    return to_numpy(fill_null(pc.list_value_length(column), -1)).astype(np.int64)


def uneven_across_files(source: Source, lists: Sequence[str]) -> dict[str, int]:
    """Find the list columns that files disagree about and that have no value for each token.

    Args:
        source: The rows.
        lists: List columns of numbers, with `input_ids`.

    Returns:
        The columns, each with the number of rows where its number of values differs.
    """
    names = [name for name in lists if not source.agrees(name) and name not in (INPUT_IDS, LABELS, *MASKS)]
    if not names:
        return {}
    files = range(len(source.files))
    lengths = np.concatenate([source.list_lengths(index, [INPUT_IDS])[INPUT_IDS] for index in files])
    found = {name: np.concatenate([source.stored_lengths(index, name) for index in files]) for name in names}
    return {name: int((one != lengths).sum()) for name, one in found.items() if not fits(name, one, lengths)}
