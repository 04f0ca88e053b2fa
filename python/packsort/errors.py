"""Exceptions of packsort. All derive from `PacksortError`, and from a built-in exception where one fits.

Example:
    >>> import packsort
    >>> try:
    ...     packsort.plan([700, 3000], 1024)
    ... except packsort.LengthError as error:
    ...     error.row, error.length
    (1, 3000)
"""

from __future__ import annotations

__all__ = [
    "DamagedError",
    "InternalError",
    "IsolationError",
    "LengthError",
    "LengthTypeError",
    "OptionError",
    "OutputError",
    "OutputExistsError",
    "PacksortError",
    "SourceError",
    "SourceNotFoundError",
    "TokenizerError",
]


class PacksortError(Exception):
    """Base class of the exceptions that packsort raises on purpose."""


class OptionError(PacksortError, ValueError):
    """An option has a value that is not allowed, or two options contradict each other."""


class LengthError(PacksortError, ValueError):
    """A length cannot be planned: it is null, below 1, or over `max_length`.

    Attributes:
        row: Index of the length in the input, counted over all chunks; None if no single length is to blame. Of several
            lengths over `max_length`, the longest.
        length: The length; None for a null.
    """

    def __init__(self, message: str, row: int | None = None, length: int | None = None) -> None:
        super().__init__(message, row, length)
        self.row = row
        self.length = length

    def __str__(self) -> str:
        return str(self.args[0])


class LengthTypeError(LengthError, TypeError):
    """Lengths are not integers, but floats, strings, lists, or a table of several columns."""


class SourceError(PacksortError, ValueError):
    """A source cannot be read or used; the message names file, column, row and value where they are known."""


class SourceNotFoundError(SourceError, FileNotFoundError):
    """A source, a saved plan or a packed directory does not exist."""


class TokenizerError(PacksortError, ValueError):
    """A tokenizer cannot be loaded, or lacks something that the rows need."""


class OutputError(PacksortError, OSError):
    """Output cannot be written: no space, no permission, no such folder. `errno` is that of the system, or None."""

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), self.args, self.__dict__ | {"errno": self.errno}  # `OSError` leaves it out of a pickle


class OutputExistsError(OutputError, FileExistsError):
    """The output exists, and `overwrite` is False."""


class IsolationError(PacksortError, RuntimeError):
    """A run would not train on its packs as they are: sequences see each other, packs are cut, or labels are lost."""


class InternalError(PacksortError, RuntimeError):
    """The core met a state that it does not expect: a defect of packsort. The message has what a report needs."""


class DamagedError(PacksortError):
    """A packed directory or a saved plan is unfinished, changed or damaged."""


def __dir__() -> list[str]:
    return __all__
