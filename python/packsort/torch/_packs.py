"""Where a loader's packs come from: a packed directory, or token columns that are planned and gathered on the fly.

Both give the packs of an epoch by their numbers; a pack is a dict of arrays, as `packsort.Shards` gives them.
"""

from __future__ import annotations

import glob
import os
import time
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import xxhash
from numpy.typing import NDArray

from packsort import _checks, _core
from packsort.balance.costs import CostModel
from packsort.balance.schedule import pack_costs
from packsort.errors import DamagedError, OptionError, PacksortError, SourceNotFoundError
from packsort.gathering.fillers import Fillers, has_fillers, token_config
from packsort.gathering.gather import gather_rows
from packsort.gathering.planned import plan_lengths
from packsort.gathering.segments import list_segments
from packsort.options import PackOptions, names
from packsort.planning.plan import Plan, load_plan
from packsort.shards.manifest import NAME, Manifest, checksum
from packsort.shards.reader import Shards, open_shards
from packsort.sources.files import find_files
from packsort.sources.lazy_tokens import TokenColumns
from packsort.sources.source import Source, open_source

Pack = Mapping[str, NDArray[Any]]

PLAN_OPTIONS = names(PackOptions) | {"piece_starts"}
_CHECK_SECONDS = 1.0
_BLOCK = 4096  # packs listed at a time; 16 blocks hold the windows of a schedule of 1,024 packs a step


class EpochPacks(Protocol):
    """The packs of one epoch."""

    def take(self, numbers: Sequence[int]) -> list[Pack]:
        """Packs by their numbers."""

    def order(self) -> NDArray[np.int64] | None:
        """The numbers of all packs in the order of the epoch: int64 (num_packs,); None where it is 0, 1, 2, ..."""

    def costs(self, cost: CostModel, attention: str) -> NDArray[np.float64]:
        """The cost of each pack: float64 (num_packs,)."""


class Packs(Protocol):
    """All packs of a source, in any epoch.

    Attributes:
        name: for messages.
        max_length: the most tokens a pack may hold.
        max_sequences: the most sequences of a pack; None: any number.
        columns: of each pack.
        plan: the plan's fingerprint, without its epoch.
    """

    name: str
    max_length: int
    max_sequences: int | None
    columns: tuple[str, ...]
    plan: str

    @property
    def data(self) -> str:
        """A fingerprint of the tokens."""

    def __len__(self) -> int: ...

    def in_epoch(self, epoch: int) -> EpochPacks:
        """The packs of an epoch."""

    def check(self) -> None:
        """Raises a DamagedError where the source changed since it was opened."""


def open_packs(
    source: Any,
    max_length: int | None,
    seed: int | None,
    plan_options: dict[str, Any],
    planned: Plan | str | os.PathLike[str] | None = None,
) -> Packs:
    """Packs of whatever is a source.

    Args:
        source: a packed directory, or token columns.
        max_length: the most tokens of a pack; None where the directory or the plan says so.
        seed: of the order of a directory's packs, and of a plan made here.
        plan_options: of a plan made here.
        planned: the plan of token columns, or its file; None to make one.

    Raises:
        OptionError: `max_length` is missing, or another than a directory was packed with; there are options of a plan,
            but the packs are planned already; the plan is of other sequences.
    """
    if isinstance(source, Shards) or _is_packed(source, max_length):
        packs = DirectoryPacks(source if isinstance(source, Shards) else open_shards(source), seed)
        if plan_options:
            raise OptionError(f"{next(iter(plan_options))} is an option of a plan, but {packs.name} is packed already")
        if planned is not None:
            raise OptionError(f"plan is given, but {packs.name} is packed already")
        if max_length is not None and max_length != packs.max_length:
            raise OptionError(
                f"max_length is {max_length}, but {packs.name} is packed with max_length {packs.max_length}"
            )
        return packs
    if planned is not None:
        known = planned if isinstance(planned, Plan) else load_plan(planned)
        for name in (name for name in plan_options if name not in ("separator", "pad_token_id")):
            raise OptionError(f"{name} and plan clash: it is an option of a plan, which is made already")
        if max_length is not None and max_length != known.max_length:
            raise OptionError(f"max_length is {max_length}, but the plan has max_length {known.max_length}")
        return PlannedPacks(open_source(source), known.max_length, seed, plan_options, known)
    if max_length is None:
        raise OptionError(
            f"max_length is None, but the {_kind(source)} is to be packed on the fly: allowed is 1 and more; only a "
            "packed directory knows its max_length"
        )
    return PlannedPacks(open_source(source), _checks.max_length(max_length), seed, plan_options)


