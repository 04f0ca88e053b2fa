"""The shard files of a packed directory as tables, checked against the manifest."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from packsort import _checks
from packsort._arrow import from_numpy, to_numpy
from packsort._checksum import checksum
from packsort._paths import refuse_undecodable
from packsort._stores import StorePath, place
from packsort.errors import DamagedError, PacksortError, SourceError
from packsort.schema import PIECE_STARTS, SEGMENT_COLUMNS, SEQ_LENGTHS, SEQUENCE_IDS
from packsort.shards.index_record import SEQUENCES
from packsort.shards.index_tokens import IndexTokens, one_chunk
from packsort.shards.inside import refuse_outside
from packsort.shards.manifest import NAME, ShardInfo
from packsort.shards.manifest_file import read_manifest
from packsort.shards.shard_cache import LIMIT_VARIABLE, ShardCache
from packsort.shards.shard_file import read_facts, read_table
from packsort.sources.formats.reader import naming

_TRIES = 5
_PACKS_A_BYTE = 1000


@dataclass(frozen=True)
class StoreOptions:
    """Options of a packed directory in an object store.

    Attributes:
        storage_options: Options of the fsspec file system, or None. They are not shown: they may hold keys.
        cache_dir: Folder for copies of shards, or None for the default.
        cache_limit: Most bytes of copies, or None for the default.
    """

    storage_options: Mapping[str, Any] | None = field(default=None, repr=False)
    cache_dir: str | os.PathLike[str] | None = None
    cache_limit: int | str | None = None


class ShardFiles:
    """The files of a packed directory.

    Args:
        path: The directory.
        memory_map: Whether to map Arrow shards into memory. A mapped file that another program shortens ends the
            process; a file that is read is whole or raises an error.
        cache_size: Most bytes of decoded row groups that an index-only directory keeps, or None for the default.
        sampled: Whether to compare checksums of the files that an index-only directory refers to.
        store: Options of a directory in an object store, or None for the defaults.

    Attributes:
        path: The directory, or its URL.
        manifest: Its record.
        tokens: Tokens of an index-only directory; None where shards hold them.

    Raises:
        SourceNotFoundError: There is no such directory.
        DamagedError: The directory is unfinished, its manifest is damaged, or a shard is missing, is a link out of the
            directory, or differs in size from the manifest; or a file that an index refers to is gone or was changed.
        OptionError: `cache_size` is less than what one shard needs.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        memory_map: bool = True,
        cache_size: int | None = None,
        sampled: bool = True,
        store: StoreOptions | None = None,
    ) -> None:
        self.path = place(path, None if store is None else store.storage_options)
        self.memory_map = _checks.boolean("memory_map", memory_map)
        refuse_undecodable(path, SourceError)
        self._cache: ShardCache | None = None
        if isinstance(self.path, StorePath):
            with naming(str(self.path)):
                self.path.list()
        stamp = _stamp(self.path / NAME)
        self.manifest = read_manifest(self.path)
        self._stamps = {self.path / NAME: stamp}
        index = self.manifest.index
        sizes = {shard.name: shard.bytes for shard in self.manifest.shards}
        for name, recorded in (sizes if index is None else sizes | {SEQUENCES: index.bytes}).items():
            file = self.path / name
            refuse_outside(file, self.path)
            self._stamps[file] = _stamp(file)
            size = _size(file)
            if size != recorded:
                found = "is missing" if size is None else f"has {size} bytes"
                raise DamagedError(
                    f"`{file}` {found}, the manifest says {recorded} bytes: restore it from a copy, or pack again"
                )
        self.tokens: IndexTokens | None = None
        if index is not None:
            if isinstance(self.path, StorePath):
                raise SourceError(f"`{self.path}` is index-only, and refers to files on a disk: copy it to their disk")
            self.tokens = IndexTokens(
                self.path, self.manifest, memory_map=memory_map, cache_size=cache_size, sampled=sampled
            )

        if isinstance(self.path, StorePath):
            options = StoreOptions() if store is None else store
            self._cache = ShardCache(options.cache_dir, options.cache_limit)
            self._cache.check_room(self.manifest.shards, f"`{self.path}`")

    @property
    def is_remote(self) -> bool:
        """Whether the directory is in an object store, whose shards are copied one by one."""
        return self._cache is not None

    def prefetch(self, index: int) -> None:
        """Copy shard `index` of a store beside what the caller does next."""
        shard = self.manifest.shards[index]
        source = self.path / shard.name
        if self._cache is not None and isinstance(source, StorePath):
            self._cache.prefetch(shard, source)

    def file(self, index: int) -> Path:
        """Return shard `index` as a file on a disk, copied there if it is in an object store.

        Raises:
            DamagedError: The shard cannot be read, or differs from the manifest.
            OutputError: The copy cannot be written.
        """
        shard = self.manifest.shards[index]
        source = self.path / shard.name
        if self._cache is not None and isinstance(source, StorePath):
            return self._cache.copy(shard, source)
        return Path(source)

    def files(self) -> list[Path]:
        """Return all shards as files on a disk that are there at the same time.

        Raises:
            SourceError: The cache of an object store has no room for all.
            DamagedError, OutputError: As for `file`.
        """
        size = sum(shard.bytes for shard in self.manifest.shards)
        if self._cache is not None and size > self._cache.limit:
            raise SourceError(
                f"`{self.path}` has {size} bytes, and at most {self._cache.limit} of them are kept on the disk: set "
                f"{LIMIT_VARIABLE}, or read it with `packsort.torch.PackedLoader`, which needs two shards at a time"
            )
        return [self.file(index) for index in range(len(self.manifest.shards))]

    def table(self, index: int) -> pa.Table:
        """Read shard `index` as a table: mapped if it is Arrow, decoded if it is Parquet, gathered if it is an index's.

        Raises:
            DamagedError: The shard cannot be read, its columns or packs differ from the manifest, or it was replaced
                since the directory was opened.
        """
        table = self.stored(index)
        if self.tokens is None:
            return table
        where = f"`{self.path / self.manifest.shards[index].name}`"
        return _with_tokens(table, self.tokens, list(self.manifest.columns), where)

    def stored(self, index: int) -> pa.Table:
        """Read shard `index` as it is stored: a shard of an index has no token columns.

        Raises:
            DamagedError: As for `table`.
        """
        shard = self.manifest.shards[index]
        table = self._read(index)
        found = _without_item_names({field.name: str(field.type) for field in table.schema})
        recorded = _without_item_names(self.manifest.columns)
        if self.tokens is not None:
            own = (*SEGMENT_COLUMNS, *self.manifest.options.keep)
            recorded = {name: kind for name, kind in recorded.items() if name in own}
        if found != recorded:
            raise DamagedError(f"`{self.path / shard.name}` has columns {found}, the manifest says {recorded}")
        self._compare_packs(shard, table.num_rows)
        if self.tokens is not None:
            self.tokens.check_packs(table, f"`{self.path / shard.name}`")
        return table

    def segment_lengths(self, index: int) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
        """Read the segment lengths of shard `index`, and no tokens.

        Returns:
            First segment of each pack, int64 (packs + 1,), and tokens of each segment, int32 (segments,).

        Raises:
            DamagedError: The shard cannot be read.
        """
        shard = self.manifest.shards[index]
        column = (self.stored(index) if shard.is_mapped else self._read(index, [SEQ_LENGTHS]))[SEQ_LENGTHS]
        lists = pa.concat_arrays(column.chunks or [pa.array([], column.type)])
        return to_numpy(lists.offsets).astype(np.int64), to_numpy(lists.values)

    def check_footers(self) -> None:
        """Compare the number of packs and `max_length` in the footer of each shard with the manifest.

        Whoever allocates memory by these numbers calls this first: the files have as many packs.

        Raises:
            DamagedError: They differ, or a shard cannot be read.
        """
        for index, shard in enumerate(self.manifest.shards):
            if self.is_remote:  # a footer is looked at when its shard is copied; until then, its size bounds its packs
                self._compare_size(shard)
                continue
            facts = read_facts(self.file(index), memory_map=self.memory_map)
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
            found = checksum(self.file(index))
            if found != shard.checksum and self._cache is not None and isinstance(path, StorePath):
                self._cache.drop(shard, path)  # the disk has damaged the copy
                found = checksum(self.file(index))
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
        if self.tokens is not None:
            self.tokens.check_unchanged()

    def stamp(self, index: int) -> Any:
        """Return inode, size and time of change of shard `index`, or size and ETag, when the directory was opened."""
        return self._stamps[self.path / self.manifest.shards[index].name]

    def check_opened(self, index: int) -> None:
        """Check that shard `index` and the manifest are those of the packing that was opened.

        Raises:
            DamagedError: One is gone or has other content.
        """
        self._check_file(self.path / NAME)
        self._check_file(self.path / self.manifest.shards[index].name)

    def _check_file(self, path: Path | StorePath) -> None:
        if isinstance(path, StorePath):
            return  # a copy has the content that the manifest names, whatever becomes of the store
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
            if path.name == SEQUENCES and self.manifest.index is not None:
                return checksum(path) == self.manifest.index.checksum
            return checksum(path) == self._shard(path.name).checksum
        except (OSError, PacksortError):
            return False

    def _shard(self, name: str) -> ShardInfo:
        return next(shard for shard in self.manifest.shards if shard.name == name)

    def _read(self, index: int, columns: list[str] | None = None) -> pa.Table:
        """Read a shard of the packing that was opened, not of another one that took its place."""
        self.check_opened(index)
        for left in reversed(range(_TRIES)):
            path = self.file(index)
            try:
                table = read_table(path, columns, memory_map=self.memory_map)
            except DamagedError:
                if self.is_remote and left and not path.exists():
                    continue  # another process has made room in the cache
                raise
            break
        self.check_opened(index)  # what was opened by its name may be another file than was just looked at
        return table

    def _compare_size(self, shard: ShardInfo) -> None:
        """Check that a shard has the bytes for its packs: two offsets each in Arrow, and almost nothing in Parquet."""
        most = shard.bytes // 8 if shard.is_mapped else shard.bytes * _PACKS_A_BYTE
        if shard.packs > most:
            raise DamagedError(
                f"`{self.path / shard.name}` has {shard.bytes} bytes, too few for the {shard.packs} packs of the "
                "manifest: restore the directory from a copy, or pack again"
            )

    def _compare_packs(self, shard: ShardInfo, found: int) -> None:
        if found != shard.packs:
            raise DamagedError(
                f"`{self.path / shard.name}` has {found} packs, the manifest says {shard.packs}: restore the directory "
                "from a copy, or pack again"
            )


