"""Plans: which sequences share a pack."""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from packsort import _checks, _core
from packsort.planning import saving

Ids = NDArray[np.uint32] | NDArray[np.int64]


class Plan:
    """Which sequences go into which pack; holds no tokens. Made by `packsort.plan` or `packsort.load_plan`.

    Arrays are made when they are first asked for. `plan[i]` finds one pack without listing the others.

    Example:
        >>> import packsort
        >>> plan = packsort.plan([3, 5, 2, 2], max_length=7)
        >>> plan
        Plan(4 sequences, 12 tokens -> 2 packs of 7, efficiency 85.71 %, ffd)
        >>> [ids.tolist() for ids in plan]
        [[1, 2], [0, 3]]
    """

    def __init__(self, core: _core.Plan | _core.Concatenation) -> None:
        self._core = core

    @cached_property
    def _facts(self) -> dict[str, Any]:
        return self._core.facts()

    @property
    def max_length(self) -> int:
        """The most tokens a pack may hold."""
        return self._fact("max_length")

    @property
    def strategy(self) -> str:
        """How sequences were put together: `ffd`, `bfd`, `hybrid`, `padding`, `random` or `optimal`."""
        return str(self._facts["strategy"])

    @property
    def overlong(self) -> str:
        """What became of sequences longer than `max_length`: `error`, `drop`, `truncate` or `split`."""
        return str(self._facts["overlong"])

    @property
    def truncation_side(self) -> str:
        """Where truncated sequences lose tokens: `right` or `left`."""
        return "left" if self._facts["keep_end"] else "right"

    @property
    def max_sequences(self) -> int | None:
        """The most sequences a pack may hold; None: any number."""
        return self._fact("max_sequences") or None

    @property
    def pad_to_multiple_of(self) -> int:
        """Of what each sequence takes a multiple, with the padding after it."""
        return self._fact("pad_multiple")

    @property
    def separator(self) -> bool:
        """Whether there is room for a token between any two sequences of a pack."""
        return bool(self._facts["separated"])

    @property
    def seed(self) -> int | None:
        """The seed of the shuffle; None: none in epoch 0."""
        seed: int | None = self._facts["seed"]
        return seed

    @property
    def epoch(self) -> int:
        """The epoch whose shuffle this is."""
        return self._fact("epoch")

    @property
    def num_rows(self) -> int:
        """Lengths that were given, planned or not."""
        return self._fact("num_rows")

    @property
    def num_packs(self) -> int:
        """Number of packs: of rows that a model trains on."""
        return self._fact("num_packs")

    @property
    def num_sequences(self) -> int:
        """Number of sequences in packs."""
        return self._fact("num_sequences")

    @property
    def num_patterns(self) -> int:
        """Number of different packs by length; 0 for `random`, where no two packs need be alike."""
        return self._fact("num_patterns")

    @cached_property
    def num_split(self) -> int:
        """Number of sequences that are in more than one piece."""
        return self._core.num_split()

    @cached_property
    def split_rows(self) -> NDArray[np.int64]:
        """Rows of the sequences that are in more than one piece, ascending: int64 (num_split,)."""
        rows: NDArray[np.int64] = _frozen(self._core.split_rows())
        return rows

    @property
    def has_starts(self) -> bool:
        """Whether any of `piece_starts` may be other than 0: sequences are cut, or keep their end."""
        return bool(self._facts["has_starts"])

    @property
    def num_tokens(self) -> int:
        """Number of tokens of sequences in packs."""
        return self._fact("num_tokens")

    @cached_property
    def num_separators(self) -> int:
        """Number of tokens in packs that stand between sequences."""
        return self._core.fillers()[0]

    @cached_property
    def num_padding(self) -> int:
        """Number of tokens in packs that fill sequences up to `pad_to_multiple_of`."""
        return self._core.fillers()[1]

    @property
    def num_dropped(self) -> int:
        """Sequences left out because they are longer than `max_length`."""
        return self._fact("num_overlong") if self.overlong == "drop" else 0

    @property
    def num_truncated(self) -> int:
        """Sequences of which only the first, or last, `max_length` tokens are in."""
        return self._fact("num_overlong") if self.overlong == "truncate" else 0

    @property
    def tokens_lost(self) -> int:
        """Tokens that dropping or truncating left out."""
        return self._fact("tokens_lost")

    def _fact(self, name: str) -> int:
        return int(self._facts[name])

    @property
    def efficiency(self) -> float:
        """Tokens / (packs x max_length); 1.0 for a plan of nothing, which wastes nothing."""
        return self.num_tokens / (self.num_packs * self.max_length) if self.num_packs else 1.0

    @cached_property
    def lower_bound(self) -> int:
        """Packs that any plan of these sequences needs.

        The better of ceil(tokens / max_length) and L2 of Martello and Toth (1990), and what `max_sequences` asks for,
        with what separators and padding take (with both, a separator after the last sequence too, as plans have it);
        with groups, the sum over them. Where sequences are cut, of their pieces. For `optimal`, what its linear program
        proved, if that is more.
        """
        return self._core.lower_bound()

    @property
    def gap(self) -> float:
        """How far the packs are above `lower_bound`, as a fraction of it; 0.0 where no plan has fewer."""
        return (self.num_packs - self.lower_bound) / self.lower_bound if self.lower_bound else 0.0

    @cached_property
    def _listing(self) -> tuple[NDArray[np.int64], Ids]:
        return self.list_packs(0, self.num_packs)

    @property
    def pack_offsets(self) -> NDArray[np.int64]:
        """Where each pack starts in `sequence_ids`: int64 (num_packs + 1,)."""
        return self._listing[0]

    @property
    def sequence_ids(self) -> Ids:
        """Rows of the source, pack after pack: uint32 (pieces,), int64 from 2**32 rows on.

        There is a piece for each sequence, and more where sequences are cut.

        Pack `i` holds `sequence_ids[pack_offsets[i]:pack_offsets[i + 1]]`.
        """
        return self._listing[1]

    @cached_property
    def piece_starts(self) -> NDArray[np.int32]:
        """First token of each piece in its sequence: int32 (pieces,); 0 where `has_starts` is false."""
        return self.list_starts(0, self.num_packs)

    @cached_property
    def piece_lengths(self) -> NDArray[np.int32]:
        """Tokens of each piece, in the order of `sequence_ids`: int32 (pieces,)."""
        return self.list_lengths(0, self.num_packs)

    @cached_property
    def patterns(self) -> pa.Table:
        """Which lengths share a pack: one row a pattern and length.

        Columns: `pattern` int32, `repeat` int64 (packs alike), `length` int32 (tokens), `copies` int32 (sequences of
        that length in each of the packs). In the order in which packs are opened. Empty for `random`.
        """
        if not isinstance(self._core, _core.Plan):
            kinds = {"pattern": pa.int32(), "repeat": pa.int64(), "length": pa.int32(), "copies": pa.int32()}
            return pa.schema(list(kinds.items())).empty_table()
        parts = self._core.parts()
        slots = np.diff(parts["slot_offsets"])
        return pa.table(
            {
                "pattern": np.repeat(np.arange(len(slots), dtype=np.int32), slots),
                "repeat": np.repeat(parts["repeats"], slots),
                "length": parts["class_lengths"][parts["slot_classes"]].astype(np.int32),
                "copies": parts["slot_copies"].astype(np.int32),
            }
        )

    @cached_property
    def fingerprint(self) -> str:
        """32 hexadecimal digits that two plans share only if they put the same sequences into the same packs."""
        return saving.fingerprint_of(self._core.parts())

    def list_packs(self, start: int, stop: int) -> tuple[NDArray[np.int64], Ids]:
        """Packs `start` to `stop`, not included, without listing the others.

        Returns:
            (offsets int64 (packs + 1,), from 0; sequence ids uint32 or int64 (pieces,)).
        """
        offsets, ids = self._core.list(start, stop)
        return _frozen(offsets), _frozen(ids)

    def list_lengths(self, start: int, stop: int) -> NDArray[np.int32]:
        """Tokens of each piece of packs `start` to `stop`, not included: int32 (pieces,)."""
        lengths: NDArray[np.int32] = _frozen(self._core.list_lengths(start, stop))
        return lengths

    def list_starts(self, start: int, stop: int) -> NDArray[np.int32]:
        """First token of each piece of packs `start` to `stop`, not included, in its sequence: int32 (pieces,)."""
        starts: NDArray[np.int32] = _frozen(self._core.list_starts(start, stop))
        return starts

    def with_epoch(self, epoch: int) -> Plan:
        """The same packs by length, with other ids of those lengths, in another order.

        The number of packs, and so of steps, stays. A plan without a seed is shuffled as by seed 0 in every epoch but
        epoch 0, which is first-fit decreasing unshuffled.

        Example:
            >>> import packsort
            >>> plan = packsort.plan([4, 4, 4, 3, 3, 3], max_length=7, seed=1)
            >>> plan.with_epoch(1).num_packs == plan.num_packs
            True
        """
        return Plan(self._core.with_epoch(_checks.seed("epoch", epoch)))

    def __len__(self) -> int:
        return self.num_packs

    def __getitem__(self, index: int) -> NDArray[np.int64]:
        """Sequence ids of one pack: int64 (sequences,)."""
        number = index + self.num_packs if index < 0 else index
        pack = self._core.pack(number) if 0 <= number < self.num_packs else None
        if pack is None:
            raise IndexError(f"pack {index} is not in the plan, which has {self.num_packs} packs")
        return pack[0]

    def __iter__(self) -> Iterator[Ids]:
        offsets = self.pack_offsets.tolist()
        for start, stop in pairwise(offsets):
            yield self.sequence_ids[start:stop]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Plan) and self.fingerprint == other.fingerprint

    def __hash__(self) -> int:
        return hash(self.fingerprint)

    def __repr__(self) -> str:
        shuffled = "" if self.seed is None else f", seed {self.seed}"
        epoch = f", epoch {self.epoch}" if self.epoch else ""
        return (
            f"Plan({self.num_sequences:,} sequences, {self.num_tokens:,} tokens -> {self.num_packs:,} packs of "
            f"{self.max_length:,}, efficiency {100 * self.efficiency:.2f} %, {self.strategy}{shuffled}{epoch})"
        )

    def __reduce__(self) -> tuple[Any, ...]:
        return _from_parts, (self._core.parts(),)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes the plan to one Arrow IPC file, complete or not at all.

        It holds the patterns and the sequence ids by length, so it needs no lengths to be read again.

        Raises:
            OutputError: it cannot be written.
        """
        saving.save(self._core, path)


def load_plan(path: str | os.PathLike[str]) -> Plan:
    """Reads a plan that `Plan.save` wrote.

    Raises:
        SourceNotFoundError: there is no such file.
        DamagedError: it is not a saved plan, or is truncated or changed.
    """
    return Plan(saving.load(path))


def _from_parts(parts: dict[str, Any]) -> Plan:
    return Plan(saving.from_parts(parts))


def _frozen(array: Any) -> Any:
    array.flags.writeable = False
    return array
