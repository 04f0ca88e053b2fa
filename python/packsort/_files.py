"""Files that are complete or not there."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from packsort.errors import OutputError


@contextmanager
def replace_file(path: Path) -> Iterator[BinaryIO]:
    """A file to write to that becomes `path` when the block ends well, and is gone when it does not.

    It lies hidden in the same folder until then, so that the last step is a rename.

    Raises:
        OutputError: it cannot be written: no space, no permission, no such folder.
    """
    part: Path | None = None
    try:
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent)
        part = Path(name)
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        umask = os.umask(0)
        os.umask(umask)
        part.chmod(0o666 & ~umask)
        part.replace(path)
        part = None
    except OutputError:
        raise
    except OSError as error:
        raise output_error(path, error) from error
    finally:
        if part is not None:
            part.unlink(missing_ok=True)


def output_error(path: Path, error: OSError) -> OutputError:
    """What went wrong with `path`, in a line."""
    reason = error.strerror or str(error)
    made = OutputError(f"cannot write `{path}`: {reason[:1].lower()}{reason[1:]}")
    made.errno = error.errno
    return made
