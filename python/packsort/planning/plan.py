"""`Plan`, which sequences share a pack, and `load_plan`."""

from __future__ import annotations

import os
from collections.abc import Iterator
from itertools import pairwise
from typing import TYPE_CHECKING, Any, BinaryIO, SupportsIndex, TypeAlias, overload

from packsort import _checks
from packsort._lazy import lazy_property
from packsort._pickles import restoring
from packsort.planning import stored
from packsort.planning.facts import PlanFacts

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Ids: TypeAlias = "NDArray[np.uint32] | NDArray[np.int64]"


class Plan(PlanFacts):
    """Assignment of sequences to packs; holds no tokens. `packsort.plan` and `packsort.load_plan` return it.

    A plan is a sequence of packs: `len(plan)`, `plan[i]`, `plan[2:5]` and iteration give the sequence ids of packs as
    read-only arrays. Arrays over all packs are computed when they are first asked for; `plan[i]` does not need them.

    Example:
        >>> import packsort
        >>> plan = packsort.plan([3, 5, 2, 2], max_length=7)
        >>> plan
        Plan(4 sequences, 12 tokens -> 2 packs of 7, efficiency 85.71 %, ffd)
        >>> [ids.tolist() for ids in plan]
        [[1, 2], [0, 3]]
        >>> plan[-1].tolist()
        [0, 3]
    """

    @classmethod
    def from_packs(cls, lengths: Any, packs: Any, *, max_length: int, seed: int | None = None, epoch: int = 0) -> Plan:
        """Make a plan of packs that were decided elsewhere, such as by a strategy of your own.

        Loaders, `write_shards`, `save` and `schedule` take it. Its `strategy` is `given`. Packs keep their
        sequences, and the order of these, in every epoch; a seed shuffles the packs.

        Args:
            lengths: Tokens of each sequence, (n,), at least 1 each: whatever `packsort.plan` takes.
            packs: Sequence ids of each pack, counted from 0: a list of lists or arrays, or an Arrow column of lists of
                integers. Every sequence is in exactly one pack.
            max_length: Most tokens of a pack, 1 to 2**31 - 1.
            seed: Seed of the shuffle, 0 to 2**64 - 1. None keeps the order of the packs in every epoch.
            epoch: Epoch of the shuffle.

        Raises:
            LengthError: A length is null, below 1, or over `max_length`. Its `row` is the sequence.
            LengthTypeError: The lengths are not integers, or not one column.
            OptionError: `packs` are not lists of integers; an id is out of range, there twice or missing; a pack is
                empty or has more than `max_length` tokens; or another argument has a value that is not allowed.

        Example:
            >>> from packsort import Plan
            >>> plan = Plan.from_packs([3, 5, 2, 2], [[1], [0, 3, 2]], max_length=7)
            >>> plan
            Plan(4 sequences, 12 tokens -> 2 packs of 7, efficiency 85.71 %, given)
            >>> [ids.tolist() for ids in plan]
            [[1], [0, 3, 2]]
            >>> Plan.from_packs([3, 5], [[1], [0, 1]], max_length=9)
            Traceback (most recent call last):
            packsort.errors.OptionError: packs must hold each sequence once, got sequence 1 again (packs 0 and 1)
        """
        from packsort.planning.given import plan_of_packs

        return cls(plan_of_packs(lengths, packs, max_length=max_length, seed=seed, epoch=epoch))

    @lazy_property
    def num_split(self) -> int:
        """Number of sequences cut into more than one piece."""
        return self._core.num_split()

    @lazy_property
    def split_rows(self) -> NDArray[np.int64]:
        """Rows of the sequences cut into more than one piece, ascending: int64 (num_split,)."""
        rows: NDArray[np.int64] = _frozen(self._core.split_rows())
        return rows

    @property
    def has_starts(self) -> bool:
        """Whether any of `piece_starts` can be other than 0: sequences are cut, or truncated on the left."""
        return bool(self._facts["has_starts"])

    @lazy_property
    def _all_packs(self) -> tuple[NDArray[np.int64], Ids]:
        return self.list_packs(0, self.num_packs)

    @property
    def pack_offsets(self) -> NDArray[np.int64]:
        """Start of each pack in `sequence_ids`: int64 (num_packs + 1,)."""
        return self._all_packs[0]

    @property
    def sequence_ids(self) -> Ids:
        """Source rows of all packs, one pack after another: uint32 (pieces,), int64 from 2**32 rows on.

        Pack `i` holds `sequence_ids[pack_offsets[i]:pack_offsets[i + 1]]`. A sequence that is cut appears once for each
        of its pieces.
        """
        return self._all_packs[1]

    @lazy_property
    def piece_starts(self) -> NDArray[np.int32]:
        """First token of each piece in its sequence: int32 (pieces,); all 0 unless `has_starts`."""
        return self.list_starts(0, self.num_packs)

    @lazy_property
    def piece_lengths(self) -> NDArray[np.int32]:
        """Tokens of each piece, aligned with `sequence_ids`: int32 (pieces,)."""
        return self.list_lengths(0, self.num_packs)

    @property
    def max_displacement(self) -> int:
        """Most places between where a sequence stands in the packs and where it stands in the input.

        Places count the sequences that are in packs, each piece of a cut one for itself. In the packs they are those of
        `sequence_ids`, in the input those in the order of the rows, pieces in the order of their tokens.

        Example:
            >>> import packsort
            >>> plan = packsort.plan([6, 5, 4, 9], max_length=10, strategy="in_order", window=1)
            >>> plan.sequence_ids, plan.max_displacement, plan.mean_displacement
            (array([0, 2, 1, 3], dtype=uint32), 1, 0.5)
        """
        return self._displacement[0]

    @property
    def mean_displacement(self) -> float:
        """Mean of these places over all sequences; 0.0 for a plan without packs."""
        return self._displacement[1]

    @lazy_property
    def _displacement(self) -> tuple[int, float]:
        from packsort.planning.displacement import displacement

        return displacement(self.sequence_ids, self.piece_starts if self.num_split else None, self.num_rows)

    def list_packs(self, start: int, stop: int) -> tuple[NDArray[np.int64], Ids]:
        """Return the packs from `start` up to `stop`, exclusive, without computing the others.

        Returns:
            (offsets int64 (packs + 1,), starting at 0; sequence ids uint32 or int64 (pieces,)), both read-only.
        """
        offsets, ids = self._core.list_packs(start, stop)
        return _frozen(offsets), _frozen(ids)

    def list_lengths(self, start: int, stop: int) -> NDArray[np.int32]:
        """Return the tokens of each piece of packs `start` up to `stop`, exclusive: int32 (pieces,), read-only."""
        lengths: NDArray[np.int32] = _frozen(self._core.list_lengths(start, stop))
        return lengths

    def list_starts(self, start: int, stop: int) -> NDArray[np.int32]:
        """Return the first token of each piece in its sequence, of packs `start` up to `stop`: int32 (pieces,)."""
        starts: NDArray[np.int32] = _frozen(self._core.list_starts(start, stop))
        return starts

    def with_epoch(self, epoch: int) -> Plan:
        """Return this plan shuffled for another epoch.

        The patterns, and so the number of packs, stay. Sequences of equal length trade places, and packs come in
        another order. A plan without a seed stays unshuffled in epoch 0; in other epochs it is shuffled by seed 0.
        The packs of `in_order` and of `from_packs` stay as they are: a seed shuffles their order, and without one it is
        kept.

        Args:
            epoch: 0 to 2**64 - 1.

        Raises:
            OptionError: `epoch` is no such integer.

        Example:
            >>> import packsort
            >>> plan = packsort.plan([4, 4, 4, 3, 3, 3], max_length=7, seed=1)
            >>> plan.with_epoch(1).num_packs == plan.num_packs
            True
        """
        return Plan(self._core.with_epoch(_checks.seed("epoch", epoch)))

    @overload
    def __getitem__(self, index: SupportsIndex) -> Ids: ...
    @overload
    def __getitem__(self, index: slice) -> list[Ids]: ...
    def __getitem__(self, index: SupportsIndex | slice) -> Ids | list[Ids]:
        """Return the sequence ids of one pack, or a list of them for a slice.

        Each is uint32 (pieces,), int64 from 2**32 rows on, and read-only, as in `sequence_ids`.

        Raises:
            IndexError: There is no such pack.
            TypeError: `index` is neither an integer nor a slice.
        """
        if isinstance(index, slice):
            start, stop, step = index.indices(self.num_packs)
            if step != 1:
                return [self[i] for i in range(start, stop, step)]
            offsets, ids = self.list_packs(start, max(start, stop))
            return [ids[a:b] for a, b in pairwise(offsets.tolist())]
        pack = self._core.pack(_checks.pack_number(index, self.num_packs, "the plan"))
        assert pack is not None
        one: Ids = _frozen(pack[0].astype("uint32" if self.num_rows < 2**32 else "int64", copy=False))
        return one

    def __iter__(self) -> Iterator[Ids]:
        ids = self.sequence_ids
        for start, stop in pairwise(self.pack_offsets.tolist()):
            yield ids[start:stop]

    def __reduce__(self) -> tuple[Any, ...]:
        return _from_parts, (stored.to_stored(self._core),)

    def save(self, path: str | os.PathLike[str] | BinaryIO) -> None:
        """Save the plan as an Arrow IPC file; `packsort.load_plan` reads it.

        The file holds the patterns and the sequence ids by length, so loading needs no lengths. It appears complete or
        not at all.

        Args:
            path: File to write; an existing one is replaced. An open binary file is written to.

        Raises:
            OutputError: The file cannot be written.
        """
        from packsort.planning.saving import save

        save(self._core, path)


def load_plan(path: str | os.PathLike[str]) -> Plan:
    """Load a plan that `Plan.save` wrote.

    Args:
        path: File to read.

    Raises:
        SourceNotFoundError: There is no such file.
        SourceError: The file cannot be read, or holds a plan made from counts.
        DamagedError: The file is no saved plan, or is truncated or changed.

    Example:
        >>> import packsort, tempfile
        >>> plan = packsort.plan([3, 5, 2, 2], max_length=7)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     plan.save(f"{folder}/plan.arrow")
        ...     packsort.load_plan(f"{folder}/plan.arrow") == plan
        True
    """
    from packsort.planning.saving import load

    return Plan(load(path))


def _from_parts(parts: dict[str, Any]) -> Plan:
    with restoring("Plan"):
        return Plan(stored.from_stored(parts, counted=False))


def _frozen(array: Any) -> Any:
    array.flags.writeable = False
    return array
