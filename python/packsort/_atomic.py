"""Write files that are complete or absent.

`replace_file` writes one file, `OutputFiles` a set of Arrow, Parquet and text files. Both write under hidden names in
the target folder, so that the last step is a rename.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self

import pyarrow as pa
import pyarrow.ipc as ipc
import pyarrow.parquet as pq

from packsort._paths import refuse_undecodable
from packsort.errors import OutputError, OutputExistsError


@contextmanager
def replace_file(path: Path) -> Iterator[BinaryIO]:
    """Open a temporary file that atomically replaces `path` on success and is deleted on failure.

    Raises:
        OutputError: The file cannot be written: no space, no permission, no such folder.
    """
    part: Path | None = None
    try:
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent)
        part = Path(name)
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        # Temporary files are private; a finished one gets the permissions that `open` would have given it.
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
    """Return the `OutputError` for a path that cannot be written."""
    reason = error.strerror or str(error)
    found = OutputError(f"cannot write `{path}`: {reason[:1].lower()}{reason[1:]}")
    found.errno = error.errno
    return found


def check_new(path: Path, *, overwrite: bool) -> None:
    """Check that a file may be written.

    Raises:
        OutputExistsError: The file exists, and `overwrite` is False.
    """
    if path.exists() and not overwrite:
        raise OutputExistsError(f"`{path}` exists; pass overwrite=True to replace it")


def check_folder(folder: Path, *, overwrite: bool) -> None:
    """Check that files may be written into a folder, which need not exist.

    Raises:
        OutputError: The folder is a file.
        OutputExistsError: The folder is not empty, and `overwrite` is False.
    """
    if folder.exists() and not folder.is_dir():
        raise OutputError(f"cannot write folder `{folder}`: it is a file")
    if folder.is_dir() and not overwrite and any(folder.iterdir()):
        raise OutputExistsError(
            f"folder `{folder}` is not empty; pass overwrite=True to replace files of the same names"
        )


class OutputFiles:
    """Context that writes a set of files under hidden names and moves all of them into place at the end.

    If the block raises, also by Ctrl-C, the context removes what it wrote and the folders it created, and files that
    existed before stay as they were.

    Args:
        targets: The files to write.
        overwrite: Whether to replace files that exist.

    Raises:
        OutputExistsError: On entering, if a file exists and `overwrite` is False.
        OutputError: A file cannot be written.

    Example:
        >>> import tempfile
        >>> target = Path(tempfile.mkdtemp(), "new", "a.parquet")
        >>> with OutputFiles([target]) as files, files.writer(target, pa.schema([("a", pa.int32())])) as write:
        ...     write(pa.table({"a": pa.array([1, 2], pa.int32())}))
        >>> pq.read_table(target).num_rows
        2
    """

    def __init__(self, targets: Sequence[Path], *, overwrite: bool = False) -> None:
        self._targets = list(targets)
        for target in targets:
            refuse_undecodable(target, OutputError)
        self._overwrite = overwrite
        self._created: list[Path] = []
        self._placed: list[Path] = []

    def __enter__(self) -> Self:
        for target in self._targets:
            if target.is_dir():
                raise OutputError(f"cannot write `{target}`: it is a folder")
            check_new(target, overwrite=self._overwrite)
        try:
            for folder in dict.fromkeys(target.parent for target in self._targets):
                self._create(folder)
        except BaseException:
            self._undo()
            raise
        return self

    def _create(self, folder: Path) -> None:
        missing = [parent for parent in (folder, *folder.parents) if not parent.exists()]
        for parent in reversed(missing):
            with _output_errors(parent):
                parent.mkdir()
            self._created.append(parent)

    @contextmanager
    def writer(self, target: Path, schema: pa.Schema) -> Iterator[Any]:
        """Open one of the files.

        Args:
            target: One of the targets. A name that ends in `.arrow` becomes an Arrow IPC file, any other Parquet.
            schema: Schema of the tables that follow, with its metadata.

        Yields:
            A function that writes a `pyarrow.Table`; in Parquet, as a row group.
        """
        with _output_errors(target):
            sink = _hidden(target).open("wb")
            writer = _open_writer(sink, schema, arrow=target.suffix == ".arrow")

        def write(table: pa.Table) -> None:
            with _output_errors(target):
                writer.write_table(table)

        try:
            yield write
            with _output_errors(target):
                writer.close()
                sink.flush()
                os.fsync(sink.fileno())
                sink.close()
        except BaseException:
            # Closing finishes the file, which may be what has just failed.
            for unfinished in (writer, sink):
                with suppress(Exception):
                    unfinished.close()
            raise

    def write(self, target: Path, text: str) -> None:
        """Write one of the files whole.

        Args:
            target: One of the targets.
            text: What it holds.
        """
        with _output_errors(target), _hidden(target).open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            self._undo()
            return
        try:
            for target in self._targets:
                new = not target.exists()
                with _output_errors(target):
                    os.replace(_hidden(target), target)
                if new:
                    self._placed.append(target)
            for folder in dict.fromkeys(target.parent for target in self._targets):
                _sync_folder(folder)
        except BaseException:
            self._undo()
            raise

    def _undo(self) -> None:
        for path in [*map(_hidden, self._targets), *self._placed]:
            with suppress(OSError):
                path.unlink(missing_ok=True)
        for folder in reversed(self._created):
            with suppress(OSError):
                folder.rmdir()


def _open_writer(sink: BinaryIO, schema: pa.Schema, *, arrow: bool) -> Any:
    if arrow:
        return ipc.new_file(sink, schema)
    return pq.ParquetWriter(sink, schema, compression="zstd", compression_level=1)


def _hidden(target: Path) -> Path:
    return target.with_name(f".{target.name}.{os.getpid()}.tmp")


@contextmanager
def _output_errors(path: Path) -> Iterator[None]:
    """Raise errors of the system and of Arrow as an `OutputError` that names `path`."""
    try:
        yield
    except OutputError:
        raise
    except OSError as error:
        raise output_error(path, error) from error
    except pa.ArrowException as error:
        raise OutputError(f"cannot write `{path}`: {error}") from error


def _sync_folder(folder: Path) -> None:
    """Make the names in a folder durable; Windows has no such call."""
    if sys.platform == "win32":
        return
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
