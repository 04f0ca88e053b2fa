"""The shard files of a packed directory as tables, checked against the manifest."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from packsort._arrow import to_numpy
from packsort._paths import not_a_uri, refuse_undecodable
from packsort.errors import DamagedError, PacksortError, SourceError
from packsort.schema import SEQ_LENGTHS
from packsort.shards.manifest import NAME, Manifest, ShardInfo, checksum


class ShardFiles:
    """The files of a packed directory.

    Attributes:
        path: The directory.
        manifest: Its record.

    Raises:
        SourceNotFoundError: There is no such directory.
        DamagedError: The directory is unfinished, or a shard is missing or differs in size from the manifest.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        refuse_undecodable(path, SourceError)
        stamp = _stamp(self.path / NAME)
        self.manifest = Manifest.read(self.path)
        self._stamps = {self.path / NAME: stamp}
        for shard in self.manifest.shards:
            file = self.path / shard.name
            size = file.stat().st_size if file.is_file() else None
            if size != shard.bytes:
                found = "is missing" if size is None else f"has {size} bytes"
                raise DamagedError(f"`{file}` {found}, the manifest says {shard.bytes} bytes")
            self._stamps[file] = _stamp(file)

    def table(self, index: int) -> pa.Table:
        """Read shard `index` as a table: memory-mapped if it is Arrow, decoded if it is Parquet.

        Raises:
            DamagedError: The shard cannot be read, or its columns or packs differ from the manifest.
        """
        shard = self.manifest.shards[index]
        table = _read(self.path / shard.name)
        found = {field.name: str(field.type) for field in table.schema}
        if _without_item_names(found) != _without_item_names(self.manifest.columns):
            raise DamagedError(
                f"`{self.path / shard.name}` has columns {found}, the manifest says {self.manifest.columns}"
            )
        if table.num_rows != shard.packs:
            raise DamagedError(
                f"`{self.path / shard.name}` has {table.num_rows} packs, the manifest says {shard.packs}"
            )
        return table

    def segment_lengths(self, index: int) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
        """Read the segment lengths of shard `index`, and no tokens.

        Returns:
            First segment of each pack, int64 (packs + 1,), and tokens of each segment, int32 (segments,).

        Raises:
            DamagedError: The shard cannot be read.
        """
        shard = self.manifest.shards[index]
        if shard.is_mapped:
            column = self.table(index)[SEQ_LENGTHS]
        else:
            column = _read(self.path / shard.name, [SEQ_LENGTHS])[SEQ_LENGTHS]
        lists = pa.concat_arrays(column.chunks or [pa.array([], column.type)])
        return to_numpy(lists.offsets).astype(np.int64), to_numpy(lists.values)

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
            raise DamagedError(f"`{path}` was changed: its checksum is {found}, the manifest says {shard.checksum}")

    def check_unchanged(self) -> None:
        """Check that no file was replaced, changed or removed since the directory was opened.

        Files are compared by inode, size and time of change. Where these differ, their content is: a file that was
        only touched, or copied over itself, passes.

        Raises:
            DamagedError: A file is gone or has other content.
        """
        for path, before in self._stamps.items():
            now = _stamp(path)
            if now == before:
                continue
            if now is None or not self._has_recorded_content(path):
                found = "is gone" if now is None else "was changed"
                raise DamagedError(f"`{path}` {found} while the packed directory was open: open it anew")
            self._stamps[path] = now

    def _has_recorded_content(self, path: Path) -> bool:
        try:
            if path.name == NAME:
                return Manifest.read(path.parent) == self.manifest
            return checksum(path) == self._shard(path.name).checksum
        except (OSError, PacksortError):
            return False

    def _shard(self, name: str) -> ShardInfo:
        return next(shard for shard in self.manifest.shards if shard.name == name)


def _read(path: Path, columns: list[str] | None = None) -> pa.Table:
    """Read a shard file, or some columns of a Parquet shard."""
    try:
        if path.suffix == ".arrow":
            with pa.memory_map(os.fspath(path)) as file:
                return pa.ipc.open_file(file).read_all()
        # `pq.read_table` takes a folder such as `lr=3e-4` for a partition.
        with pq.ParquetFile(not_a_uri(path)) as file:
            return file.read(columns=columns)
    except (OSError, pa.ArrowException) as error:
        raise DamagedError(f"`{path}` cannot be read: {error}") from error


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