def _is_packed(source: Any, max_length: int | None) -> bool:
    """Whether a source is a packed directory, finished or not, or a path that is there for nothing else."""
    if not isinstance(source, (str, os.PathLike)):
        return False
    folder = Path(source)
    if not folder.is_dir():
        return max_length is None and not folder.exists() and not glob.has_magic(str(folder))
    if (folder / NAME).exists():
        return True
    try:
        find_files(source)
    except SourceNotFoundError:
        return True  # opening it says what it lacks
    return False


def _kind(source: Any) -> str:
    return f"source `{os.fspath(source)}`" if isinstance(source, (str, os.PathLike)) else type(source).__name__


class DirectoryPacks:
    """The packs of a packed directory: the same in each epoch, in another order."""

    def __init__(self, shards: Shards, seed: int | None) -> None:
        self.shards = shards
        self.seed = seed
        self.name = f"`{shards.path}`"
        self.max_length = shards.max_length
        self.max_sequences = shards.manifest.options.get("max_sequences")
        self.columns = shards.column_names
        self.plan = shards.manifest.plan
        digest = xxhash.xxh3_128()
        for shard in shards.manifest.shards:
            digest.update(f"{shard.name}:{shard.packs}:{shard.checksum};".encode())
        self.data = digest.hexdigest()
        self._seen = {path: _stamp(path) for path in self._files()}
        self._checked = time.monotonic()

    def __len__(self) -> int:
        return len(self.shards)

    def in_epoch(self, epoch: int) -> EpochPacks:
        return _DirectoryEpoch(self, epoch)

    def check(self, now: bool = True) -> None:
        """Raises a DamagedError where a file is another than it was; with `now` false at most once a second.

        A file that was only touched, or copied over itself, is no other.
        """
        if not now and time.monotonic() < self._checked + _CHECK_SECONDS:
            return
        for path in self._files():
            stamp = _stamp(path)
            if stamp == self._seen[path]:
                continue
            if stamp is None or not self._is_as_packed(path):
                found = "is gone" if stamp is None else "was changed"
                raise DamagedError(f"`{path}` {found} while the packed directory was open: open it anew")
            self._seen[path] = stamp
        self._checked = time.monotonic()

    def costs(self, cost: CostModel, attention: str) -> NDArray[np.float64]:
        """The cost of each pack: float64 (num_packs,)."""
        parts = [np.zeros(0)]
        for index, shard in enumerate(self.shards.manifest.shards):
            lists = self._seq_lengths(index, shard.name)
            offsets = lists.offsets.to_numpy().astype(np.int64)
            lengths = lists.values.to_numpy()
            parts.append(_core.pack_costs(offsets, lengths, cost.linear, cost.quadratic, attention == "pack"))
        return np.concatenate(parts)

    def _seq_lengths(self, index: int, name: str) -> pa.ListArray:
        path = self.shards.path / name
        if name.endswith(".arrow"):
            column = self.shards.table(index)["seq_lengths"]
        else:
            try:
                column = pq.read_table(path, columns=["seq_lengths"])["seq_lengths"]
            except (OSError, pa.ArrowException) as error:
                raise DamagedError(f"`{path}` cannot be read: {error}") from error
        return pa.concat_arrays(column.chunks or [pa.array([], column.type)])

    def _files(self) -> list[Path]:
        folder = self.shards.path
        return [folder / NAME, *(folder / shard.name for shard in self.shards.manifest.shards)]

    def _is_as_packed(self, path: Path) -> bool:
        manifest = self.shards.manifest
        try:
            if path.name == NAME:
                return Manifest.read(path.parent) == manifest
            return checksum(path) == next(shard.checksum for shard in manifest.shards if shard.name == path.name)
        except (OSError, PacksortError):
            return False

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.shards, self.seed)


