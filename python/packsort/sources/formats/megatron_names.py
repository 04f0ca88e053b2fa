"""Names of Megatron's pairs of an `.idx` and a `.bin` file, and which file of a folder belongs to which.

Other programs use both suffixes, so only the first bytes of an `.idx` file tell.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from packsort.errors import SourceError, SourceNotFoundError
from packsort.sources.formats.suffixes import INDEX_SUFFIX

MAGIC = b"MMIDIDX\x00\x00"
"""First bytes of an index."""

_TOKENS_SUFFIX = ".bin"


def index_of(path: Path) -> Path | None:
    """Return the index that a path means: an `.idx` file, that of a `.bin` file, or that of the beginning of both.

    Args:
        path: The path.

    Returns:
        Path of the index, or None if there is none.

    Raises:
        SourceNotFoundError: The path is the beginning of the name of a `.bin` file without an index.
    """
    name = str(path)
    if name.endswith((INDEX_SUFFIX, _TOKENS_SUFFIX)):
        index = Path(name[: -len(INDEX_SUFFIX)] + INDEX_SUFFIX)
        return index if _is_index(index) else None
    index = Path(name + INDEX_SUFFIX)
    if _is_index(index):
        return index
    if os.path.isfile(name + _TOKENS_SUFFIX) and not index.exists() and not path.exists():
        raise SourceNotFoundError(f"no file `{index}`, the index of the tokens in `{name}{_TOKENS_SUFFIX}`")
    return None


def tokens_of(index: str) -> str:
    """Return the path of the tokens of an index."""
    return index[: -len(INDEX_SUFFIX)] + _TOKENS_SUFFIX


def has_index(path: Path) -> bool:
    """Return whether a file holds the tokens of an index beside it."""
    return path.suffix == _TOKENS_SUFFIX and index_of(path) is not None


def is_other_index(path: Path) -> bool:
    """Return whether a file is the index of another program."""
    return path.suffix.lower() == INDEX_SUFFIX and path.is_file() and not _is_index(path)


def refuse_no_tokens(tokens: str, index: str) -> None:
    """Refuse tokens that are missing, or that are a folder or a pipe, which would wait for ever.

    Args:
        tokens: The `.bin` file.
        index: Its index.

    Raises:
        SourceNotFoundError: There is no such file.
        SourceError: It is no file, or may not be looked at.
    """
    try:
        mode = os.stat(tokens).st_mode
    except FileNotFoundError as error:
        raise SourceNotFoundError(f"no file `{tokens}`, which holds the tokens of `{index}`") from error
    except OSError as error:
        raise SourceError(f"`{tokens}` cannot be read: {error.strerror}") from error
    if not stat.S_ISREG(mode):
        raise SourceError(f"`{tokens}` must be a file with the tokens of `{index}`, got a folder, a pipe or a device")


def _is_index(path: Path) -> bool:
    """Return whether a file is an index, or the beginning of one, or may not be read, which opening it will tell."""
    if not path.is_file():
        return False
    try:
        with path.open("rb") as file:
            return MAGIC.startswith(file.read(len(MAGIC)))
    except OSError:
        return True
