"""Write one file that is whole or absent.

The file is written under a hidden name beside its own. It is locked while it is written, and the rename that puts it
into place also removes the hidden name: nothing is left to clean up after it.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

from packsort._atomic.lock import FileLock, leads_to
from packsort._atomic.steps import hidden, output_errors, sync_folder
from packsort._atomic.store_file import StoreFile
from packsort._interrupts import note_begin, note_commit, uninterrupted
from packsort._paths import printable, refuse_undecodable
from packsort._stores import StorePath
from packsort._warn import warn
from packsort.errors import OutputError, OutputExistsError

_SECONDS_FOR_OTHERS = 20.0  # ranks that save the same plan take turns


class OutputFile:
    """Context that writes one file, which replaces `path` in one step when the block ends.

    If the block raises, the file is removed, and what was there before stays. A link stays a link, and a file that is
    replaced leaves its permissions to the new one.

    Args:
        path: The file.
        overwrite: Whether to replace a file that exists.
        wait: Seconds to wait for another process that writes the file.
        parents: Whether to create the folders above it.
        on_the_way: Whether a command writes the file beside its output.

    Attributes:
        file: The open file.

    Raises:
        OutputExistsError: On entering or leaving, if the file exists and `overwrite` is False.
        OutputError: The file cannot be written, or another process is writing it.
    """

    file: BinaryIO

    def __init__(
        self, path: Path, *, overwrite: bool = False, wait: float = 0, parents: bool = False, on_the_way: bool = False
    ) -> None:
        refuse_undecodable(path, OutputError)
        self._name = path
        self.path = Path(os.path.realpath(path))
        self._overwrite = overwrite
        self._wait, self._parents, self._on_the_way = wait, parents, on_the_way
        self._created: list[Path] = []

    def __enter__(self) -> Self:
        note_begin()
        check_new(self._name, overwrite=self._overwrite)
        part = hidden(self.path, "unfinished")
        if self._parents:
            self._created = create_parents(self.path)
        try:
            self._lock = FileLock(part, self._name, wait=self._wait)
            try:
                check_new(self._name, overwrite=self._overwrite)
                with output_errors(self._name):
                    os.ftruncate(self._lock.descriptor, 0)  # of a run that was killed
                    if self.path.exists() and hasattr(os, "fchmod"):
                        os.fchmod(self._lock.descriptor, stat.S_IMODE(self.path.stat().st_mode))
                self.file = os.fdopen(self._lock.descriptor, "wb", closefd=False)
            except BaseException:
                part.unlink(missing_ok=True)
                self._lock.close()
                raise
        except BaseException:
            remove_folders(self._created)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        part = hidden(self.path, "unfinished")
        try:
            if error is None:
                with output_errors(self._name):
                    self.file.flush()
                    os.fsync(self._lock.descriptor)
                with uninterrupted():
                    check_new(self._name, overwrite=self._overwrite)
                    with output_errors(self._name):
                        os.replace(part, self.path)
                    note_commit(self._name, on_the_way=self._on_the_way)
                    sync_names(self.path, self._created)
                    self._created = []
        finally:
            with suppress(OSError):
                # Closing the buffer may fail as the write before it did.
                self.file.close()
            if leads_to(part, self._lock.descriptor):
                with suppress(OSError):
                    part.unlink()
                remove_folders(self._created)
            self._lock.close()


@contextmanager
def replace_file(path: Path | StorePath) -> Iterator[BinaryIO]:
    """Open a file that replaces `path` in one step on success, and is deleted on failure.

    Raises:
        OutputError: The file cannot be written: no space, no permission, no such folder.
    """
    output: OutputFile | StoreFile
    if isinstance(path, StorePath):
        output = StoreFile(path, overwrite=True, on_the_way=True)
    else:
        output = OutputFile(path, overwrite=True, wait=_SECONDS_FOR_OTHERS, on_the_way=True)
    with output, output_errors(path):
        yield output.file


def check_new(path: Path, *, overwrite: bool) -> None:
    """Check that a file may be written.

    Raises:
        OutputExistsError: The file exists, and `overwrite` is False.
        OutputError: The path is a folder, a device or a pipe.
    """
    if path.is_dir():
        raise OutputError(f"cannot write `{printable(path)}`: it is a folder")
    if path.exists() and not path.is_file():
        raise OutputError(f"cannot write `{printable(path)}`: it is no regular file")
    if path.exists() and not overwrite:
        raise OutputExistsError(f"`{printable(path)}` exists; pass overwrite=True to replace it")


def create_parents(path: Path) -> list[Path]:
    """Create the folders above an output, and return those that did not exist, the deepest first."""
    missing = [parent for parent in path.parents if not parent.exists()]
    with output_errors(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
    return missing


def remove_folders(folders: list[Path]) -> None:
    """Remove folders that are empty, the deepest first."""
    for folder in folders:
        with suppress(OSError):
            folder.rmdir()


def sync_names(path: Path, created: list[Path]) -> None:
    """Make the name of an output durable, and those of the folders that were created for it.

    The output is whole and visible by then, so a failure is a warning.
    """
    try:
        for folder in (path.parent, *(one.parent for one in created)):
            sync_folder(folder)
    except OSError as error:
        warn([f"`{printable(path)}` is written, but a power failure may undo it ({error.strerror or error})"])
