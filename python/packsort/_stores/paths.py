"""Paths of objects, which answer as `pathlib.Path` does.

The rules that choose the files of a folder ask paths for their names, and sometimes whether a file lies beside them. A
`StorePath` answers the same questions, so that the rules are the same for disks and for stores. What was listed once is
answered from the listing.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any, ClassVar, Self

from packsort._stores.listing import Listing
from packsort._stores.ranged import RangedFile
from packsort._stores.store import ObjectInfo, Store
from packsort._stores.urls import is_url, local_path
from packsort.errors import SourceError


class StorePath(PurePosixPath):
    """Path of an object or folder of a store; `store_path` makes one.

    All paths that are derived from one are of its class, which holds what they share. An attribute of the paths
    themselves would be lost, as Python 3.11 derives paths without calling `__init__`.

    Attributes:
        store: The store.
    """

    _listing: ClassVar[Listing]

    @property
    def store(self) -> Store:
        """The store."""
        return self._listing.store

    def __str__(self) -> str:
        scheme, slash, rest = super().__str__().partition(":/")
        return f"{scheme}://{rest}" if slash else scheme

    def __fspath__(self) -> str:
        return str(self)

    def __reduce__(self) -> tuple[Any, ...]:
        known = {url: self._listing.info(url) for url in self._listing.under(str(self.parent)) if url == str(self)}
        return _rebuilt, (str(self), self.store.options, known.get(str(self)))

    def list(self) -> dict[Self, ObjectInfo]:
        """List the objects under this folder, at any depth.

        Raises:
            FileNotFoundError: There is no such bucket.
            OSError: The store does not answer.
            SourceError: The name of an object has an empty part, or one that is `.`.
        """
        result: dict[Self, ObjectInfo] = {}
        for url, facts in self.store.find(str(self)).items():
            path = type(self)(url)
            if str(path) != url:
                raise SourceError(f"the name of `{url}` has an empty part or a dot: copy the object to another name")
            result[path] = facts
            self._listing.add(url, facts)
            for folder in path.parents:
                if not self._listing.add_folder(str(folder)):
                    break
        self._listing.close(str(self))
        return result

    def info(self) -> ObjectInfo | None:
        """Return the facts of the object as they were first found, or None for a folder.

        Raises:
            FileNotFoundError: There is neither.
            OSError: The store does not answer.
        """
        return self._listing.info(str(self))

    def exists(self) -> bool:
        """Return whether there is such an object or folder."""
        return self.is_file() or self.is_dir()

    def is_file(self) -> bool:
        """Return whether there is such an object."""
        return self._kind() == "object"

    def is_dir(self) -> bool:
        """Return whether there are objects under this name."""
        return self._kind() == "folder"

    def _kind(self) -> str:
        if len(self.parts) < 3:  # the scheme and the bucket
            return "folder"
        try:
            return "folder" if self.info() is None else "object"
        except (FileNotFoundError, PermissionError):  # S3 refuses to say that an object is missing to some
            return "nothing"

    def is_symlink(self) -> bool:
        """Return False: stores have no links."""
        return False

    def matches(self) -> dict[Self, ObjectInfo | None]:
        """Return the objects and folders that match this path as a pattern; None in place of the facts of a folder.

        Raises:
            OSError: The store does not answer.
        """
        found = {type(self)(url): facts for url, facts in self.store.glob(str(self)).items()}
        for path, facts in found.items():
            if facts is not None:
                self._listing.add(str(path), facts)
        return found

    def glob(self, pattern: str) -> Iterator[Self]:
        """Yield the objects in this folder whose names match a pattern."""
        if not self._listing.is_complete(str(self)):
            self.list()
        paths = map(type(self), self._listing.under(str(self)))
        return (path for path in paths if path.parent == self and path.match(pattern))

    def absolute(self) -> Self:
        """Return the path itself."""
        return self

    def resolve(self, strict: bool = False) -> Self:
        """Return the path itself."""
        return self

    def read_bytes(self) -> bytes:
        """Read the object whole.

        Raises:
            OSError: There is none, or it cannot be read.
        """
        if not self.is_file():
            raise FileNotFoundError(str(self))
        with RangedFile(self.store, str(self), self.info()) as file:
            return file.read()

    def read_text(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        """Read the object as text."""
        return self.read_bytes().decode(encoding, errors)


def store_path(url: str, options: Mapping[str, Any] | None = None) -> StorePath:
    """Return the path of a URL.

    Args:
        url: The URL.
        options: Options of its fsspec file system.

    Raises:
        SourceError: A part of its path is empty or a dot.

    Example:
        >>> path = store_path("s3://bucket/rows/a.parquet")
        >>> str(path), path.name, str(path.parent), path == path.parent / "a.parquet"
        ('s3://bucket/rows/a.parquet', 'a.parquet', 's3://bucket/rows', True)
    """
    made: StorePath = type("StorePath", (StorePath,), {"_listing": Listing(Store(options))})(url.rstrip("/"))
    if str(made) != url.rstrip("/"):
        raise SourceError(f"`{url}` has an empty part or a dot in its path: leave it out")
    return made


def _rebuilt(url: str, options: Mapping[str, Any], facts: ObjectInfo | None) -> StorePath:
    """Return a path that was pickled, with the facts of its object as they were found."""
    path = store_path(url, options)
    if facts is not None:
        path._listing.add(url, facts)
    return path


def place(path: str | os.PathLike[str], options: Mapping[str, Any] | None = None) -> Path | StorePath:
    """Return a path, or the path of a URL.

    Args:
        path: Where something is, or is to be written.
        options: Options of the fsspec file system of a URL.

    Example:
        >>> place("packed"), str(place("s3://bucket/packed")), place("file:///data/packed").as_posix()
        (PosixPath('packed'), 's3://bucket/packed', '/data/packed')
    """
    if isinstance(path, StorePath) or not is_url(path):
        return path if isinstance(path, StorePath) else Path(path)
    url = os.fspath(path)
    local = local_path(url)
    return store_path(url, options) if local is None else Path(local)
