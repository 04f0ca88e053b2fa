"""Distance between the order of packs and the order of the input."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def displacement(rows: NDArray[Any], starts: NDArray[Any] | None, num_rows: int) -> tuple[int, float]:
    """Return the most and the mean places between where pieces stand in packs and where they stand in the input.

    Args:
        rows: Row of each piece, pack after pack, (pieces,).
        starts: First token of each piece in its row, (pieces,); None where each row has one piece.
        num_rows: Number of rows.

    Example:
        >>> displacement(np.array([0, 2, 1, 5]), None, 6)
        (1, 0.5)
    """
    if not len(rows):
        return 0, 0.0
    places = np.empty(len(rows), np.int64)  # of the pieces in the input
    if starts is None:
        there = np.zeros(num_rows, np.int64)
        there[rows] = 1
        places[:] = there.cumsum()[rows] - 1
    else:
        places[np.lexsort((starts, rows))] = np.arange(len(rows))
    moved = np.abs(places - np.arange(len(rows)))
    return int(moved.max()), float(moved.mean())
