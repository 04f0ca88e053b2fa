"""Count the sequences that are longer than a pack, for the error that stops planning.

The core stops at the first such sequence. Whoever decides what to do about it needs to know how many there are and how
long they get, so the lengths are read once more after the failure. What that needs is imported only then, because
`import packsort` imports this module.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, get_args

from packsort._options.choices import Overlong
from packsort._options.plan import PlanConfig
from packsort.errors import LengthError

if TYPE_CHECKING:
    import pyarrow as pa
    from numpy.typing import NDArray

WAYS: tuple[str, ...] = tuple(way for way in get_args(Overlong) if way != "error")
"""Values of `overlong` that plan what is too long."""


@dataclass(frozen=True)
class OverlongSequences:
    """Sequences that are longer than a pack.

    Attributes:
        count: Number of them.
        sequences: Number of all sequences.
        row: Row of the longest, the first of several.
        length: Its tokens.
        limit: Most tokens of a sequence.
        multiple: Every sequence occupies a multiple of this many tokens.
        max_length: Most tokens of a pack.
    """

    count: int
    sequences: int
    row: int
    length: int
    limit: int
    multiple: int
    max_length: int

    def describe(self, where: Callable[[int], str], noun: str = "sequence") -> str:
        """Say how many there are and how long they get.

        Args:
            where: Names a row for the message.
            noun: What the rows are, in the singular.

        Example:
            >>> OverlongSequences(2, 400, 7, 32_582, 4096, 1, 4096).describe("row {}".format, "conversation")
            '2 of 400 conversations (0.5 %) are longer than 4,096 tokens; the longest has 32,582 (row 7)'
        """
        one = self.count == 1
        limit = f"{self.limit:,} tokens"
        if self.limit != self.max_length:
            limit += f", the largest multiple of {self.multiple:,} within max_length {self.max_length:,}"
        return (
            f"{self.count:,} of {self.sequences:,} {noun}{'' if self.sequences == 1 else 's'} ({self._percent()}) "
            f"{'is' if one else 'are'} longer than {limit}; {'it' if one else 'the longest'} has {self.length:,} "
            f"({where(self.row)})"
        )

    def _percent(self) -> str:
        """Write the share so that it is neither 0 nor, unless it is all, 100 percent."""
        share = 100 * self.count / self.sequences
        if self.count < self.sequences:
            share = min(share, 99.9)
        return f"{share:.1g} %" if share < 0.1 else f"{share:.1f} %".replace(".0 %", " %")


class OverlongError(LengthError):
    """Failure of planning because of sequences that are too long, before a caller has put it into words.

    Args:
        found: The sequences.
    """

    def __init__(self, found: OverlongSequences) -> None:
        super().__init__(found.describe(lambda row: f"sequence {row}"), found.row, found.length)
        self.found = found

    def worded(
        self, where: Callable[[int], str], noun: str = "sequence", ways: Sequence[str] = WAYS, more: str = ""
    ) -> LengthError:
        """Return the error as a user sees it.

        Args:
            where: Names a row for the message.
            noun: What the rows are, in the singular.
            ways: Values of `overlong` that the caller takes.
            more: What to say after them.
        """
        *others, last = map(repr, ways)
        choices = f"{', '.join(others)} or {last}" if others else last
        text = f"{self.found.describe(where, noun)}: pass overlong={choices}{more}"
        return LengthError(text, self.found.row, self.found.length)


def find_overlong(lengths: NDArray[Any] | pa.ChunkedArray, config: PlanConfig, error: LengthError) -> LengthError:
    """Count the sequences that are too long, after planning has failed.

    Args:
        lengths: Tokens of each sequence, from `as_lengths`, (n,).
        config: Options of the plan, without names of columns.
        error: The failure.

    Returns:
        An `OverlongError`, or `error` itself if the failure is another one.
    """
    multiple = config.pad_to_multiple_of
    limit = config.max_length // multiple * multiple
    if config.piece_starts is not None:  # a long sequence is no fault if its pieces are short
        return error
    if config.overlong != "error" or config.strategy == "random" or error.length is None or error.length <= limit:
        return error
    import numpy as np

    from packsort.planning.constraints import as_flags

    if isinstance(lengths, np.ndarray):
        values = lengths
    else:
        from packsort._arrow import to_numpy

        values = to_numpy(lengths)
    too_long = values > limit
    if config.splittable is not None:
        too_long &= ~as_flags("splittable", config.splittable, len(values))
    row = int(np.argmax(np.where(too_long, values, 0)))
    if not too_long[row]:  # another thread has changed the lengths
        return error
    count, sequences, length = int(too_long.sum()), len(values), int(values[row])
    return OverlongError(OverlongSequences(count, sequences, row, length, limit, multiple, config.max_length))
