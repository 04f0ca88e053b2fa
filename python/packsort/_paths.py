"""Paths in messages and for pyarrow."""

from __future__ import annotations

import os

from packsort.errors import PacksortError


def printable(path: str | os.PathLike[str]) -> str:
    r"""Return a path as text that can be printed: control characters, and bytes that are not UTF-8, are escaped.

    Args:
        path: The path.

    Example:
        >>> printable("a\nb")
        'a\\nb'
    """
    text = os.fsencode(path).decode("utf-8", "backslashreplace")
    return "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in text)


def not_a_uri(path: str | os.PathLike[str]) -> str:
    """Return a path that pyarrow opens as a file, whereas it may take `s3:a.parquet` for a URI.

    Args:
        path: The path.

    Example:
        >>> not_a_uri("s3:a.parquet").replace(os.sep, "/")
        './s3:a.parquet'
    """
    return os.path.join(os.curdir, path)


def refuse_undecodable(path: str | os.PathLike[str], error: type[PacksortError]) -> None:
    """Refuse a path whose bytes are not UTF-8.

    pyarrow does not open such a file, and neither messages nor a manifest can hold its name.

    Args:
        path: The path.
        error: Class of the error.

    Raises:
        PacksortError: The path is not UTF-8.
    """
    try:
        os.fspath(path).encode()
    except UnicodeEncodeError:
        raise error(f"the name of `{printable(path)}` is not UTF-8: rename it, or pass a link to it") from None
