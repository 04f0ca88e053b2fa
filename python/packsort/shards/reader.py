"""Read packed directories: memory-mapped packs as NumPy arrays."""

from __future__ import annotations

import os
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import accumulate
from typing import Any, get_args, overload

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from packsort import _checks
from packsort._arrow import to_numpy
from packsort._options.choices import Verify
from packsort._pickles import restoring
from packsort._progress import Stage, log_stage
from packsort.schema import SEQ_LENGTHS, SEQUENCE_IDS
from packsort.shards.checks import ShardChecks
from packsort.shards.files import ShardFiles, StoreOptions
from packsort.shards.verify import Verification, verify

Pack = dict[str, NDArray[Any]]
_ListColumns = dict[str, tuple[NDArray[np.int32], NDArray[Any]]]
"""Offsets (packs + 1,) and values of each list column of a shard."""


def open_shards(
    path: str | os.PathLike[str],
    *,
    verify: Verify = "first",
    memory_map: bool = True,
    cache_size: int | str | None = None,
    storage_options: Mapping[str, Any] | None = None,
    cache_dir: str | os.PathLike[str] | None = None,
    cache_limit: int | str | None = None,
) -> Shards:
    """Open a packed directory.

    Args:
        path: Directory that `packsort pack` or `packsort.write_shards` wrote, or its URL in an object store. Shards of
            a store are copied to a disk when they are first used.
        verify: Time at which the checksum of a shard is compared with the manifest. `"first"`, the default, is when one
            of its packs is first used: the shard is then read once, at the speed of memory or of its disk. `"open"` is
            now, for all shards. `"never"` trusts the files.
        memory_map: Whether to map Arrow shards into memory. With False, each shard is read into memory when it is first
            used, and stays there: a file that another program shortens then cannot end the process.
        cache_size: Most memory for row groups of Parquet that an index-only directory refers to, for each process: a
            number of bytes, or a text such as "4GB". `None` is 1 GB, or what the packs of one shard need. Directories
            with tokens of their own do not use it.
        storage_options: Options of the fsspec file system of a URL.
        cache_dir: Folder for copies of shards, which processes may share. None is the environment variable
            `PACKSORT_CACHE`, or `packsort/shards` in the user's folder for caches.
        cache_limit: Most bytes of copies, an integer or a text such as "100GB"; those used least recently are removed.
            None is `PACKSORT_CACHE_LIMIT`, or half of what is free there.

    Returns:
        Its packs. Arrow shards are memory-mapped, so a directory of any size opens at once.

    Raises:
        OptionError: `verify`, `memory_map` or `cache_size` has a value that is not allowed, or `cache_limit` is less
            than two shards.
        SourceNotFoundError: There is no such directory.
        DamagedError: The directory is unfinished, its manifest is damaged, or a shard is missing, is a link out of the
            directory, or differs in size from the manifest; with `verify="open"`, also if one differs in content; or a
            file that an index-only directory refers to is gone or was changed.

    Example:
        >>> import packsort, pyarrow as pa, tempfile
        >>> table = pa.table({"input_ids": [[1, 2, 3], [4, 5, 6, 7], [8]]})
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     manifest = packsort.write_shards(table, folder + "/packed", max_length=5, seed=None)
        ...     shards = packsort.open_shards(folder + "/packed")
        ...     len(shards), shards[0]["input_ids"].tolist(), shards[0]["seq_lengths"].tolist()
        (2, [4, 5, 6, 7, 8], [4, 1])
    """
    size = None if cache_size is None else _checks.byte_size("cache_size", cache_size)
    store = StoreOptions(storage_options, cache_dir, cache_limit)
    return Shards(path, verify=verify, memory_map=memory_map, cache_size=size, store=store)


