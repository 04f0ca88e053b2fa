"""Files that are complete or not there."""

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

from packsort.errors import OutputError, OutputExistsError


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


class OutputFiles:
    """Writes a set of files under hidden names and puts all of them in place at the end.

    Left by an exception, also by Ctrl-C, it removes what it wrote and the folders it made; files that were there
    before are as they were.

    Raises:
        OutputExistsError: On entering, where a file is there and may not be replaced.
        OutputError: Something cannot be written.

    Examples:
        >>> import tempfile
        >>> target = Path(tempfile.mkdtemp(), "made", "a.parquet")
        >>> with OutputFiles([target]) as files, files.writer(target, pa.schema([("a", pa.int32())])) as write:
        ...     write(pa.table({"a": pa.array([1, 2], pa.int32())}))
        >>> pq.read_table(target).num_rows
        2
    """

    def __init__(self, targets: Sequence[Path], *, overwrite: bool = False) -> None:
        self._targets = list(targets)
        self._overwrite = overwrite
        self._made: list[Path] = []
        self._placed: list[Path] = []

    def __enter__(self) -> Self:
        for target in self._targets:
            if target.is_dir():
                raise OutputError(f"cannot write `{target}`: it is a folder")
            if target.exists() and not self._overwrite:
                raise OutputExistsError(f"`{target}` is already there; `--overwrite` replaces it")
        try:
            for folder in dict.fromkeys(target.parent for target in self._targets):
                self._make(folder)
        except BaseException:
            self._undo()
            raise
        return self

    def _make(self, folder: Path) -> None:
        missing = [parent for parent in (folder, *folder.parents) if not parent.exists()]
        for parent in reversed(missing):
            with _writing(parent):
                parent.mkdir()
            self._made.append(parent)

    @contextmanager
    def writer(self, target: Path, schema: pa.Schema) -> Iterator[Any]:
        """Opens one of the files.

        Args:
            target: ends in `.arrow` for an Arrow IPC file, otherwise becomes Parquet.
            schema: of the tables that follow, with metadata.

        Yields:
            A function that writes a `pyarrow.Table`, in Parquet as a row group.
        """
        with _writing(target):
            sink = _hidden(target).open("wb")
            writer = _open_writer(sink, schema, arrow=target.suffix == ".arrow")

        def write(table: pa.Table) -> None:
            with _writing(target):
                writer.write_table(table)

        try:
            yield write
            with _writing(target):
                writer.close()
                sink.flush()
                os.fsync(sink.fileno())
                sink.close()
        except BaseException:
            # Both still want to finish the file, which may be what has just failed.
            for unfinished in (writer, sink):
                with suppress(Exception):
                    unfinished.close()
            raise

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            self._undo()
            return
        try:
            for target in self._targets:
                new = not target.exists()
                with _writing(target):
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
        for folder in reversed(self._made):
            with suppress(OSError):
                folder.rmdir()


def check_folder(folder: Path, *, overwrite: bool) -> None:
    """Raises where a folder may not be written to: it is a file, or not empty and `overwrite` is False."""
    if folder.exists() and not folder.is_dir():
        raise OutputError(f"cannot write folder `{folder}`: it is a file")
    if folder.is_dir() and not overwrite and any(folder.iterdir()):
        raise OutputExistsError(f"folder `{folder}` is not empty; `--overwrite` replaces files of the same name")


def _open_writer(sink: BinaryIO, schema: pa.Schema, *, arrow: bool) -> Any:
    if arrow:
        return ipc.new_file(sink, schema)
    return pq.ParquetWriter(sink, schema, compression="zstd", compression_level=1)


def _hidden(target: Path) -> Path:
    return target.with_name(f".{target.name}.{os.getpid()}.tmp")


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except OutputError:
        raise
    except OSError as error:
        raise output_error(path, error) from error
    except pa.ArrowException as error:
        raise OutputError(f"cannot write `{path}`: {error}") from error


def _sync_folder(folder: Path) -> None:
    """Makes the names in a folder last; Windows has no such call."""
    if sys.platform == "win32":
        return
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
