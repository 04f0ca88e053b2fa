"""An object store, through fsspec: list, read a range, put, delete.

fsspec keeps one file system for each process and set of options. It is asked for anew with each call, because neither a
forked child nor a pickle can use that of another process.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

from packsort._install import pip_install
from packsort._stores.retries import ShortAnswerError, repeated
from packsort.errors import SourceError

_PACKAGES = {
    **dict.fromkeys(("s3", "s3a"), ("s3fs", "'packsort[s3]'")),
    **dict.fromkeys(("gs", "gcs"), ("gcsfs", "gcsfs")),
    **dict.fromkeys(("abfs", "abfss", "az", "adl"), ("adlfs", "adlfs")),
    "hf": ("huggingface_hub", "'packsort[hf]'"),
    **dict.fromkeys(("http", "https"), ("aiohttp", "aiohttp")),
}
PART_BYTES = 16 << 20
"""Bytes of a part of a large object that is written."""
_BLOCKS_AT_ONCE = 8
"""Blocks of 4 MiB that a file is written to Azure in. By default, adlfs holds thousands of them in memory."""
COPY_SECONDS = 600
"""Seconds that Azure may take to copy an object after it has answered."""
COPY_PAUSE = 0.5
"""Seconds between two looks at a copy."""
_TAGS = ("ETag", "etag", "blob_id", "generation", "md5Hash", "content_hash", "LastModified", "last_modified", "mtime")


@dataclass(frozen=True)
class ObjectInfo:
    """Facts of an object.

    Attributes:
        size: Its bytes.
        tag: What changes with its content: the ETag, or a date. None where the store has nothing of this kind.
    """

    size: int
    tag: str | None


class Store:
    """Object store behind URLs of one scheme.

    Args:
        options: Options of the fsspec file system (`storage_options`): keys, endpoints, profiles.
    """

    def __init__(self, options: Mapping[str, Any] | None = None) -> None:
        self.options = dict(options or {})

    def filesystem(self, url: str) -> tuple[Any, str]:
        """Return the fsspec file system of a URL, and the object's path in it.

        Raises:
            SourceError: Nothing that is installed reads such URLs.
        """
        scheme = url.partition("://")[0].lower()
        try:
            from fsspec.core import url_to_fs

            _reset_children()
        except ImportError as error:
            raise _needs("fsspec", _PACKAGES.get(scheme, ("", "fsspec"))[1], url, error) from error
        try:
            # Listings that are kept would hide what other processes write.
            filesystem, path = url_to_fs(url, use_listings_cache=False, **self.options)
        except ImportError as error:
            raise _needs(*_PACKAGES.get(scheme, (scheme, scheme)), url, error) from error
        except ValueError as error:
            if "Protocol not known" not in str(error):
                raise
            raise SourceError(
                f"no library reads `{scheme}://` (`{url}`): pass s3://, gs://, abfs:// or hf://"
            ) from None
        return filesystem, path

    def info(self, url: str) -> ObjectInfo | None:
        """Return the facts of an object, or None for a folder.

        Raises:
            FileNotFoundError: There is neither.
            OSError: The store does not answer.
        """
        filesystem, path = self.filesystem(url)

        def ask() -> dict[str, Any]:
            filesystem.invalidate_cache()
            found: dict[str, Any] = filesystem.info(path)
            return found

        found = repeated(ask)
        return None if found["type"] == "directory" else _facts(found)

    def find(self, url: str) -> dict[str, ObjectInfo]:
        """Return the objects under a folder, at any depth, by URL; nothing if there is no such folder.

        Raises:
            FileNotFoundError: There is no such bucket.
            OSError: The store does not answer.
        """
        filesystem, path = self.filesystem(url)

        def ask() -> dict[str, Any]:
            filesystem.invalidate_cache()
            found: dict[str, Any] | list[str] = filesystem.find(path, detail=True)
            # adlfs answers with a list where the path is an object.
            return found if isinstance(found, dict) else {name: filesystem.info(name) for name in found}

        top, length = url.rstrip("/"), len(path.rstrip("/"))
        return {
            top + name[length:]: _facts(facts)
            for name, facts in repeated(ask).items()
            if facts["type"] != "directory" and not name.endswith("/")  # marks of empty folders
        }

    def glob(self, url: str) -> dict[str, ObjectInfo | None]:
        """Return the objects and folders that match a pattern, by URL; None in place of the facts of a folder.

        Raises:
            OSError: The store does not answer.
        """
        filesystem, path = self.filesystem(url)

        def ask() -> dict[str, Any]:
            filesystem.invalidate_cache()
            found: dict[str, Any] = filesystem.glob(path, detail=True)
            return found

        base = url[: re.search(r"[*?[]", url).start()].rpartition("/")[0]  # type: ignore[union-attr]
        length = len(self.filesystem(base)[1].rstrip("/"))
        return {
            base + name.rstrip("/")[length:]: None if facts["type"] == "directory" else _facts(facts)
            for name, facts in repeated(ask).items()
        }

    def read(self, url: str, start: int, stop: int) -> bytes:
        """Read bytes `start` to `stop` of an object.

        Raises:
            FileNotFoundError, PermissionError: It is gone or may not be read.
            OSError: The store does not answer, or not with this number of bytes.
        """
        filesystem, path = self.filesystem(url)
        expected = stop - start
        # That of the Hub opens a file for each call, which by default reads megabytes ahead.
        more = {"cache_type": "none"} if "hf" in _protocols(filesystem) else {}

        def ask() -> bytes:
            found: bytes = filesystem.cat_file(path, start=start, end=stop, **more)
            if len(found) != expected:
                raise ShortAnswerError(
                    f"the store sent {len(found):,} bytes for the {expected:,} from byte {start:,} on: its answers are "
                    "cut, or the object has another size than the store says"
                )
            return found

        return repeated(ask) if expected else b""

    def put(self, url: str, content: bytes, *, create: bool = False) -> None:
        """Write a small object whole.

        Args:
            url: The object.
            content: What it holds.
            create: Whether it must not exist yet.

        Raises:
            FileExistsError: It exists, and `create` is True.
            OSError: It cannot be written.
        """
        filesystem, path = self.filesystem(url)
        if create and not _creates(filesystem):
            if filesystem.exists(path):
                raise FileExistsError(path)
            create = False
        mode = {"mode": "create"} if create else {}
        repeated(lambda: filesystem.pipe_file(path, content, **mode))

    def put_file(self, file: str | os.PathLike[str], url: str, *, create: bool = False) -> ObjectInfo:
        """Write an object from a local file, in parts where it is large; it appears whole or not at all.

        Args:
            file: The file.
            url: The object.
            create: Whether it must not exist yet.

        Returns:
            The facts of the object.

        Raises:
            FileExistsError: It exists, and `create` is True.
            OSError: It cannot be written, or the store has another size of it.
        """
        filesystem, path = self.filesystem(url)
        more: dict[str, Any] = {"chunksize": PART_BYTES} if hasattr(filesystem, "call_s3") else {}
        if "abfs" in _protocols(filesystem):
            more["max_concurrency"] = _BLOCKS_AT_ONCE
        if create and _creates(filesystem):
            more["mode"] = "create"
        elif create and filesystem.exists(path):
            raise FileExistsError(path)
        repeated(lambda: filesystem.put_file(os.fspath(file), path, **more))
        facts = self.info(url)
        size = os.path.getsize(file)
        if facts is None or facts.size != size:
            raise OSError(f"the store says that it has {0 if facts is None else facts.size:,} bytes of {size:,}")
        return facts

    def copy(self, url: str, target: str) -> None:
        """Copy an object within the store, which moves its bytes itself.

        Args:
            url: The object.
            target: Where its copy is to be. What is there is replaced.

        Raises:
            OSError: It cannot be copied, or the store has another size of the copy.
        """
        filesystem, path = self.filesystem(url)
        repeated(lambda: filesystem.cp_file(path, self.filesystem(target)[1]))
        facts, copied = self.info(url), self.info(target)
        if "abfs" in _protocols(filesystem) and facts is not None and facts.size:
            # Azure may answer before it has copied. Until then, the copy is empty.
            until = time.monotonic() + COPY_SECONDS
            while copied is not None and not copied.size and time.monotonic() < until:
                time.sleep(COPY_PAUSE)
                copied = self.info(target)
        if facts is None or copied is None or facts.size != copied.size:
            raise OSError(f"the store has copied `{url}`, and says that the copy has another size")

    def delete(self, urls: Iterable[str]) -> None:
        """Delete objects; those that are gone already do not matter.

        Raises:
            OSError: The store refuses, or does not answer.
        """
        for url in urls:
            filesystem, path = self.filesystem(url)
            try:
                repeated(partial(filesystem.rm_file, path))
            except FileNotFoundError:
                continue


def _needs(package: str, install: str, url: str, error: ImportError) -> SourceError:
    return SourceError(f"`{url}` needs {package} ({error}): {pip_install(install)}")


def _creates(filesystem: Any) -> bool:
    """Return whether a file system can write an object only if it does not exist, in one step."""
    return bool({"s3", "gs", "gcs", "abfs"} & set(_protocols(filesystem)))


def _protocols(filesystem: Any) -> tuple[str, ...]:
    names = filesystem.protocol
    return (names,) if isinstance(names, str) else tuple(names)


@cache
def _reset_children() -> None:
    """Give forked children of this process an event loop of their own: before 2025.5, fsspec leaves them waiting."""
    from fsspec import asyn

    if hasattr(os, "register_at_fork") and not hasattr(asyn, "reset_after_fork"):
        os.register_at_fork(after_in_child=partial(_reset, asyn))


def _reset(asyn: Any) -> None:
    asyn.reset_lock()
    asyn.loop[0] = asyn.iothread[0] = None


def _facts(found: Mapping[str, Any]) -> ObjectInfo:
    tag = next((str(found[name]) for name in _TAGS if found.get(name) is not None), None)
    size = found.get("size")
    if size is None:
        raise OSError("the store does not say how many bytes the object has")
    # Azure quotes an ETag where it is asked for an object, and not where it lists them; nor does adlfs before 2026.5.
    return ObjectInfo(int(size), None if tag is None else tag.strip('"'))
