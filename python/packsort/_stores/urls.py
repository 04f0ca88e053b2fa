"""Texts that are URLs of an object store, and not paths."""

from __future__ import annotations

import os
import re
from typing import Any

from packsort.errors import OptionError

_URL = re.compile(r"[a-z][a-z0-9+.-]+://", re.IGNORECASE)  # two letters at least: `C://` is a drive
_LOST_SLASH = re.compile(r"(s3a?|gs|gcs|hf|abfss?|az|adl|https?|memory):/[^/]")


def is_url(path: Any) -> bool:
    """Return whether a path is a URL, such as `s3://bucket/rows`.

    Args:
        path: Any source or output.

    Raises:
        OptionError: It is a `pathlib.Path`, which makes one slash of two.

    Example:
        >>> is_url("s3://bucket/rows"), is_url("rows/a.parquet"), is_url("hf:owner/name:train")
        (True, False, False)
    """
    if isinstance(path, str):
        return _URL.match(path) is not None
    text = os.fspath(path) if isinstance(path, os.PathLike) else ""
    if isinstance(text, str) and _LOST_SLASH.match(text) and not os.path.lexists(text):
        scheme, _, rest = text.partition(":/")
        raise OptionError(
            f"a URL must be a str, got a {type(path).__name__}, which has lost a slash: pass '{scheme}://{rest}'"
        )
    return False


def local_path(url: str) -> str | None:
    """Return the path that a URL `file://` names, or None for other URLs.

    Example:
        >>> local_path("file:///data/a%20b.parquet"), local_path("s3://bucket/a.parquet")
        ('/data/a b.parquet', None)
    """
    if not url.lower().startswith(("file://", "local://")):
        return None
    from urllib.parse import unquote, urlsplit  # no local path needs it

    if os.name == "nt":
        from urllib.request import url2pathname

        return url2pathname(urlsplit(url).path)
    return unquote(url.partition("://")[2])