def _stamp(path: Path) -> tuple[int, int, int] | None:
    """What tells a file from the one that took its place."""
    try:
        facts = path.stat()
    except OSError:
        return None
    return facts.st_ino, facts.st_size, facts.st_mtime_ns


class _DirectoryEpoch:
    def __init__(self, packs: DirectoryPacks, epoch: int) -> None:
        self._packs = packs
        self._epoch = epoch

    def take(self, numbers: Sequence[int]) -> list[Pack]:
        self._packs.check(now=False)
        shards = self._packs.shards
        return [shards[number] for number in numbers]

    def order(self) -> NDArray[np.int64] | None:
        seed, shards = self._packs.seed, self._packs.shards.manifest.shards
        if seed is None:
            return None
        if all(shard.name.endswith(".arrow") for shard in shards):
            return _core.shuffled(len(self._packs), seed, self._epoch, 0)
        # A Parquet shard is decoded as a whole, so the packs of one stay together.
        firsts = np.concatenate([[0], np.cumsum([shard.packs for shard in shards], dtype=np.int64)])
        parts = [np.zeros(0, np.int64)]
        for index in _core.shuffled(len(shards), seed, self._epoch, 0).tolist():
            parts.append(firsts[index] + _core.shuffled(shards[index].packs, seed, self._epoch, 1 + index))
        return np.concatenate(parts)

    def costs(self, cost: CostModel, attention: str) -> NDArray[np.float64]:
        return self._packs.costs(cost, attention)


class PlannedPacks:
    """Packs of token columns; each epoch has packs of its own, as many and as long."""

    def __init__(
        self,
        source: Source,
        max_length: int,
        seed: int | None,
        plan_options: dict[str, Any],
        planned: Plan | None = None,
    ) -> None:
        self.source = source
        self.max_length = max_length
        self._options = plan_options
        self.name = _named(source)
        config, between = token_config("PackedLoader", max_length, plan_options, seed=seed)
        separated = between.separator is not None
        self.tokens = TokenColumns(source)
        lengths = self.tokens.lengths("input_ids")
        if planned is None:
            planned = plan_lengths(source, lengths, "input_ids", config)
        else:
            _check_plan(planned, lengths, separated, self.name)
        self.first = planned
        self.fillers = between if has_fillers(self.first) else None
        self.max_sequences = self.first.max_sequences
        made = ["seq_lengths", "sequence_ids", *(["piece_starts"] if self.first.has_starts else [])]
        self.columns = tuple(dict.fromkeys((*self.tokens.names, *(["labels"] if self.fillers else []), *made)))
        self.plan = self.first.fingerprint

    @property
    def data(self) -> str:
        return self.tokens.fingerprint

    def __len__(self) -> int:
        return self.first.num_packs

    def in_epoch(self, epoch: int) -> EpochPacks:
        planned = self.first if epoch == self.first.epoch else self.first.with_epoch(epoch)
        return _PlannedEpoch(planned, self.tokens, self.fillers)

    def check(self) -> None:
        """Files are mapped or in memory, and their plan is made: nothing to compare with."""

    def __reduce__(self) -> tuple[Any, ...]:
        # a plan that took long to find goes along; any other is made again sooner than it is copied
        planned = self.first if self.first.strategy == "optimal" else None
        return type(self), (self.source, self.max_length, self.first.seed, self._options, planned)


