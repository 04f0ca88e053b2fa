"""Read packed directories: memory-mapped packs as NumPy arrays."""

from __future__ import annotations

import os
from bisect import bisect_right
from collections.abc import Iterator
from functools import lru_cache
from itertools import accumulate
from typing import Any, overload

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from packsort import _checks
from packsort._arrow import to_numpy
from packsort._progress import Stage, no_progress
from packsort.shards.files import ShardFiles
from packsort.shards.verify import Verification, verify

Pack = dict[str, NDArray[Any]]
_ListColumns = dict[str, tuple[NDArray[np.int32], NDArray[Any]]]
"""Offsets (packs + 1,) and values of each list column of a shard."""


def open_shards(path: str | os.PathLike[str]) -> Shards:
    """Open a packed directory.

    Args:
        path: Directory that `packsort pack` or `packsort.write_shards` wrote.

    Returns:
        Its packs. Arrow shards are memory-mapped, so a directory of any size opens at once.

    Raises:
        SourceNotFoundError: There is no such directory.
        DamagedError: The directory is unfinished, or a shard is missing or differs in size from the manifest.

    Example:
        >>> import packsort, pyarrow as pa, tempfile
        >>> table = pa.table({"input_ids": [[1, 2, 3], [4, 5, 6, 7], [8]]})
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     manifest = packsort.write_shards(table, folder + "/packed", max_length=5, seed=None)
        ...     shards = packsort.open_shards(folder + "/packed")
        ...     len(shards), shards[0]["input_ids"].tolist(), shards[0]["seq_lengths"].tolist()
        (2, [4, 5, 6, 7, 8], [4, 1])
    """
    return Shards(path)


class Shards(ShardFiles):
    """The packs of a packed directory, in order; `packsort.open_shards` returns them.

    `shards[i]` is one pack: a dictionary of read-only NumPy arrays, which are views of the mapped file. `shards[i:j]`
    is a list of packs. A pack holds `input_ids` int32 (tokens,), `labels` int32 (tokens,) where there are labels, other
    per-token columns in their own type, `seq_lengths` int32 (segments,) and `sequence_ids` int64 (segments,). Columns
    that were kept have one value for each segment, (segments,): text as codes int64, which `dictionaries` explains. A
    Parquet shard is decoded as a whole when one of its packs is read, and the last two are kept.

    Attributes:
        path: The directory.
        manifest: Its record.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        super().__init__(path)
        self._ends = list(accumulate(shard.packs for shard in self.manifest.shards))
        self._mapped: dict[int, _ListColumns] = {}
        self._decoded = lru_cache(2)(self._list_columns)

    @property
    def max_length(self) -> int:
        """Most tokens of a pack."""
        return self.manifest.max_length

    @property
    def column_names(self) -> tuple[str, ...]:
        """Columns of a pack."""
        return tuple(self.manifest.columns)

    @property
    def dictionaries(self) -> dict[str, tuple[str, ...]]:
        """Texts of each column of codes: the text of code `i` is the `i`-th. Separators and padding have code -1."""
        return self.manifest.dictionaries

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    @overload
    def __getitem__(self, index: int) -> Pack: ...

    @overload
    def __getitem__(self, index: slice) -> list[Pack]: ...

    def __getitem__(self, index: int | slice) -> Pack | list[Pack]:
        """Return one pack, or a list of packs for a slice.

        Raises:
            TypeError: `index` is neither an integer nor a slice.
            IndexError: There is no such pack.
        """
        if isinstance(index, slice):
            return [self._pack(number) for number in range(*index.indices(len(self)))]
        return self._pack(_checks.pack_number(index, len(self), f"`{self.path}`"))

    def __iter__(self) -> Iterator[Pack]:
        return (self._pack(number) for number in range(len(self)))

    def __repr__(self) -> str:
        counts = self.manifest.counts
        return (
            f"Shards(`{self.path}`: {counts.packs:,} packs of {self.max_length:,}, {counts.sequences:,} sequences, "
            f"{counts.tokens:,} tokens)"
        )

    def __reduce__(self) -> tuple[Any, ...]:
        return open_shards, (self.path,)

    def verify(self, source: Any = None, *, tokenizer: Any = None, stage: Stage = no_progress) -> Verification:
        """Check the packs, and prove that they hold `source`; see `packsort.verify`."""
        return verify(self, source, tokenizer=tokenizer, stage=stage)

    def _pack(self, number: int) -> Pack:
        shard = bisect_right(self._ends, number)
        row = number - (self._ends[shard - 1] if shard else 0)
        columns = self._columns(shard)
        return {name: values[offsets[row] : offsets[row + 1]] for name, (offsets, values) in columns.items()}

    def _columns(self, index: int) -> _ListColumns:
        """Return the columns of a shard: all mapped shards are kept, and the last two decoded ones."""
        if not self.manifest.shards[index].is_mapped:
            return self._decoded(index)
        if index not in self._mapped:
            self._mapped[index] = self._list_columns(index)
        return self._mapped[index]

    def _list_columns(self, index: int) -> _ListColumns:
        columns: _ListColumns = {}
        for name, column in zip((table := self.table(index)).column_names, table.columns, strict=True):
            chunks = column.chunks or [pa.array([], column.type)]
            lists = chunks[0] if len(chunks) == 1 else pa.concat_arrays(chunks)
            values = to_numpy(lists.values)
            values.flags.writeable = False
            columns[name] = to_numpy(lists.offsets), values
        return columns
