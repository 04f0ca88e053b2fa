"""One writer for each output: a lock on a file that ends with its process, however that ends.

The system drops such a lock (`flock`) when the last descriptor of the file is closed, so there is nothing to clean up
after a kill. The file may be renamed or deleted by whoever holds the lock; whoever gets the lock afterwards sees that
the name leads to another file, and tries again. A file that is written is its own lock, so `filelock` cannot be used:
it gives no access to the file that it locks, and before version 4 empties it first.
"""

from __future__ import annotations

import errno
import os
import sys
import time
import weakref
from contextlib import suppress
from pathlib import Path
from typing import Self

from packsort._atomic.steps import output_errors
from packsort._paths import printable
from packsort._warn import warn
from packsort.errors import OutputError

_WITHOUT_LOCKS = (errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOLCK)
_OPEN = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
_LOCKED_BYTE = 2**40  # on Windows, which lets nobody read a locked byte


class FileLock:
    """Open file that is locked until it is closed.

    Args:
        path: The file; created if it does not exist, and never emptied.
        output: What is written, for messages.
        wait: Seconds to wait for another writer.

    Attributes:
        descriptor: Descriptor of the open file.

    Raises:
        OutputError: Another writer holds the lock, or the file cannot be created.
    """

    def __init__(self, path: Path, output: Path, *, wait: float = 0) -> None:
        until = time.monotonic() + wait
        while True:
            with output_errors(output):
                self.descriptor = os.open(path, _OPEN, 0o666)
            try:
                taken = _take(self.descriptor, output)
                if taken and leads_to(path, self.descriptor):
                    break
            except BaseException:
                os.close(self.descriptor)
                raise
            os.close(self.descriptor)
            if not taken and time.monotonic() >= until:
                raise OutputError(
                    f"another process is writing to `{printable(output)}`: wait until it ends, or choose another output"
                )
            if not taken:
                time.sleep(0.01)
        _HELD.add(self)

    def close(self) -> None:
        """Release the lock."""
        if self in _HELD:
            _HELD.discard(self)
            with suppress(OSError):  # what was written is on the disk already
                os.close(self.descriptor)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def _take(descriptor: int, output: Path) -> bool:
    """Lock a file unless it is locked; a file system without locks is warned of."""
    try:
        if sys.platform == "win32":
            import msvcrt

            os.lseek(descriptor, _LOCKED_BYTE, os.SEEK_SET)
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
            os.lseek(descriptor, 0, os.SEEK_SET)
        else:
            import fcntl

            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EWOULDBLOCK, errno.EACCES, errno.EDEADLK):
            return False
        if error.errno in _WITHOUT_LOCKS:
            warn([f"the file system of `{printable(output)}` has no locks: let no other process write to it meanwhile"])
            return True
        with output_errors(output):
            raise
    return True


def leads_to(path: Path, descriptor: int) -> bool:
    """Return whether a path still leads to an open file."""
    try:
        return os.path.samestat(os.stat(path, follow_symlinks=False), os.fstat(descriptor))
    except FileNotFoundError:
        return False


_HELD: weakref.WeakSet[FileLock] = weakref.WeakSet()


def _forget() -> None:
    """Close what a forked child has inherited: the lock is to end with the process that took it."""
    for lock in list(_HELD):
        lock.close()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
