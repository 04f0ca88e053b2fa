"""Files that an index-only directory refers to: found, and compared with what was packed before they are used.

A file is the one that was packed if its size, the time of its last change, and a checksum of stretches of it are
recorded. The checksum is cheap, so it is compared whenever a process opens the file; the size and the time also while
it is used. This finds changes by mistake, and is no protection against malice.
"""

from __future__ import annotations

import os
import stat
from datetime import UTC, datetime
from pathlib import Path

import xxhash

from packsort._paths import printable
from packsort.errors import DamagedError, PacksortError, SourceError
from packsort.shards.index_record import FileReference
from packsort.sources.formats.detect import open_file
from packsort.sources.formats.reader import BlockReader, Blocks, Reader
from packsort.sources.renamed import rename_columns

_BEGIN, _END = 1 << 16, 1 << 20  # footers of Parquet and Arrow are at the end
_STRETCHES, _STRETCH = 64, 4096


def refer(path: str, rows: int, folder: Path, sample: str | None = None) -> FileReference:
    """Record a file as it is now.

    Args:
        path: The file.
        rows: Rows in it.
        folder: Packed directory that refers to it.
        sample: Checksum that another directory has recorded of it; None computes it.

    Raises:
        SourceError: It cannot be read.
    """
    absolute = os.path.abspath(path)
    try:
        found = os.stat(absolute)
        known = sample_checksum(Path(absolute)) if sample is None else sample
        relative = os.path.relpath(absolute, os.path.realpath(folder))
    except OSError as error:
        raise SourceError(f"`{path}` cannot be read: {error.strerror}") from error
    except ValueError:  # on another drive
        relative = absolute
    return FileReference(relative.replace(os.sep, "/"), absolute, rows, found.st_size, _time_of(found), known)


def sample_checksum(path: Path) -> str:
    """Return the checksum of the beginning of a file, its end, and stretches between them.

    Args:
        path: The file.

    Raises:
        OSError: It cannot be read.
    """
    digest = xxhash.xxh3_128()
    with path.open("rb", buffering=0) as file:
        size = os.fstat(file.fileno()).st_size
        digest.update(str(size).encode())
        if size <= _BEGIN + _END + _STRETCHES * _STRETCH:
            places = [(0, size)]
        else:
            room = size - _BEGIN - _END - _STRETCH
            middle = [(_BEGIN + room * number // (_STRETCHES - 1), _STRETCH) for number in range(_STRETCHES)]
            places = [(0, _BEGIN), *middle, (size - _END, _END)]
        for start, count in places:
            file.seek(start)
            digest.update(file.read(count))
    return f"xxh3_128:{digest.hexdigest()}"


class ReferencedFile:
    """A file that an index-only directory refers to.

    Args:
        reference: Its record.
        folder: The directory.
        renamed: Column of the file for each column that packsort looks for, or None.
        memory_map: Whether to map Arrow files into memory.
        sampled: Whether to compare the checksum when the file is opened.

    Attributes:
        path: Where the file is.
        rows: Rows in it.
        reference: As given.
    """

    def __init__(
        self,
        reference: FileReference,
        folder: Path,
        renamed: dict[str, str] | None,
        *,
        memory_map: bool = True,
        sampled: bool = True,
    ) -> None:
        self.reference = reference
        self.rows = reference.rows
        self._folder, self._renamed, self._memory_map, self._sampled = folder, renamed, memory_map, sampled
        near = os.path.normpath(os.path.join(os.path.realpath(folder), reference.path))
        self.path = near if os.path.exists(near) or not os.path.isabs(reference.absolute) else reference.absolute

    def check(self) -> None:
        """Compare the size and the time of the last change.

        Raises:
            DamagedError: The file is gone, is no regular file, or was changed.
        """
        known = self.reference
        try:
            found = os.stat(self.path)
        except (OSError, ValueError):
            raise DamagedError(
                f"`{printable(self.path)}` is gone, and packs of `{self._folder}` are gathered from it: put it back, "
                "or pack again"
            ) from None
        if not stat.S_ISREG(found.st_mode):
            raise DamagedError(f"`{printable(self.path)}` is no regular file: put the file back, or pack again")
        if found.st_size != known.bytes:
            raise self._changed(f"it has {found.st_size:,} bytes, and had {known.bytes:,}")
        if _time_of(found) != known.mtime_ns:
            raise self._changed(
                f"its time of change is {_date(_time_of(found))}, and was {_date(known.mtime_ns)}; a copy keeps the "
                "time with `cp -p`"
            )

    def open(self) -> Blocks:
        """Return the blocks of the file.

        Raises:
            DamagedError: It is gone, was changed, or cannot be read.
        """
        try:
            reader = self.reader()
            if not isinstance(reader, BlockReader):
                raise self._changed("it is neither Parquet nor Arrow")
            blocks = reader.blocks()
        except SourceError as error:
            raise DamagedError(f"{error}: restore the file, or pack again") from error
        self.check()
        return blocks

    def reader(self) -> Reader:
        """Return a reader of the file, with the columns that packsort looks for.

        Raises:
            DamagedError: The file is gone or was changed.
            SourceError: It cannot be read.
        """
        self.check()
        if self._sampled:
            self.check_sample()
        reader = open_file(Path(self.path), memory_map=self._memory_map)
        return reader if self._renamed is None else rename_columns([reader], self._renamed)[0]

    def check_sample(self) -> None:
        """Compare the checksum of stretches of the file.

        Raises:
            DamagedError: It differs, or the file cannot be read.
        """
        try:
            found = sample_checksum(Path(self.path))
        except OSError as error:
            raise DamagedError(f"`{self.path}` cannot be read: {error.strerror}") from error
        if found != self.reference.sample:
            raise self._changed("its content differs")

    def _changed(self, reason: str) -> PacksortError:
        return DamagedError(
            f"`{printable(self.path)}` was changed since it was packed to `{self._folder}` ({reason}): put the old "
            "file back, or pack again"
        )


def _time_of(found: os.stat_result) -> int:
    return max(0, found.st_mtime_ns)


def _date(nanoseconds: int) -> str:
    try:
        return datetime.fromtimestamp(nanoseconds / 1e9, UTC).isoformat(" ", "microseconds").removesuffix("+00:00")
    except (OverflowError, ValueError, OSError):
        return str(nanoseconds)
