"""Stretches of rows that are packed together, so that packs that are read together need few row groups.

A plan of all rows puts sequences from anywhere into a pack. Gathered from Parquet, an epoch would decode nearly every
row group again for each batch. The packs of an index are therefore planned within stretches of neighbouring row groups,
each about as large as a shard. A stretch is a group of the plan, and its packs become one shard: a loader shuffles the
stretches, and the packs within each, and reads every row group once for an epoch.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from packsort.planning.constraints import as_codes
from packsort.sources.tokens.block_table import block_bytes
from packsort.sources.tokens.survey import TokenSurvey


class Stretches(NamedTuple):
    """Stretches of rows.

    Attributes:
        ends: End of each stretch: int64 (stretches,).
        most_bytes: Most memory that the row groups of one take once they are decoded; 0 where all files are mapped.
    """

    ends: NDArray[np.int64]
    most_bytes: int

    @property
    def divide(self) -> bool:
        """Whether there is more than one stretch."""
        return len(self.ends) > 1

    def of_rows(self, rows: NDArray[Any]) -> NDArray[np.int64]:
        """Return the number of the stretch of each row: int64 (rows,)."""
        return np.searchsorted(self.ends, rows, side="right").astype(np.int64)

    def groups(self, groups: Any, rows: int) -> NDArray[np.int64]:
        """Return groups that keep stretches apart, and the user's groups within each: int64 (rows,).

        Args:
            groups: The user's groups, (rows,), or None.
            rows: Number of rows.
        """
        own = self.of_rows(np.arange(rows, dtype=np.int64))
        if groups is None:
            return own
        codes = as_codes(groups, rows).astype(np.int64)
        return own * (int(codes.max(initial=0)) + 1) + codes


def find_stretches(survey: TokenSurvey, shard_size: int) -> Stretches:
    """Divide rows into stretches of whole row groups.

    Args:
        survey: The rows.
        shard_size: Bytes of a stretch, approximately: one row group at least.

    Returns:
        One stretch where all files are mapped.
    """
    source = survey.source
    lengths = survey.lengths if survey.uses.padding is None else survey.lengths + survey.uses.padding
    ends: list[int] = []
    first = size = most = 0
    for index in range(len(source.files)):
        blocks = source.blocks(index)
        for count in blocks.rows:
            own = block_bytes(survey.stored, lengths[first : first + count]) if blocks.decoded else 0
            if size and size + own > shard_size:
                ends.append(first)
                size = 0
            size += own
            most = max(most, size)
            first += count
    return Stretches(np.array([*ends, first], np.int64), most)
