"""Warnings of what a caller may not expect, at the line of the caller."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterable

_PACKAGE = __name__.partition(".")[0]


def warn(messages: Iterable[str]) -> None:
    """Issue warnings that point to the first line outside packsort.

    Args:
        messages: One warning each.
    """
    depth = 1
    frame = sys._getframe(1)
    while frame.f_back is not None and frame.f_globals.get("__name__", "").partition(".")[0] == _PACKAGE:
        frame, depth = frame.f_back, depth + 1
    for message in messages:
        warnings.warn(message, UserWarning, stacklevel=depth + 1)
