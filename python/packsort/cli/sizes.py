"""Numbers of tokens as people write them, such as 8k."""

from __future__ import annotations

import argparse
import re

_TOKENS = re.compile(r"(\d+(?:\.\d+)?)([km])", re.IGNORECASE)
_POWERS = {"k": 1, "m": 2}


def tokens(text: str) -> int:
    """Return a number of tokens; `8k` is 8192, because context lengths are powers of two.

    Raises:
        argparse.ArgumentTypeError: It is no such number.

    Example:
        >>> tokens("4096"), tokens("8k"), tokens("1.5K")
        (4096, 8192, 1536)
    """
    try:
        match = _TOKENS.fullmatch(text.strip())
        if match is None:
            return int(text)
        number = float(match[1]) * 1024 ** _POWERS[match[2].lower()]
        if not number.is_integer():
            raise ValueError
        return int(number)
    except ValueError:
        raise argparse.ArgumentTypeError(f"must be a number of tokens, such as 8192 or 8k, got {text!r}") from None
