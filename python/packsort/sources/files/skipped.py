"""Reasons for skipping a file, as identifiers, and their counts."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from packsort._record import Record


class SkipReason(StrEnum):
    """Reason for which a file or folder inside a source is not read."""

    HIDDEN = "hidden"
    """Its name starts with a dot."""
    TEMPORARY = "temporary"
    """Its name starts with an underscore, as `_SUCCESS` and `_temporary` do, or is that of an unfinished file."""
    CACHE = "cache"
    """`datasets` keeps the result of a `map`, `filter` or `shuffle` in it, beside the data."""
    CHECKPOINT = "checkpoint"
    """It belongs to a checkpoint of a training run or of a notebook."""
    PACKED = "packed"
    """It is a packed directory."""
    REPEATED = "repeated"
    """It is a link to a file or folder that is read already."""
    LOOP = "loop"
    """It is a link to a folder that contains it."""
    SPLIT = "split"
    """It belongs to a split that was not asked for."""
    UNDECLARED = "undeclared"
    """The `README.md` of the data set declares its files, and leaves it out."""
    UNREADABLE = "unreadable"
    """It is damaged or may not be read, and `on_error="skip"` leaves such files out."""
    OTHER = "other"
    """It is not taken for data: its name has no suffix of a data file, or is that of a description of the data."""


_WORDS = {
    SkipReason.HIDDEN: "hidden",
    SkipReason.TEMPORARY: "temporary",
    SkipReason.CACHE: "cached by datasets",
    SkipReason.CHECKPOINT: "of checkpoints",
    SkipReason.PACKED: "packed already",
    SkipReason.REPEATED: "linked to what is read already",
    SkipReason.LOOP: "linked to a folder that contains it",
    SkipReason.SPLIT: "of other splits",
    SkipReason.UNDECLARED: "left out by README.md",
    SkipReason.UNREADABLE: "that cannot be read",
    SkipReason.OTHER: "of other kinds",
}


@dataclass(frozen=True)
class SkippedFile:
    """File or folder inside a source that is not read.

    Attributes:
        path: The file, or the folder with a slash at the end.
        reason: Reason for which it is skipped.
    """

    path: str
    reason: SkipReason


@dataclass(frozen=True, eq=False)
class Skipped(Record):
    """Files and folders that were skipped for one reason; `str` renders them in words.

    Attributes:
        reason: The reason, one of `SkipReason`, or that of a later version.
        count: Number of files and folders. A skipped folder counts once.
        example: The first of them.

    Example:
        >>> print(Skipped(reason="hidden", count=2, example="data/.git/"))
        2 hidden, such as `data/.git/`
    """

    reason: str
    count: int
    example: str

    def __str__(self) -> str:
        words = _WORDS[SkipReason(self.reason)] if self.reason in set(SkipReason) else self.reason
        return f"{self.count:,} {words}{', such as' if self.count > 1 else ':'} `{self.example}`"


def count_skipped(files: Iterable[SkippedFile]) -> tuple[Skipped, ...]:
    """Count skipped files by reason.

    Args:
        files: The files.

    Returns:
        One element for each reason that occurs, in the order of `SkipReason`.

    Example:
        >>> files = [SkippedFile("a/_SUCCESS", SkipReason.TEMPORARY), SkippedFile("a/.b", SkipReason.HIDDEN)]
        >>> [(one.reason, one.count) for one in count_skipped(files)]
        [('hidden', 1), ('temporary', 1)]
    """
    paths: dict[SkipReason, list[str]] = {reason: [] for reason in SkipReason}
    for file in files:
        paths[file.reason].append(file.path)
    return tuple(
        Skipped(reason=reason.value, count=len(found), example=found[0]) for reason, found in paths.items() if found
    )
