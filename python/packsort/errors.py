"""What packsort raises. Everything derives from `PacksortError`, and from a built-in where one says it."""

from __future__ import annotations


class PacksortError(Exception):
    """Base of every error that packsort raises on purpose."""


class OptionError(PacksortError, ValueError):
    """An option has a value that is not allowed, or two options contradict each other."""


class LengthError(PacksortError, ValueError):
    """A length cannot be planned: null, zero, negative or over `max_length`.

    Attributes:
        row: index of the length in the whole input, chunks run on; None where no single row is to blame.
        length: the value found; None for a null.
    """

    def __init__(self, message: str, row: int | None = None, length: int | None = None) -> None:
        super().__init__(message, row, length)
        self.row = row
        self.length = length

    def __str__(self) -> str:
        return str(self.args[0])


class LengthTypeError(LengthError, TypeError):
    """Lengths are not integers: floats, strings, lists, or a table of several columns."""


class SourceError(PacksortError, ValueError):
    """A source cannot be read or used; the message names file, column, row and value where there are such."""


class SourceNotFoundError(SourceError, FileNotFoundError):
    """No file is where the source says."""


class TokenizerError(PacksortError, ValueError):
    """A tokenizer cannot be loaded, or cannot do what was asked of it."""


class OutputError(PacksortError, OSError):
    """Output cannot be written: no space, no permission."""


class OutputExistsError(OutputError, FileExistsError):
    """The output is already there and may not be overwritten."""


class DamagedError(PacksortError):
    """A packed directory or a saved plan is unfinished, changed or damaged."""