def _with_tokens(packs: pa.Table, tokens: IndexTokens, names: list[str], where: str) -> pa.Table:
    """Return the packs of an index with their token columns.

    Args:
        packs: Their columns with one value for each segment, in one chunk.
        tokens: Tokens of the index.
        names: Columns to return, in order.
        where: Name of the shard.

    Raises:
        DamagedError: The tokens cannot be gathered.
    """
    lists = {name: one_chunk(packs[name]) for name in packs.column_names}
    offsets = to_numpy(lists[SEQ_LENGTHS].offsets)
    ids, lengths = to_numpy(lists[SEQUENCE_IDS].values), to_numpy(lists[SEQ_LENGTHS].values)
    starts = to_numpy(lists[PIECE_STARTS].values) if PIECE_STARTS in lists else None
    values = tokens.gather(lambda: where, ids, lengths, starts)
    ends = from_numpy(np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])[offsets].astype(np.int32))
    columns = {name: pa.ListArray.from_arrays(ends, from_numpy(one)) for name, one in values.items()}
    return pa.table({name: (columns | lists)[name] for name in names}, metadata=packs.schema.metadata)


def _size(path: Path | StorePath) -> int | None:
    if not path.is_file():
        return None
    if isinstance(path, StorePath):
        facts = path.info()
        return None if facts is None else facts.size
    return path.stat().st_size


def _stamp(path: Path | StorePath) -> Any:
    """Return inode, size and time of change, which differ if another file took the place of this one."""
    try:
        if isinstance(path, StorePath):
            return path.info()
        facts = path.stat()
    except OSError:
        return None
    return facts.st_ino, facts.st_size, facts.st_mtime_ns


def _without_item_names(columns: dict[str, str]) -> dict[str, str]:
    """Write column types alike for Arrow and Parquet, which names the items of a list `element`."""
    return {name: kind.replace("element:", "item:") for name, kind in columns.items()}
