"""Packs of a packed directory: the same packs in every epoch, in another order."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import numpy as np
import xxhash
from numpy.typing import NDArray

from packsort import _core
from packsort._pickles import rebuild
from packsort.balance.costs import CostModel
from packsort.errors import DamagedError
from packsort.gathering.fillers import most_fillers
from packsort.shards.reader import Shards
from packsort.sources.sequence_columns import Dictionaries
from packsort.torch._packs.protocol import EpochPacks, PackArrays

_CHECK_SECONDS = 1.0  # between two looks at the files while a pass runs
_TOGETHER = 64  # most packs of an index whose places are looked up at once
_TOKENS_TOGETHER = 1 << 19  # their most tokens: columns that a batch is not written from are gathered with them


class DirectoryPacks:
    """Packs of a packed directory.

    Args:
        shards: The directory.
        seed: Seed of the order of its packs, or None to keep the order of the shards.
        keep: Columns with one value for each sequence to read of those that it has, or None for all.
    """

    def __init__(self, shards: Shards, seed: int | None, keep: Sequence[str] | None = None) -> None:
        self.shards = shards
        self.seed = seed
        self.name = f"`{shards.path}`"
        self.max_length = shards.max_length
        options = shards.manifest.options
        self.in_order = options.strategy == "in_order" and options.seed is None and seed is None
        self.max_sequences = options.max_sequences
        self.max_fillers = most_fillers(
            options.max_sequences, options.separator is not None, options.pad_to_multiple_of
        )
        self.pad_to_multiple_of = options.pad_to_multiple_of
        has = tuple(options.keep)
        self.kept = has if keep is None else tuple(keep)
        self._left_out = frozenset(has) - frozenset(self.kept)
        self.columns = tuple(name for name in shards.column_names if name not in self._left_out)
        self.dictionaries: Dictionaries = {
            name: texts for name, texts in shards.dictionaries.items() if name in self.kept
        }
        self.plan_fingerprint = shards.manifest.plan
        digest = xxhash.xxh3_128()
        for shard in shards.manifest.shards:
            digest.update(f"{shard.name}:{shard.packs}:{shard.checksum};".encode())
        if (index := shards.manifest.index) is not None:
            for file in index.files:  # by their content, wherever they are
                digest.update(f"{file.rows}:{file.bytes}:{file.sample};".encode())
        if shards.is_remote and all(shard.is_mapped for shard in shards.manifest.shards):
            digest.update(b"by shard;")  # an epoch has another order than on a disk
        self.data_fingerprint = digest.hexdigest()
        shards.check_footers()  # orders of packs take memory by their number
        self._checked = time.monotonic()

    def __len__(self) -> int:
        return len(self.shards)

    def in_epoch(self, epoch: int) -> EpochPacks:
        """Return the packs of an epoch."""
        return _DirectoryEpoch(self, epoch)

    def check_unchanged(self) -> None:
        """Raise a `DamagedError` if a file has changed since the directory was opened."""
        self.shards.check_unchanged()
        self._checked = time.monotonic()

    def check_now_and_then(self) -> None:
        """Check the files if the last check is a second ago: it costs a call of the system for each file."""
        if time.monotonic() >= self._checked + _CHECK_SECONDS:
            self.check_unchanged()

    def __reduce__(self) -> tuple[Any, ...]:
        return rebuild, (type(self), self.shards, self.seed, self.kept)

    def take(self, numbers: Sequence[int], *, pieces: bool = False) -> list[PackArrays]:
        """Return packs by number, without the columns that are left out."""
        packs = self.shards.take(numbers, pieces=pieces)
        return [{name: pack[name] for name in self.columns} for pack in packs] if self._left_out else [*packs]


class _DirectoryEpoch:
    """Packs of a packed directory in one epoch."""

    def __init__(self, packs: DirectoryPacks, epoch: int) -> None:
        self._packs = packs
        self._epoch = epoch
        self._shard_order: list[int] = []
        self._now = -1  # the shard whose packs were taken last
        tokens = packs.shards.tokens
        self._prefetches = packs.shards.is_remote or (tokens is not None and tokens.decodes)
        self._expected: list[int] = []  # packs that are taken next
        self._found: dict[int, PackArrays] = {}  # those of them that were looked up
        most = min(_TOGETHER, _TOKENS_TOGETHER // packs.max_length)
        self.together = 1 if tokens is None else max(1, most)

    def expect(self, numbers: Sequence[int]) -> None:
        """Say which packs are taken next; those of an index are looked up together."""
        self._expected, self._found = list(numbers), {}

    def take(self, numbers: Sequence[int], *, pieces: bool = False) -> list[PackArrays]:
        """Return packs by number."""
        if pieces and self._expected:
            if not self._found.keys() >= set(numbers):
                self._look_up(numbers)
            if self._found.keys() >= set(numbers):
                self._packs.check_now_and_then()
                return [self._found[number] for number in numbers]
        return self._take(numbers, pieces=pieces)

    def _look_up(self, numbers: Sequence[int]) -> None:
        """Look up the places of packs, and of those that are expected with them."""
        self._found, together = {}, self._expected
        if self._prefetches:  # the row groups of two stretches may not fit into the cache together
            shard_of = self._packs.shards.shard_of
            shards = {shard_of(number) for number in numbers}
            if len(shards) > 1:
                return
            together = [number for number in together if shard_of(number) in shards]
        with suppress(DamagedError):  # of one of them, perhaps not the first
            self._found = dict(zip(together, self._take(together, pieces=True), strict=True))

    def _take(self, numbers: Sequence[int], *, pieces: bool) -> list[PackArrays]:
        self._packs.check_now_and_then()
        self._packs.shards.check_packs(numbers)
        if self._prefetches and len(numbers):
            self._prefetch(numbers)
        return self._packs.take(numbers, pieces=pieces)

    def _prefetch(self, numbers: Sequence[int]) -> None:
        """Copy the shard of a store, or read the row groups of an index, that follow in the order of the epoch."""
        shards = self._packs.shards
        if shards.is_remote:
            following = self._following(shards.shard_of(numbers[-1]))
            if following is not None:
                shards.prefetch(following)
        elif (now := shards.shard_of(numbers[0])) != self._now:
            self._now, following = now, self._following(now)
            shards.read_ahead([now] if following is None else [now, following])

    def _following(self, index: int) -> int | None:
        """Return the shard that follows one in the order of the epoch."""
        count, seed = len(self._packs.shards.manifest.shards), self._packs.seed
        if not self._shard_order:
            order = range(count) if seed is None else _core.shuffled(count, seed, self._epoch, 0).tolist()
            self._shard_order = list(order)
        after = self._shard_order.index(index) + 1
        return self._shard_order[after] if after < count else None

    def pack_order(self) -> NDArray[np.int64] | None:
        """Return the numbers of all packs in the order of the epoch, or None for 0, 1, 2, ..."""
        seed, shards = self._packs.seed, self._packs.shards.manifest.shards
        if seed is None:
            return None
        if self._packs.shards.manifest.comes_in_any_order and not self._packs.shards.is_remote:
            return _core.shuffled(len(self._packs), seed, self._epoch, 0)
        # Packs of a shard stay together where it is decoded as a whole (Parquet), copied (one of a store), or gathered
        # from the same row groups (one of an index).
        firsts = np.concatenate([[0], np.cumsum([shard.packs for shard in shards], dtype=np.int64)])
        orders = [np.zeros(0, np.int64)]
        for index in _core.shuffled(len(shards), seed, self._epoch, 0).tolist():
            orders.append(firsts[index] + _core.shuffled(shards[index].packs, seed, self._epoch, 1 + index))
        return np.concatenate(orders)

    def costs(self, cost: CostModel, attention: str) -> NDArray[np.float64]:
        """Return the cost of each pack, float64 (num_packs,)."""
        shards = self._packs.shards
        shards.check_all()
        costs = [np.zeros(0)]
        for index in range(len(shards.manifest.shards)):
            offsets, lengths = shards.segment_lengths(index)
            costs.append(_core.pack_costs(offsets, lengths, cost.linear, cost.quadratic, attention == "pack"))
        return np.concatenate(costs)
