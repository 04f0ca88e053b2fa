"""Histograms of integers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Histogram:
    """Counts of numbers by size.

    Attributes:
        edges: Edges of the bins, ascending.
        counts: `counts[i]` numbers are at least `edges[i]` and below `edges[i + 1]`.
    """

    edges: tuple[float, ...]
    counts: tuple[int, ...]


def count_histogram(numbers: NDArray[np.int64], bins: int = 40) -> Histogram:
    """Count integers in at most `bins` bins of equal width."""
    least, most = int(numbers.min()), int(numbers.max())
    width = -(-(most - least + 1) // bins)
    counts = np.bincount((numbers - least) // width)
    return Histogram(tuple(float(least + i * width) for i in range(len(counts) + 1)), tuple(counts.tolist()))


def length_histogram(lengths: NDArray[np.int64]) -> Histogram:
    """Count lengths in bins that grow by a factor of 2**0.25, because lengths span orders of magnitude."""
    least, most = int(lengths.min()), int(lengths.max())
    powers = np.arange(int(np.floor(4 * np.log2(least))), int(np.ceil(4 * np.log2(most + 1))) + 1)
    edges = np.unique(np.round(2.0 ** (powers / 4)).astype(np.int64))
    edges[0], edges[-1] = min(edges[0], least), max(edges[-1], most + 1)
    if most <= 2**22:
        # Twice as fast as `np.histogram`, which searches the bin of each length.
        below = np.concatenate([np.zeros(1, np.int64), np.cumsum(np.bincount(lengths))])
        counts = np.diff(below[np.minimum(edges, most + 1)])
    else:
        counts = np.histogram(lengths, edges)[0]
    return Histogram(tuple(map(float, edges.tolist())), tuple(counts.tolist()))
