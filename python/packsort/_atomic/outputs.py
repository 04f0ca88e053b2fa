"""Choice between an output on a disk and one in an object store."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from packsort._atomic.files import OutputFile
from packsort._atomic.folders import OutputFolder
from packsort._atomic.places import OwnFiles
from packsort._atomic.store_file import StoreFile
from packsort._atomic.store_folder import StoreFolder
from packsort._stores import StorePath


def output_file(path: Path | StorePath, *, overwrite: bool = False, parents: bool = False) -> OutputFile | StoreFile:
    """Return the context that writes one file or object; see `OutputFile`."""
    if isinstance(path, StorePath):
        return StoreFile(path, overwrite=overwrite)
    return OutputFile(path, overwrite=overwrite, parents=parents)


def output_folder(
    out: Path | StorePath,
    *,
    overwrite: bool,
    own: OwnFiles,
    names: re.Pattern[str],
    last: str | None = None,
    own_objects: Callable[[bytes], set[str]] | None = None,
) -> OutputFolder | StoreFolder:
    """Return the context that writes a folder of files or objects; see `OutputFolder` and `StoreFolder`.

    Args:
        out: The output.
        overwrite: Whether to replace what packsort wrote there before; in a store without `own_objects`, only what it
            has not finished.
        own: Tells which files of a folder on a disk packsort wrote.
        names: Names that the files may have.
        last: Name of the file that makes the output whole, or None.
        own_objects: Returns the names of all objects of a whole output in a store, told by the content of `last`.
    """
    if isinstance(out, StorePath):
        return StoreFolder(out, overwrite=overwrite, names=names, last=last, own=own_objects)
    return OutputFolder(out, overwrite=overwrite, own=own)