class Shards(ShardFiles):
    """The packs of a packed directory, in order; `packsort.open_shards` returns them.

    `shards[i]` is one pack: a dictionary of read-only NumPy arrays, which are views of the mapped file. `shards[i:j]`
    is a list of packs. A pack holds `input_ids` int32 (tokens,), `labels` int32 (tokens,) where there are labels, other
    per-token columns in their own type, `seq_lengths` int32 (segments,) and `sequence_ids` int64 (segments,). Columns
    that were kept have one value for each segment, (segments,): text as codes int64, which `dictionaries` explains. A
    Parquet shard is decoded as a whole when one of its packs is read, and the last two are kept. Packs of an index-only
    directory are gathered from the files that it refers to.

    Every shard that is mapped or decoded is one of the packing that was opened: where another one took its place, it
    raises `DamagedError`.

    Attributes:
        path: The directory.
        manifest: Its record.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        verify: Verify = "first",
        memory_map: bool = True,
        cache_size: int | None = None,
        store: StoreOptions | None = None,
        _checked: Any = (),
    ) -> None:
        when = _checks.one_of("verify", verify, get_args(Verify))
        sampled = when != "never"
        super().__init__(path, memory_map=memory_map, cache_size=cache_size, sampled=sampled, store=store)
        self._options = (when, memory_map, cache_size, store)
        self._checks = ShardChecks(self, when, _checked)
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
            return self.take(range(*index.indices(len(self))))
        return self.take([_checks.pack_number(index, len(self), f"`{self.path}`")])[0]

    def __iter__(self) -> Iterator[Pack]:
        return (self.take([number])[0] for number in range(len(self)))

    def __repr__(self) -> str:
        counts = self.manifest.counts
        return (
            f"Shards(`{self.path}`: {counts.packs:,} packs of {self.max_length:,}, {counts.sequences:,} sequences, "
            f"{counts.tokens:,} tokens)"
        )

    def __reduce__(self) -> tuple[Any, ...]:
        # A process that gets a pickle need not check again what this one has checked.
        return _reopen, (self.path, self._options, self._checks.passed())

    def verify(self, source: Any = None, *, tokenizer: Any = None, stage: Stage = log_stage) -> Verification:
        """Check the packs, and prove that they hold `source`; see `packsort.verify`."""
        return verify(self, source, tokenizer=tokenizer, stage=stage)

    def shard_of(self, number: int) -> int:
        """Return the index of the shard that holds a pack."""
        return bisect_right(self._ends, number)

    def check_packs(self, numbers: Iterable[int]) -> None:
        """Compare the checksums of the shards of some packs that were not compared yet, several shards at a time.

        Args:
            numbers: Numbers of packs.

        Raises:
            DamagedError: A shard was changed or cannot be read.
        """
        self._checks.check({bisect_right(self._ends, number) for number in numbers})

    def check_all(self) -> None:
        """Compare the checksums of all shards that were not compared yet, several at a time.

        Raises:
            DamagedError: A shard was changed or cannot be read.
        """
        self._checks.check(range(len(self.manifest.shards)))

    def read_ahead(self, indices: Sequence[int]) -> None:
        """Start to read what an index gathers the packs of some shards from, as far as the cache holds it.

        Args:
            indices: The shards, in the order in which they will be needed.

        Raises:
            DamagedError: A file was changed or cannot be read.
        """
        if self.tokens is not None:
            self.tokens.read_ahead([self._columns(index)[SEQUENCE_IDS][1] for index in indices])

    def segment_lengths(self, index: int) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
        """Read the segment lengths of shard `index`, whose checksum holds; see `ShardFiles`."""
        self._checks.check({index})
        return super().segment_lengths(index)

    def take(self, numbers: Sequence[int], *, pieces: bool = False) -> list[Pack]:
        """Return packs by their numbers; an index gathers them together.

        Args:
            numbers: Numbers of packs, from 0.
            pieces: Whether tokens and labels of an index may stay where they are: a batch takes `packsort._core.Pieces`
                like arrays, and is written of the files in one copy.

        Raises:
            DamagedError: A file was changed or cannot be read.
        """
        packs = [self._pack(number) for number in numbers]
        if self.tokens is None or not packs:
            return packs
        return self.tokens.add_to(packs, lambda: self._named(numbers), pieces=pieces)

    def _named(self, numbers: Sequence[int]) -> str:
        """Name the shards of packs."""
        shards = sorted({bisect_right(self._ends, number) for number in numbers})
        return " or ".join(f"`{self.path / self.manifest.shards[index].name}`" for index in shards[:3])

    def _pack(self, number: int) -> Pack:
        shard = bisect_right(self._ends, number)
        row = number - (self._ends[shard - 1] if shard else 0)
        columns = self._columns(shard)
        if self.tokens is not None:  # all columns have one value for each segment
            offsets = columns[SEQ_LENGTHS][0]
            own = slice(offsets.item(row), offsets.item(row + 1))
            return {name: values[own] for name, (_, values) in columns.items()}
        return {name: values[offsets[row] : offsets[row + 1]] for name, (offsets, values) in columns.items()}

    def _columns(self, index: int) -> _ListColumns:
        """Return the columns of a shard: all mapped shards are kept, and the last two decoded or copied ones."""
        if (columns := self._mapped.get(index)) is None:
            # A mapped copy takes room on the disk even when the cache has removed it.
            if not self.manifest.shards[index].is_mapped or self.is_remote:
                return self._decoded(index)
            columns = self._mapped[index] = self._list_columns(index)
        return columns

    def _list_columns(self, index: int) -> _ListColumns:
        self._checks.check({index})
        columns: _ListColumns = {}
        table = self.stored(index)
        for name, column in zip(table.column_names, table.columns, strict=True):
            chunks = column.chunks or [pa.array([], column.type)]
            lists = chunks[0] if len(chunks) == 1 else pa.concat_arrays(chunks)
            values = to_numpy(lists.values)
            values.flags.writeable = False
            columns[name] = to_numpy(lists.offsets), values
        return columns


def _reopen(
    path: str | os.PathLike[str],
    options: tuple[Verify, bool, int | None, StoreOptions | None],
    checked: Any,
) -> Shards:
    verify, memory_map, cache_size, store = options
    with restoring("Shards"):
        return Shards(path, verify=verify, memory_map=memory_map, cache_size=cache_size, store=store, _checked=checked)
