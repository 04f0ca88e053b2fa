"""Copies of shards of object stores on a disk, in a folder of bounded size that processes share.

A copy has the name of its content's checksum, so packed directories share what they have in common, and a copy is never
out of date. It is downloaded under a hidden name, compared with the checksum, and renamed. A lock on the hidden name
makes other processes wait instead of downloading it too. What was used least recently goes first.
"""

from __future__ import annotations

import os
import shutil
import sys
from contextlib import suppress
from pathlib import Path
from threading import Lock

import xxhash

from packsort import _checks
from packsort._atomic import FileLock, output_errors
from packsort._stores import RangedFile, SequentialFile, StorePath
from packsort._threads import start_thread
from packsort.errors import DamagedError, OptionError, PacksortError
from packsort.shards.manifest import ShardInfo

FOLDER_VARIABLE, LIMIT_VARIABLE = "PACKSORT_CACHE", "PACKSORT_CACHE_LIMIT"
_BLOCK = 1 << 20
_LONGEST_WAIT = 24 * 3600.0  # seconds, for a process that downloads the same shard
_PARTIAL = ".partial"


class ShardCache:
    """Folder of copies.

    Args:
        folder: The folder, or None for `PACKSORT_CACHE`, or the user's folder for caches.
        limit: Most bytes of copies, as a number or a text such as "100GB". None is `PACKSORT_CACHE_LIMIT`, or half of
            what is free and what is cached.

    Attributes:
        folder: The folder.
        limit: Most bytes of copies.

    Raises:
        OptionError: `limit` is no size.
        OutputError: The folder cannot be made.
    """

    def __init__(self, folder: str | os.PathLike[str] | None, limit: int | str | None) -> None:
        given = folder if folder is not None else os.environ.get(FOLDER_VARIABLE)
        self.folder = _user_folder() if given is None else Path(given).expanduser()
        limit = limit if limit is not None else os.environ.get(LIMIT_VARIABLE)
        with output_errors(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            free = shutil.disk_usage(self.folder).free
        held = sum(size for _, size, _ in self._copies())
        self.limit = (free + held) // 2 if limit is None else _checks.byte_size("cache_limit", limit)
        self._fetching = Lock()

    def __reduce__(self) -> tuple[type[ShardCache], tuple[str, int]]:
        return ShardCache, (os.fspath(self.folder), self.limit)

    def check_room(self, shards: tuple[ShardInfo, ...], name: str) -> None:
        """Check that the largest shard fits, with the next one on its way.

        Raises:
            OptionError: It does not.
        """
        largest = sorted((shard.bytes for shard in shards), reverse=True)[:2]
        if sum(largest) > self.limit:
            raise OptionError(
                f"cache_limit must be at least {sum(largest)}, two shards of {name}, got {self.limit}: pass it, "
                f"set {LIMIT_VARIABLE}, or make room in `{self.folder}`"
            )

    def copy(self, shard: ShardInfo, source: StorePath) -> Path:
        """Return the copy of a shard, downloaded if there is none.

        Raises:
            DamagedError: The shard cannot be read, or differs from the manifest.
            OutputError: The copy cannot be written.
        """
        path = self.folder / f"{shard.checksum.partition(':')[2]}{source.suffix}"
        if not self._use(path, shard):
            hidden = path.with_name(f".{path.name}{_PARTIAL}")
            with FileLock(hidden, path, wait=_LONGEST_WAIT) as lock:
                if self._use(path, shard):  # of the process that had the lock
                    hidden.unlink(missing_ok=True)
                    return path
                try:
                    self._make_room(shard.bytes, hidden)
                    self._download(shard, source, lock.descriptor, path)
                    with output_errors(path):
                        os.replace(hidden, path)
                except BaseException:
                    hidden.unlink(missing_ok=True)
                    raise
        return path

    def drop(self, shard: ShardInfo, source: StorePath) -> None:
        """Remove the copy of a shard."""
        (self.folder / f"{shard.checksum.partition(':')[2]}{source.suffix}").unlink(missing_ok=True)

    def prefetch(self, shard: ShardInfo, source: StorePath) -> None:
        """Download a shard beside what the caller does next, unless another one is on its way.

        An error is raised where the shard is used.
        """
        if not self._fetching.acquire(blocking=False):
            return

        def fetch() -> None:
            try:
                self.copy(shard, source)
            except Exception:
                pass
            finally:
                self._fetching.release()

        if not start_thread(fetch):
            self._fetching.release()

    def _use(self, path: Path, shard: ShardInfo) -> bool:
        """Note that a copy is used; return whether there is one."""
        try:
            if path.stat().st_size != shard.bytes:
                return False
            os.utime(path)
        except FileNotFoundError:
            return False
        except OSError:  # of a read-only cache
            return path.exists()
        return True

    def _copies(self) -> list[tuple[int, int, Path]]:
        """Return time of use, size and path of each copy, also of those on their way."""
        found = []
        for entry in os.scandir(self.folder):
            with suppress(FileNotFoundError):
                facts = entry.stat()
                if entry.name.endswith((".arrow", ".parquet", _PARTIAL)):
                    found.append((facts.st_mtime_ns, facts.st_size, Path(entry.path)))
        return sorted(found)

    def _make_room(self, size: int, hidden: Path) -> None:
        with FileLock(self.folder / ".lock", self.folder, wait=_LONGEST_WAIT):
            copies = [one for one in self._copies() if one[2] != hidden]
            taken = sum(size for _, size, _ in copies) + size
            for _, freed, path in copies:
                if taken <= self.limit:
                    break
                if not path.name.endswith(_PARTIAL):
                    path.unlink(missing_ok=True)
                    taken -= freed
            with output_errors(hidden):
                os.truncate(hidden, size)  # others count what is on its way

    def _download(self, shard: ShardInfo, source: StorePath, descriptor: int, path: Path) -> None:
        digest = xxhash.xxh3_128()
        try:
            with RangedFile(source.store, str(source), source.info()) as file, SequentialFile(file) as pieces:
                os.lseek(descriptor, 0, os.SEEK_SET)
                while block := pieces.read(_BLOCK):
                    digest.update(block)
                    with output_errors(path):
                        view = memoryview(block)
                        while view:
                            view = view[os.write(descriptor, view) :]
        except PacksortError:
            raise
        except OSError as error:
            raise DamagedError(f"`{source}` cannot be read: {error}") from error
        found = f"xxh3_128:{digest.hexdigest()}"
        if found != shard.checksum:
            raise DamagedError(
                f"`{source}` was changed (its checksum is {found}, the manifest says {shard.checksum}): open the "
                "directory anew, restore it from a copy, or pack again"
            )


def _user_folder() -> Path:
    """Return the folder in which the user's system keeps caches."""
    if sys.platform == "win32":
        home = Path(os.environ.get("LOCALAPPDATA", "~/AppData/Local"))
    elif sys.platform == "darwin":
        home = Path("~/Library/Caches")
    else:
        home = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache")
    return home.expanduser() / "packsort" / "shards"
