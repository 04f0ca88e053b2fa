"""Folders that cannot be replaced in one step: they are refused before any work is done."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from packsort._atomic.steps import output_errors
from packsort._paths import printable
from packsort.errors import OutputError


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
    with suppress(OSError):
        here = Path(os.path.realpath(os.getcwd()))
        if path == here or path in here.parents:
            raise OutputError(f"cannot replace `{printable(out)}`: the working folder is in it; {inside}")
    if not os.access(path.parent, os.W_OK | os.X_OK):
        with output_errors(path.parent):
            raise OutputError(
                f"cannot write `{printable(path.parent)}`, and `{printable(out)}` is written beside its place: {inside}"
            )


def _is_bind_mount(path: Path) -> bool:
    """Return whether something is mounted there from the same file system, which `os.path.ismount` cannot see."""
    try:
        lines = Path("/proc/self/mountinfo").read_bytes().splitlines()
    except OSError:
        return False
    name = os.fsencode(path).replace(b"\\", b"\\134").replace(b" ", b"\\040").replace(b"\t", b"\\011")
    return any(line.split(b" ")[4:5] == [name] for line in lines)
