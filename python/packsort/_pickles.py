"""Errors of objects that are restored from pickles, and of other libraries in words."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from packsort.errors import DamagedError, PacksortError

T = TypeVar("T")


@contextmanager
def restoring(name: str) -> Iterator[None]:
    """Turn errors about the values of a pickle into a `DamagedError`.

    A pickle can run any code, so only trusted ones may be loaded. But one of another version, or one that was damaged,
    must say what it is.

    Args:
        name: Class of the object.

    Raises:
        DamagedError: The values are none that the class pickles.

    Example:
        >>> with restoring("Plan"):
        ...     {}["rows"]
        Traceback (most recent call last):
        packsort.errors.DamagedError: a pickle holds no Plan of this version (KeyError: 'rows'): make it anew
    """
    try:
        yield
    except PacksortError:
        raise
    except (ArithmeticError, AttributeError, LookupError, OSError, TypeError, ValueError) as error:
        raise DamagedError(f"a pickle holds no {name} of this version ({said(error)}): make it anew") from error


def rebuild(kind: type[T], *arguments: Any) -> T:
    """Make an object of the arguments that its `__reduce__` returned.

    Args:
        kind: Its class.
        *arguments: What the class is called with.

    Raises:
        DamagedError: The class does not take them.
    """
    with restoring(kind.__name__):
        return kind(*arguments)


def said(error: Exception) -> str:
    """Return the class and the words of an error, also of one about an integer that Python does not write."""
    try:
        return f"{type(error).__name__}: {error}"
    except ValueError:
        return type(error).__name__
