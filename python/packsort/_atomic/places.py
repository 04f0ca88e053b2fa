"""Folders that must not or cannot be replaced: they are refused before any work is done."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from packsort._atomic.runs import RUN_FILE
from packsort._atomic.steps import output_error, output_errors
from packsort._paths import printable
from packsort.errors import OutputError, OutputExistsError

OwnFiles = Callable[[Path], set[str]]
"""Tells which entries of a folder packsort wrote there, by name: these may be replaced."""


def check_place(out: Path, path: Path) -> None:
    """Check that a folder can be replaced by one that is written beside it.

    Args:
        out: The folder as the caller named it; it need not exist.
        path: Its real path.

    Raises:
        OutputError: It is a mount point (such as a volume of a container), the root, the working folder or above it, or
            the folder above it cannot be written.
    """
    if not path.is_dir():
        return
    inside = f"choose a folder inside it, such as `{printable(out / 'packed')}`"
    if path.parent == path or os.path.ismount(path) or _is_bind_mount(path):
        raise OutputError(f"cannot replace `{printable(out)}`: it is a mount point; {inside}")
    here = Path(os.path.realpath(os.curdir))
    if path == here or path in here.parents:
        raise OutputError(f"cannot replace `{printable(out)}`: the working folder is in it; {inside}")
    if not os.access(path.parent, os.W_OK | os.X_OK):
        with output_errors(path.parent):
            raise OutputError(
                f"cannot write `{printable(path.parent)}`, and `{printable(out)}` is written beside its place: {inside}"
            )


def check_folder(folder: Path, *, overwrite: bool, own: OwnFiles) -> set[str]:
    """Check that a folder may be written, which need not exist.

    Args:
        folder: The folder.
        overwrite: Whether files may be replaced.
        own: Tells which files may.

    Returns:
        Names of the files that it holds.

    Raises:
        OutputError: The folder is a file, or holds files that packsort did not write.
        OutputExistsError: The folder is not empty, and `overwrite` is False.
    """
    if not folder.exists():
        return set()
    if not folder.is_dir():
        raise OutputError(f"cannot write folder `{printable(folder)}`: it is a file")
    try:
        names = {path.name for path in folder.iterdir()} - {RUN_FILE}
        others = sorted(names - own(folder)) if names else []
    except OSError as error:
        raise output_error(folder, error) from error
    if others:
        found = f"`{printable(others[0])}`, which packsort did not write"
        if len(others) > 1:
            found = f"{len(others):,} files that packsort did not write, such as `{printable(others[0])}`"
        raise OutputError(
            f"folder `{printable(folder)}` holds {found}: it is replaced as a whole, so choose another folder, or move "
            f"{'it' if len(others) == 1 else 'them'} away"
        )
    if names and not overwrite:
        raise OutputExistsError(
            f"folder `{printable(folder)}` is not empty; pass overwrite=True to replace what packsort wrote there"
        )
    return names | {RUN_FILE}


def _is_bind_mount(path: Path) -> bool:
    """Return whether something is mounted there from the same file system, which `os.path.ismount` cannot see."""
    try:
        lines = Path("/proc/self/mountinfo").read_bytes().splitlines()
    except OSError:
        return False
    name = os.fsencode(path).replace(b"\\", b"\\134").replace(b" ", b"\\040").replace(b"\t", b"\\011")
    return any(line.split(b" ")[4:5] == [name] for line in lines)