def _check_plan(planned: Plan, lengths: NDArray[np.int64], separated: bool, name: str) -> None:
    """Raises an OptionError where a plan is not of sequences of these lengths."""
    if planned.separator != separated:
        has, given = ("has", "none is") if planned.separator else ("has no", "one is")
        raise OptionError(f"the plan {has} room for separators, but {given} given: separator is a token id, or None")
    if planned.num_rows != len(lengths):
        raise OptionError(f"the plan is of {planned.num_rows:,} sequences, but {name} has {len(lengths):,}")
    tokens = np.bincount(planned.sequence_ids, planned.piece_lengths, len(lengths)).astype(np.int64)
    wrong = tokens > lengths if planned.num_truncated or planned.has_starts else (tokens != lengths) & (tokens > 0)
    if wrong.any():
        row = int(np.argmax(wrong))
        raise OptionError(
            f"the plan is of other sequences: it has {tokens[row]:,} tokens of sequence {row}, which has "
            f"{lengths[row]:,} in {name}"
        )


def _named(source: Source) -> str:
    more = f" and {len(source.files) - 1} more" if len(source.files) > 1 else ""
    return f"`{source.files[0].path}`{more}"


class _PlannedEpoch:
    def __init__(self, planned: Plan, tokens: TokenColumns, fillers: Fillers | None) -> None:
        self._plan = planned
        self._tokens = tokens
        self._fillers = fillers
        self._listed = lru_cache(16)(self._list)

    def take(self, numbers: Sequence[int]) -> list[Pack]:
        parts = [self._listed(number // _BLOCK).pieces(number % _BLOCK) for number in numbers]
        ids, lengths, starts, _ = parts[0] if len(parts) == 1 else _joined(parts)
        columns = gather_rows(self._tokens, ids, lengths, starts, self._fillers)
        packs: list[Pack] = []
        first = 0
        for ids, lengths, starts, tokens in parts:
            end = first + tokens
            pack: dict[str, NDArray[Any]] = {name: values[first:end] for name, values in columns.items()}
            pack["seq_lengths"], pack["sequence_ids"] = lengths, ids
            if starts is not None:
                pack["piece_starts"] = starts
            packs.append(pack)
            first = end
        return packs

    def order(self) -> NDArray[np.int64] | None:
        return None

    def costs(self, cost: CostModel, attention: str) -> NDArray[np.float64]:
        return pack_costs(self._plan, cost, attention)

    def _list(self, block: int) -> _Listed:
        start, stop = block * _BLOCK, (block + 1) * _BLOCK
        found = list_segments(self._plan, start, stop)
        ends = np.concatenate([[0], np.cumsum(found.lengths, dtype=np.int64)])[found.offsets]
        ids = found.ids.astype(np.int64)
        return _Listed(found.offsets.tolist(), ids, found.lengths, found.starts, np.diff(ends).tolist())


# The pieces of packs: their rows, tokens and first tokens; and the tokens of all of them.
_Pieces = tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.int32] | None, int]


class _Listed(NamedTuple):
    """Packs of a range, listed."""

    offsets: list[int]  # (packs + 1,)
    ids: NDArray[np.int64]  # (pieces,), as all of a piece
    lengths: NDArray[np.int32]
    starts: NDArray[np.int32] | None
    tokens: list[int]  # (packs,)

    def pieces(self, place: int) -> _Pieces:
        own = slice(self.offsets[place], self.offsets[place + 1])
        starts = None if self.starts is None else self.starts[own]
        return self.ids[own], self.lengths[own], starts, self.tokens[place]


def _joined(parts: list[_Pieces]) -> _Pieces:
    ids, lengths, starts, tokens = zip(*parts, strict=True)
    joined = None if starts[0] is None else np.concatenate(starts)
    return np.concatenate(ids), np.concatenate(lengths), joined, sum(tokens)
