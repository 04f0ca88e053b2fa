"""The shard files of a packed directory as tables, checked against the manifest."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from packsort import _checks
from packsort._arrow import to_numpy
from packsort._checksum import checksum
from packsort._paths import refuse_undecodable
from packsort.errors import DamagedError, PacksortError, SourceError
from packsort.schema import SEQ_LENGTHS
from packsort.shards.inside import refuse_outside
from packsort.shards.manifest import NAME, ShardInfo
from packsort.shards.manifest_file import read_manifest
from packsort.shards.shard_file import read_facts, read_table


class ShardFiles:
    """The files of a packed directory.

    Args:
        path: The directory.
        memory_map: Whether to map Arrow shards into memory. A mapped file that another program shortens ends the
            process; a file that is read is whole or raises an error.

    Attributes:
        path: The directory.
        manifest: Its record.

    Raises:
        SourceNotFoundError: There is no such directory.
        DamagedError: The directory is unfinished, its manifest is damaged, or a shard is missing, is a link out of the
            directory, or differs in size from the manifest.
    """

    def __init__(self, path: str | os.PathLike[str], *, memory_map: bool = True) -> None:
        self.path = Path(path)
        self.memory_map = _checks.boolean("memory_map", memory_map)
        refuse_undecodable(path, SourceError)
        stamp = _stamp(self.path / NAME)
        self.manifest = read_manifest(self.path)
        self._stamps = {self.path / NAME: stamp}
        for shard in self.manifest.shards:
            file = self.path / shard.name
            refuse_outside(file, self.path)
            self._stamps[file] = _stamp(file)
            size = file.stat().st_size if file.is_file() else None
            if size != shard.bytes:
                found = "is missing" if size is None else f"has {size} bytes"
                raise DamagedError(
                    f"`{file}` {found}, the manifest says {shard.bytes} bytes: restore it from a copy, or pack again"
                )

    def table(self, index: int) -> pa.Table:
        """Read shard `index` as a table: memory-mapped if it is Arrow, decoded if it is Parquet.

        Raises:
            DamagedError: The shard cannot be read, its columns or packs differ from the manifest, or it was replaced
                since the directory was opened.
        """
        shard = self.manifest.shards[index]
        table = self._read(index)
        found = {field.name: str(field.type) for field in table.schema}
        if _without_item_names(found) != _without_item_names(self.manifest.columns):
            raise DamagedError(
                f"`{self.path / shard.name}` has columns {found}, the manifest says {self.manifest.columns}"
            )
        self._compare_packs(shard, table.num_rows)
        return table

    def segment_lengths(self, index: int) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
        """Read the segment lengths of shard `index`, and no tokens.

        Returns:
            First segment of each pack, int64 (packs + 1,), and tokens of each segment, int32 (segments,).

        Raises:
            DamagedError: The shard cannot be read.
        """
        shard = self.manifest.shards[index]
        column = (self.table(index) if shard.is_mapped else self._read(index, [SEQ_LENGTHS]))[SEQ_LENGTHS]
        lists = pa.concat_arrays(column.chunks or [pa.array([], column.type)])
        return to_numpy(lists.offsets).astype(np.int64), to_numpy(lists.values)

    def check_footers(self) -> None:
        """Compare the number of packs and `max_length` in the footer of each shard with the manifest.

        Whoever allocates memory by these numbers calls this first: the files have as many packs.

        Raises:
            DamagedError: They differ, or a shard cannot be read.
        """
        for shard in self.manifest.shards:
            facts = read_facts(self.path / shard.name, memory_map=self.memory_map)
            self._compare_packs(shard, facts.packs)
            if facts.max_length != self.manifest.max_length:
                raise DamagedError(
                    f"`{self.path / shard.name}` has max_length {facts.max_length}, the manifest says "
                    f"{self.manifest.max_length}: restore the directory from a copy, or pack again"
                )

    def check_checksum(self, index: int) -> None:
        """Compare the checksum of shard `index` with the manifest.

        Raises:
            DamagedError: The file was changed or cannot be read.
        """
        shard = self.manifest.shards[index]
        path = self.path / shard.name
        try:
            found = checksum(path)
        except OSError as error:
            raise DamagedError(f"`{path}` cannot be read: {error}") from error
        if found != shard.checksum:
            raise DamagedError(
                f"`{path}` was changed (its checksum is {found}, the manifest says {shard.checksum}): restore it from "
                "a copy, or pack again"
            )

    def check_unchanged(self) -> None:
        """Check that no file was replaced, changed or removed since the directory was opened.

        Files are compared by inode, size and time of change. Where these differ, their content is: a file that was
        only touched, or copied over itself, passes.

        Raises:
            DamagedError: A file is gone or has other content.
        """
        for path in self._stamps:
            self._check_file(path)

    def stamp(self, index: int) -> tuple[int, int, int] | None:
        """Return inode, size and time of change of shard `index` when the directory was opened."""
        return self._stamps[self.path / self.manifest.shards[index].name]

    def check_opened(self, index: int) -> None:
        """Check that shard `index` and the manifest are those of the packing that was opened.

        Raises:
            DamagedError: One is gone or has other content.
        """
        self._check_file(self.path / NAME)
        self._check_file(self.path / self.manifest.shards[index].name)

    def _check_file(self, path: Path) -> None:
        now = _stamp(path)
        if now == self._stamps[path]:
            return
        if now is None or not self._has_recorded_content(path):
            found = "is gone" if now is None else "was changed"
            raise DamagedError(f"`{path}` {found} while the packed directory was open: open it anew")
        self._stamps[path] = now

    def _has_recorded_content(self, path: Path) -> bool:
        try:
            refuse_outside(path, self.path)
            if path.name == NAME:
                return read_manifest(path.parent) == self.manifest
            return checksum(path) == self._shard(path.name).checksum
        except (OSError, PacksortError):
            return False

    def _shard(self, name: str) -> ShardInfo:
        return next(shard for shard in self.manifest.shards if shard.name == name)

    def _read(self, index: int, columns: list[str] | None = None) -> pa.Table:
        """Read a shard of the packing that was opened, not of another one that took its place."""
        self.check_opened(index)
        table = read_table(self.path / self.manifest.shards[index].name, columns, memory_map=self.memory_map)
        self.check_opened(index)  # what was opened by its name may be another file than was just looked at
        return table

    def _compare_packs(self, shard: ShardInfo, found: int) -> None:
        if found != shard.packs:
            raise DamagedError(
                f"`{self.path / shard.name}` has {found} packs, the manifest says {shard.packs}: restore the directory "
                "from a copy, or pack again"
            )


def _stamp(path: Path) -> tuple[int, int, int] | None:
    """Return inode, size and time of change, which differ if another file took the place of this one."""
    try:
        facts = path.stat()
    except OSError:
        return None
    return facts.st_ino, facts.st_size, facts.st_mtime_ns


def _without_item_names(columns: dict[str, str]) -> dict[str, str]:
    """Write column types alike for Arrow and Parquet, which names the items of a list `element`."""
    return {name: kind.replace("element:", "item:") for name, kind in columns.items()}
