"""Columns that are not packed as they are, and their use."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class ColumnUses:
    """Columns that are not packed as they are, and their use.

    Attributes:
        masks: Masks that were applied: `attention_mask`, and those that became labels.
        unknown_masks: Columns that are called masks and are packed as they are: they change no labels.
        uneven: List columns that are left out because they have no value for each token, each with the number of rows
            where their number of values differs.
        padding: Tokens of padding left out of each row: int64 (rows,); None where there are none.
        nested: Columns of lists of lists of numbers that are left out: a token has one value in each column.
    """

    masks: tuple[str, ...] = ()
    unknown_masks: tuple[str, ...] = ()
    uneven: Mapping[str, int] = field(default_factory=dict)
    padding: NDArray[np.int64] | None = None
    nested: tuple[str, ...] = ()

    def in_words(self) -> list[str]:
        """Say what a user may not expect, one sentence each."""
        padded, tokens = (0, 0) if self.padding is None else (int((self.padding > 0).sum()), int(self.padding.sum()))
        nested = [f"column `{name}` is left out: it holds lists of lists of numbers" for name in self.nested]
        return describe_uses(padded, tokens, self.uneven, self.unknown_masks) + nested


def describe_uses(padded: int, padding: int, uneven: Mapping[str, int], unknown_masks: Sequence[str]) -> list[str]:
    """Say what a user may not expect, one sentence each.

    Args:
        padded: Rows whose padding is left out.
        padding: Tokens of that padding.
        uneven: As in `ColumnUses`.
        unknown_masks: As in `ColumnUses`.

    Example:
        >>> describe_uses(2, 1200, {"turn_lengths": 40}, [])
        ['1,200 tokens of padding, where `attention_mask` is 0, are left out of 2 rows',
         'column `turn_lengths` is left out: in 40 rows it does not have one value for each token']
    """
    said = []
    if padded:
        rows = "1 row" if padded == 1 else f"{padded:,} rows"
        verb = (
            "token of padding, where `attention_mask` is 0, is"
            if padding == 1
            else ("tokens of padding, where `attention_mask` is 0, are")
        )
        said.append(f"{padding:,} {verb} left out of {rows}")
    for name, rows_uneven in uneven.items():
        rows = "1 row" if rows_uneven == 1 else f"{rows_uneven:,} rows"
        said.append(f"column `{name}` is left out: in {rows} it does not have one value for each token")
    said += [f"column `{name}` is packed as it is: only `labels` decide the loss" for name in unknown_masks]
    return said
