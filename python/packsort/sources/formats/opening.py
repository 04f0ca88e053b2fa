"""Files of a source, opened for pyarrow: on a disk, or in an object store."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pyarrow as pa

from packsort._stores import RangedFile, SequentialFile, StorePath

Place = str | StorePath
"""A path on a disk, or that of an object."""


@contextmanager
def open_object(path: StorePath) -> Iterator[pa.NativeFile]:
    """Open an object that is read by ranges, and check at the end that it is still the one that was found.

    Args:
        path: The object.

    Raises:
        OSError: It is gone, may not be read, or changed since it was found.
    """
    file = RangedFile(path.store, str(path), path.info())
    with pa.PythonFile(file, mode="r") as opened:
        yield opened
        file.check_unchanged()


@contextmanager
def open_stream(path: Place, compression: str | None) -> Iterator[pa.NativeFile]:
    """Open a file that is read from its beginning to its end, decompressed.

    Args:
        path: The file.
        compression: `"gzip"`, `"zstd"`, or None.

    Raises:
        OSError: It is gone, may not be read, or changed meanwhile.
    """
    if isinstance(path, StorePath):
        file = RangedFile(path.store, str(path), path.info())
        with SequentialFile(file) as pieces:
            with pa.input_stream(pa.PythonFile(pieces, mode="r"), compression=compression) as stream:
                yield stream
            file.check_unchanged()
    else:
        with pa.input_stream(path, compression=compression) as stream:
            yield stream
