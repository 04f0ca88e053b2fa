"""Reading packed shards: memory-mapped, nothing copied."""

from __future__ import annotations

import os
from bisect import bisect_right
from collections.abc import Iterator
from functools import lru_cache
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from packsort.errors import DamagedError
from packsort.shards.manifest import Manifest, ShardInfo

if TYPE_CHECKING:
    from packsort.shards.verify import Verification

Columns = dict[str, tuple[NDArray[np.int32], NDArray[Any]]]


def open_shards(path: str | os.PathLike[str]) -> Shards:
    """Opens a packed directory.

    Args:
        path: the directory that `packsort pack` or `packsort.write_shards` wrote.

    Raises:
        SourceNotFoundError: it is not there.
        DamagedError: it is unfinished, or a shard is missing or has another size than the manifest says.
    """
    return Shards(path)


class Shards:
    """The packs of a packed directory, in order; made by `packsort.open_shards`.

    `shards[i]` is pack `i`: a dict of NumPy arrays, which are read-only views of the mapped file: `input_ids` int32
    (tokens,), `labels` int32 (tokens,) where there are any, other per-token columns in their type, `seq_lengths` int32
    (sequences,), `sequence_ids` int64 (sequences,). Arrow shards are mapped; a Parquet shard is decoded when a pack
    of it is first asked for, and the last two are kept.

    Attributes:
        path: the directory.
        manifest: what it holds and how it was made.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self.manifest = Manifest.read(self.path)
        for shard in self.manifest.shards:
            file = self.path / shard.name
            size = file.stat().st_size if file.is_file() else None
            if size != shard.bytes:
                found = "is missing" if size is None else f"has {size} bytes"
                raise DamagedError(f"`{file}` {found}, the manifest says {shard.bytes} bytes")
        self._ends = list(accumulate(shard.packs for shard in self.manifest.shards))
        mapped: dict[int, Columns] = {}
        decode = lru_cache(2)(self._decode)

        def columns(index: int) -> Columns:
            if not self.manifest.shards[index].name.endswith(".arrow"):
                return decode(index)
            if index not in mapped:
                mapped[index] = self._decode(index)
            return mapped[index]

        self._columns = columns

    @property
    def max_length(self) -> int:
        """The most tokens a pack may hold."""
        return self.manifest.max_length

    @property
    def column_names(self) -> tuple[str, ...]:
        """The columns of a pack."""
        return tuple(self.manifest.columns)

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    def __getitem__(self, index: int) -> dict[str, NDArray[Any]]:
        number = index + len(self) if index < 0 else index
        if not 0 <= number < len(self):
            raise IndexError(f"pack {index} is not in `{self.path}`, which has {len(self)} packs")
        shard = bisect_right(self._ends, number)
        row = number - (self._ends[shard - 1] if shard else 0)
        columns = self._columns(shard)
        return {name: values[offsets[row] : offsets[row + 1]] for name, (offsets, values) in columns.items()}

    def __iter__(self) -> Iterator[dict[str, NDArray[Any]]]:
        return (self[i] for i in range(len(self)))

    def __repr__(self) -> str:
        counts = self.manifest.counts
        return (
            f"Shards(`{self.path}`: {counts.packs:,} packs of {self.max_length:,}, {counts.sequences:,} sequences, "
            f"{counts.tokens:,} tokens)"
        )

    def __reduce__(self) -> tuple[Any, ...]:
        return open_shards, (self.path,)

    def table(self, index: int) -> pa.Table:
        """Shard `index` as a table: mapped if it is Arrow, decoded if it is Parquet.

        Raises:
            DamagedError: it cannot be read, or its columns are not those of the manifest.
        """
        shard = self.manifest.shards[index]
        table = read_shard(self.path, shard)
        found = {field.name: str(field.type) for field in table.schema}
        if {name: _plain(kind) for name, kind in found.items()} != {
            name: _plain(kind) for name, kind in self.manifest.columns.items()
        }:
            raise DamagedError(
                f"`{self.path / shard.name}` has columns {found}, the manifest says {self.manifest.columns}"
            )
        if table.num_rows != shard.packs:
            raise DamagedError(
                f"`{self.path / shard.name}` has {table.num_rows} packs, the manifest says {shard.packs}"
            )
        return table

    def verify(self, source: Any = None, **options: Any) -> Verification:
        """Proves that nothing is lost or changed; see `packsort.shards.verify.verify`."""
        from packsort.shards.verify import verify

        return verify(self, source, **options)

    def _decode(self, index: int) -> Columns:
        columns: Columns = {}
        for name, column in zip((table := self.table(index)).column_names, table.columns, strict=True):
            lists = column.chunk(0) if column.num_chunks == 1 else pa.concat_arrays(column.chunks or [_empty(column)])
            values = lists.values
            columns[name] = (
                lists.offsets.to_numpy(),
                values.to_numpy(zero_copy_only=not pa.types.is_boolean(values.type)),
            )
        return columns


def read_shard(folder: Path, shard: ShardInfo) -> pa.Table:
    """A shard's table as it is in the file.

    Raises:
        DamagedError: it cannot be read.
    """
    path = folder / shard.name
    try:
        if path.suffix == ".arrow":
            with pa.memory_map(os.fspath(path)) as file:
                return pa.ipc.open_file(file).read_all()
        return pq.read_table(path)
    except (OSError, pa.ArrowException) as error:
        raise DamagedError(f"`{path}` cannot be read: {error}") from error


def _empty(column: pa.ChunkedArray) -> pa.Array:
    return pa.array([], column.type)


def _plain(kind: str) -> str:
    return kind.replace("element:", "item:")  # how Parquet calls what a list holds
