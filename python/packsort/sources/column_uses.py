"""What became of columns that are not packed as they are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from packsort.schema import ATTENTION_MASK


@dataclass(frozen=True)
class ColumnUses:
    """What became of columns that are not packed as they are.

    Attributes:
        masks: Masks that were applied: `attention_mask`, and those that became labels.
        unknown_masks: Columns that are called masks and are packed as they are: they change no labels.
        uneven: List columns that are left out because they have no value for each token, each with the number of rows
            where their number of values differs.
        padding: Tokens of padding left out of each row: int64 (rows,); None where there are none.
    """

    masks: tuple[str, ...] = ()
    unknown_masks: tuple[str, ...] = ()
    uneven: Mapping[str, int] = field(default_factory=dict)
    padding: NDArray[np.int64] | None = None

    def in_words(self) -> list[str]:
        """Say what a user may not expect, one sentence each."""
        said = []
        if self.padding is not None:
            said.append(describe_padding(int((self.padding > 0).sum()), int(self.padding.sum())))
        said += [describe_uneven(name, rows) for name, rows in self.uneven.items()]
        said += [describe_unknown_mask(name) for name in self.unknown_masks]
        return said


def describe_padding(rows: int, tokens: int) -> str:
    """Say how much padding was left out.

    Example:
        >>> describe_padding(2, 1200)
        '1,200 tokens of padding are left out of 2 rows, where `attention_mask` is 0'
    """
    return f"{tokens:,} tokens of padding are left out of {rows:,} rows, where `{ATTENTION_MASK}` is 0"


def describe_uneven(name: str, rows: int) -> str:
    """Say why a list column is left out."""
    return f"column `{name}` is left out: it has not one value for each token (in {rows:,} rows)"


def describe_unknown_mask(name: str) -> str:
    """Say that a mask is packed, and changes nothing."""
    return f"column `{name}` is packed as it is: it changes no labels, which decide the loss"
