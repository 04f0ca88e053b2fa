"""The steps of a commit: exchange two folders, make names durable, name the output in errors."""

from __future__ import annotations

import ctypes
import errno
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePath

from packsort._paths import printable
from packsort.errors import OutputError

_RENAME_EXCHANGE, _RENAME_SWAP = 2, 2  # of Linux, of macOS
_CWD = -100
_NO_EXCHANGE = (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP)
_NO_SYNC = (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EACCES)


def exchange(one: Path, other: Path) -> bool:
    """Exchange the names of two folders in one step.

    Args:
        one: A folder.
        other: A folder on the same file system.

    Returns:
        False where the system or the file system has no such call, as NFS.

    Raises:
        OSError: The call failed.
    """
    if sys.platform == "win32":
        return False
    library = ctypes.CDLL(None, use_errno=True)
    names = os.fsencode(one), os.fsencode(other)
    if hasattr(library, "renameat2"):
        failed = library.renameat2(_CWD, names[0], _CWD, names[1], ctypes.c_uint(_RENAME_EXCHANGE))
    elif hasattr(library, "renamex_np"):
        failed = library.renamex_np(*names, ctypes.c_uint(_RENAME_SWAP))
    else:
        return False
    if not failed:
        return True
    code = ctypes.get_errno()
    if code in _NO_EXCHANGE:
        return False
    raise OSError(code, os.strerror(code), os.fspath(other))


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable, where the system has such a call.

    Raises:
        OSError: The disk failed.
    """
    if sys.platform == "win32":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in _NO_SYNC:
            raise
    finally:
        os.close(handle)


def output_error(path: PurePath, error: OSError) -> OutputError:
    """Return the `OutputError` for a path that cannot be written."""
    reason = error.strerror or str(error)
    found = OutputError(f"cannot write `{printable(path)}`: {reason[:1].lower()}{reason[1:]}")
    found.errno = error.errno
    return found


@contextmanager
def output_errors(path: PurePath) -> Iterator[None]:
    """Raise errors of the system and of Arrow as an `OutputError` that names `path`."""
    import pyarrow as pa

    try:
        yield
    except OutputError:
        raise
    except OSError as error:
        raise output_error(path, error) from error
    except pa.ArrowException as error:
        raise OutputError(f"cannot write `{printable(path)}`: {error}") from error


def hidden(path: Path, kind: str) -> Path:
    """Return the hidden name beside an output under which it is written.

    Args:
        path: The output.
        kind: What is there: "unfinished", "lock" or "replaced".

    Example:
        >>> hidden(Path("/data/packed"), "unfinished").as_posix()
        '/data/.packed.packsort-unfinished'
    """
    name = path.name
    if len(os.fsencode(name)) > _LONGEST_NAME:
        import xxhash

        name = xxhash.xxh3_64_hexdigest(os.fsencode(name))
    return path.with_name(f".{name}.packsort-{kind}")


def is_hidden(name: str) -> bool:
    """Return whether a file or folder is one under which an output is written.

    Example:
        >>> is_hidden(".packed.packsort-unfinished")
        True
    """
    return name.startswith(".") and name.endswith((".packsort-unfinished", ".packsort-lock", ".packsort-replaced"))


_LONGEST_NAME = 255 - len("..packsort-unfinished")
