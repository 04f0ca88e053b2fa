"""Refuse files of a packed directory that are links out of it."""

from __future__ import annotations

from pathlib import Path

from packsort._stores import StorePath
from packsort.errors import DamagedError

_SNAPSHOTS, _BLOBS = "snapshots", "blobs"


def refuse_outside(path: Path | StorePath, folder: Path | StorePath) -> None:
    """Refuse a file that is a link to another folder.

    The packed directory itself may be a link. The cache of the Hugging Face Hub keeps the files of a repository in its
    folder `blobs`, and links to them from `snapshots/REVISION`; these links are followed.

    Args:
        path: The file, which exists.
        folder: The packed directory.

    Raises:
        DamagedError: The file is elsewhere.
    """
    if isinstance(path, StorePath) or isinstance(folder, StorePath) or not path.is_symlink():
        return
    try:
        target, home = path.resolve(strict=True), folder.resolve(strict=True)
    except (OSError, RuntimeError):  # RuntimeError: a loop, before Python 3.13
        raise DamagedError(f"`{path}` is a link to no file: restore it from a copy, or pack again") from None
    allowed = {home, *(parent.parent / _BLOBS for parent in home.parents if parent.name == _SNAPSHOTS)}
    if target.parent not in allowed:
        raise DamagedError(
            f"`{path}` is a link out of the packed directory, to `{target}`: copy the file into the directory"
        )
