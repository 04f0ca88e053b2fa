"""Limits of a chat template: the seconds of one rendering, and the size of what it makes.

A chat template is a program that comes with data. Its loops, and the operators, filters and methods whose result can be
much larger than what they are given, ask here first; see `bounded`. Two environment variables raise the limits.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterable, Iterator
from typing import Any

from packsort import _checks
from packsort.errors import OptionError, PacksortError, SourceError, TokenizerError
from packsort.tokenization.messages import RowError

SECONDS = "PACKSORT_TEMPLATE_SECONDS"
"""Environment variable: the most seconds that a template may take to render one conversation."""

SIZE = "PACKSORT_TEMPLATE_SIZE"
"""Environment variable: the most characters of a text in a template, and the most steps of its loops."""

_DEFAULTS = {SECONDS: "30", SIZE: "100000000"}
_SHARE = 10  # the clock of a rendering starts after this part of its seconds
_FEW = 64  # items of a loop between two looks at the clock
_ITEM = 10  # a list takes the memory of so many characters for each item
_BIT = 100  # a power takes the time of so many characters for each bit
_DIGITS = re.compile(r"\d{4,}")


class TemplateLimitError(TokenizerError):
    """A chat template exceeds a limit; the message does not name the row."""


def of_row(error: RowError | TemplateLimitError, where: str) -> PacksortError:
    """Return the error of a row for a fault that does not name it.

    Args:
        error: The fault.
        where: The row, in words.
    """
    kind = TokenizerError if isinstance(error, TemplateLimitError) else SourceError
    found = kind(f"{where}: {error}")
    found.__cause__ = error.__cause__
    return found


class Limits:
    """Time and steps left to one rendering of a template.

    Attributes:
        seconds: The most seconds of processor time.
        size: The most characters of a text, and the most steps. A tenth of it is the most items of a list, and a
            hundredth the most bits of a number.

    Raises:
        OptionError: An environment variable holds no number.
    """

    def __init__(self) -> None:
        self.seconds = _number(SECONDS)
        self.size = int(_number(SIZE))
        self.start()

    def start(self) -> None:
        """Begin a rendering."""
        self._steps = 0
        self._since: float | None = None
        self._next = time.monotonic() + self.seconds / _SHARE

    def check_time(self) -> None:
        """Refuse to go on after too long.

        Raises:
            TemplateLimitError: The time is used up.
        """
        if time.monotonic() < self._next:
            return
        # A process that was stopped, or shares its processor, has taken less of it than the clock says. To ask for that
        # takes as long as a short rendering, so it is asked for from here on only.
        now = time.thread_time()
        self._since = now if self._since is None else self._since
        left = self.seconds - (now - self._since)
        if left <= 0:
            raise TemplateLimitError(
                f"the chat template takes more than {self.seconds:g} seconds for a conversation: set {SECONDS} to a "
                "larger number if you trust it"
            )
        self._next = time.monotonic() + left

    def check_size(self, size: int) -> None:
        """Refuse a text that is too large, before it is made where this can be.

        Raises:
            TemplateLimitError: It is.
        """
        if size > self.size:
            raise self._too_large(f"a text of more than {self.size:,} characters")

    def check_items(self, number: int) -> None:
        """Refuse a list that is too long."""
        if number * _ITEM > self.size:
            raise self._too_large(f"a list of more than {self.size // _ITEM:,} items")

    def check_bits(self, bits: int) -> None:
        """Refuse an integer that is too large."""
        if bits * _BIT > self.size:
            raise self._too_large(f"a number of more than {self.size // _BIT:,} bits")

    def _too_large(self, what: str) -> TemplateLimitError:
        return TemplateLimitError(f"the chat template makes {what}: set {SIZE} to a larger number if you trust it")

    def check_widths(self, form: Any, given: Iterable[Any]) -> None:
        """Refuse a format that asks for too large a width.

        Args:
            form: The format, as `%` or `str.format` takes it.
            given: What it is given. Integers may be widths.
        """
        text = form.decode("latin-1") if isinstance(form, bytes) else str(form)
        widths = [int(found[:20]) for found in _DIGITS.findall(text)]
        if "*" in text or re.search(r"\{[^{}]*\{", text):
            widths += [value for value in given if isinstance(value, int)]
        self.check_size(sum(map(abs, widths)))
        self.check_size(len(text) + text.count("%") * _longest(given) + text.count("{") * _longest(given))

    def steps(self, items: Any) -> Any:
        """Return the items of a loop, counted; they are items as those that were given.

        Raises:
            TemplateLimitError: The template has taken too many steps, or too long.
        """
        if isinstance(items, (list, tuple, dict, str)) and len(items) <= _FEW:
            self._step(len(items))
            return items
        return self._counted(items)

    def _counted(self, items: Iterable[Any]) -> Iterator[Any]:
        for item in items:
            self._step(1)
            yield item

    def _step(self, number: int) -> None:
        self._steps += number
        if self._steps > self.size:
            raise TemplateLimitError(
                f"the chat template takes more than {self.size:,} steps for a conversation: set {SIZE} to a larger "
                "number if you trust it"
            )
        self.check_time()


def _longest(values: Iterable[Any]) -> int:
    return max((len(value) for value in values if isinstance(value, (str, bytes, list, tuple, dict))), default=0)


def _number(name: str) -> float:
    """Return the number that an environment variable holds, or its default."""
    text = os.environ.get(name) or _DEFAULTS[name]
    try:
        found = float(text)
    except ValueError:
        raise OptionError(f"{name} must be a number, got {text!r}") from None
    return _checks.number(name, found, 0)
