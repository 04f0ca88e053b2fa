"""Write a folder of files that is whole or absent.

```
.NAME.packsort-lock          held while a run writes NAME
.NAME.packsort-unfinished/   the new folder; after the exchange, the old one
.NAME.packsort-replaced/     the old folder, only where names cannot be exchanged
```

The new folder is filled beside the output, under a hidden name. When it is complete and on the disk, one rename makes
it the output, or one exchange swaps it with the output that it replaces. Where the file system has no exchange, the old
folder is moved aside first. If a run dies between these two renames, there is no output; the next run on it moves the
old one back before it does anything else.

A file in the new folder, `.packsort-run`, identifies the run and lists what it has finished. It moves into place with
the folder and is removed last. A run that was killed is thus recognised at every moment: before the rename, where the
same call goes on in the unfinished folder, and after it, where the same call only clears away what is left.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from packsort._atomic.files import create_parents, remove_folders, sync_names
from packsort._atomic.lock import FileLock
from packsort._atomic.places import OwnFiles, check_folder, check_place
from packsort._atomic.runs import RUN_FILE, read_run
from packsort._atomic.steps import exchange, hidden, output_errors, sync_folder
from packsort._interrupts import note_begin, note_commit, uninterrupted
from packsort._paths import printable, refuse_undecodable
from packsort._warn import warn
from packsort.errors import OutputError, OutputExistsError


class OutputFolder:
    """Context that fills a folder beside `out` and puts it into its place in one step.

    Call `begin`, write files at `path_of(name)`, then call `commit`. If the block raises, what it wrote is removed, and
    what was there before stays.

    Args:
        out: The output; a link to a folder stays a link.
        overwrite: Whether to replace what packsort wrote there before.
        own: Tells which files these are. A folder with other files is refused.

    Raises:
        OutputExistsError: On entering, if the folder is not empty and `overwrite` is False.
        OutputError: The output is no folder, holds other files, cannot be replaced in one step (the working folder, a
            mount point), cannot be written, or another process is writing to it.
    """

    def __init__(self, out: Path, *, overwrite: bool, own: OwnFiles) -> None:
        refuse_undecodable(out, OutputError)
        self.name = out
        self.path = Path(os.path.realpath(out))
        self._overwrite, self._own = overwrite, own
        self._unfinished, self._replaced = hidden(self.path, "unfinished"), hidden(self.path, "replaced")
        self._created: list[Path] = []
        self._owns_unfinished = False  # whether this run may remove the unfinished folder
        self._committed = self._replaces = False
        self.finished = False
        """Whether an earlier run of the same identity has put the output into its place."""

    def __enter__(self) -> Self:
        note_begin()
        check_place(self.name, self.path)
        if not self._is_of_a_killed_run():
            check_folder(self.name, overwrite=self._overwrite, own=self._own)
        self._created = create_parents(self.path)
        try:
            lock = hidden(self.path, "lock")
            self._lock = FileLock(lock, self.name)
            try:
                with output_errors(self.name):
                    if self._replaced.exists() and not self.path.exists():
                        os.rename(self._replaced, self.path)
                    # What a run that was killed has replaced. Its unfinished folder, with the file of the run, stays.
                    if not (self._unfinished / RUN_FILE).exists():
                        self._remove(self._unfinished)
                    self._remove(self._replaced)
                if not self._is_of_a_killed_run():
                    check_folder(self.name, overwrite=self._overwrite, own=self._own)
                self._owns_unfinished = not self._unfinished.exists()
            except BaseException:
                lock.unlink(missing_ok=True)
                self._lock.close()
                raise
        except BaseException:
            remove_folders(self._created)
            raise
        return self

    def _is_of_a_killed_run(self) -> bool:
        return (self.path / RUN_FILE).exists()

    def begin(self, identity: str, *, resume: bool = False) -> list[Any]:
        """Start a run, or go on with one that was killed.

        Args:
            identity: Identifies input and options. Only a run of the same identity goes on.
            resume: Whether files that an earlier run wrote are of use. If not, all are written anew.

        Returns:
            What the earlier run has recorded.

        Raises:
            OutputExistsError: `overwrite` is False, and a run of another identity is unfinished or has just written the
                output.
        """
        known, records = read_run(self.path)
        if known == identity and resume:
            self.finished = True
            return records
        if known == identity:
            self._overwrite = True  # its own output, which a kill kept it from telling of
        elif known is not None:
            check_folder(self.name, overwrite=self._overwrite, own=self._own)
        known, records = read_run(self._unfinished)
        if resume and known == identity:
            self._owns_unfinished = True
            return records
        if resume and known is not None and not self._overwrite:
            raise OutputExistsError(
                f"a run of another source or other options for `{printable(self.name)}` was stopped and is unfinished; "
                "pass overwrite=True to start anew"
            )
        self._start(identity)
        return []

    def restart(self, identity: str) -> None:
        """Write the output anew although an earlier run of the same identity has finished it."""
        self._overwrite, self.finished = True, False
        self._start(identity)

    def _start(self, identity: str) -> None:
        self._owns_unfinished = True
        with output_errors(self.name):
            self._remove(self._unfinished)
            self._unfinished.mkdir()
            if self.path.exists():
                _copy_access(self.path, self._unfinished)
        self.record(identity)

    def record(self, fact: Any) -> None:
        """Note something that this run has finished, for the same call after a kill."""
        with output_errors(self.name), (self._unfinished / RUN_FILE).open("ab") as file:
            file.write(json.dumps(fact).encode() + b"\n")

    def finish(self, name: str, fact: Any = None) -> None:
        """Note that a file is finished.

        Args:
            name: The file.
            fact: What `begin` of the same call returns after a kill, or None for nothing.
        """
        if fact is not None:
            self.record(fact)

    def path_of(self, name: str) -> Path:
        """Return where a file of the output is now."""
        return (self.path if self.finished else self._unfinished) / name

    def commit(self, names: set[str]) -> None:
        """Put the folder into its place, and remove what it replaces.

        Args:
            names: The files that it is to hold.

        Raises:
            OutputError: It cannot be put there; what was there stays.
        """
        with uninterrupted():
            if not self.finished:
                with output_errors(self.name):
                    for stray in {path.name for path in self._unfinished.iterdir()} - names - {RUN_FILE}:
                        (self._unfinished / stray).unlink()
                    sync_folder(self._unfinished)
                    self._put_into_place()
            self._committed = True
            note_commit(self.name)
            sync_names(self.path, self._created)
            self._clear()

    def _put_into_place(self) -> None:
        if not self.path.exists() or not self._overwrite:
            try:
                os.rename(self._unfinished, self.path)
            except OSError:
                check_folder(self.name, overwrite=False, own=self._own)
                raise
            return
        check_folder(self.name, overwrite=True, own=self._own)
        self._replaces = True
        if exchange(self._unfinished, self.path):
            return
        os.rename(self.path, self._replaced)
        try:
            os.rename(self._unfinished, self.path)
        except OSError:
            try:
                os.rename(self._replaced, self.path)
            except OSError as error:
                raise OutputError(
                    f"cannot move `{printable(self.name)}` back ({error.strerror or error}): what was there is in "
                    f"`{printable(self._replaced)}`, and the next call that writes it moves it back"
                ) from error
            raise

    def _clear(self) -> None:
        """Remove what the output has replaced, the lock, and last the file that identifies the run."""
        try:
            if self._replaces:
                for old in (self._unfinished, self._replaced):
                    (old / RUN_FILE).unlink(missing_ok=True)
            self._remove(self._unfinished)
            self._remove(self._replaced)
            # Without the lock, another run may replace the folder at any moment: a descriptor stays with this one.
            by_descriptor = os.unlink in os.supports_dir_fd
            handle = os.open(self.path, os.O_RDONLY) if by_descriptor else None
            try:
                hidden(self.path, "lock").unlink(missing_ok=True)
                with suppress(FileNotFoundError):
                    os.unlink(RUN_FILE if by_descriptor else self.path / RUN_FILE, dir_fd=handle)
            finally:
                if handle is not None:
                    os.close(handle)
        except OSError as error:
            place = printable(error.filename or self._unfinished)
            warn([f"`{printable(self.name)}` is written, but `{place}` is left over ({error.strerror or error})"])

    def _remove(self, folder: Path) -> None:
        """Remove an unfinished folder or an old output.

        Files that others put into the old output, in the moment before it was replaced, move into the new one. An
        unfinished folder is told by its file of the run, which is therefore removed last.
        """
        if not folder.exists():
            return
        run = folder / RUN_FILE
        if not run.exists():
            own = self._own(folder)
            for path in [path for path in folder.iterdir() if path.name not in own]:
                if (self.path / path.name).exists() or not self.path.exists():
                    raise OSError(errno.EEXIST, f"`{printable(path)}` is in the way", os.fspath(path))
                path.rename(self.path / path.name)
        for path in folder.iterdir():
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            elif path != run:
                path.unlink()
        run.unlink(missing_ok=True)
        folder.rmdir()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._committed:
            with uninterrupted():
                with suppress(OSError):
                    if self._owns_unfinished:
                        self._remove(self._unfinished)
                with suppress(OSError):
                    hidden(self.path, "lock").unlink()
                remove_folders(self._created)
        self._lock.close()


def _copy_access(old: Path, new: Path) -> None:
    """Give a new folder the permissions and the group of the one that it replaces."""
    with suppress(OSError):
        if hasattr(os, "chown"):
            os.chown(new, -1, old.stat().st_gid)
    shutil.copystat(old, new)
