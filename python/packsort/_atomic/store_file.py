"""Write one object of a store, whole or not at all."""

from __future__ import annotations

import tempfile
from types import TracebackType
from typing import BinaryIO, Self

from packsort._atomic.steps import output_errors
from packsort._interrupts import note_begin, note_commit, uninterrupted
from packsort._stores import StorePath
from packsort.errors import OutputExistsError


class StoreFile:
    """Context that writes one object, as `OutputFile` writes a file.

    The content is collected in a temporary file, and becomes the object in one step when the block ends well.

    Args:
        path: The object.
        overwrite: Whether to replace an object that exists.
        on_the_way: Whether a command writes it beside its output.

    Attributes:
        file: The open file.

    Raises:
        OutputExistsError: On entering or leaving, if the object exists and `overwrite` is False.
        OutputError: The object cannot be written.
    """

    file: BinaryIO

    def __init__(self, path: StorePath, *, overwrite: bool = False, on_the_way: bool = False) -> None:
        self.path = path
        self._overwrite, self._on_the_way = overwrite, on_the_way

    def __enter__(self) -> Self:
        note_begin()
        with output_errors(self.path):
            self._check_new()
            self._temporary = tempfile.NamedTemporaryFile(prefix="packsort-")
        self.file = self._temporary.file  # type: ignore[assignment]
        return self

    def _check_new(self) -> None:
        try:
            there = self.path.store.info(str(self.path)) is not None
        except FileNotFoundError:
            return
        if there and not self._overwrite:
            raise self._exists()

    def _exists(self) -> OutputExistsError:
        return OutputExistsError(f"`{self.path}` exists; pass overwrite=True to replace it")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._temporary:
            if error is not None:
                return
            with uninterrupted():
                try:
                    with output_errors(self.path):
                        self.file.flush()
                        self.path.store.put_file(self._temporary.name, str(self.path), create=not self._overwrite)
                except OutputExistsError:
                    raise
                except OSError as failure:
                    if isinstance(failure.__cause__, FileExistsError):
                        raise self._exists() from failure
                    raise
                note_commit(self.path, on_the_way=self._on_the_way)
