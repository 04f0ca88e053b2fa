"""`plan_counts`: counts of lengths and options to a `CountedPlan`."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple, SupportsIndex, Unpack

from packsort import _checks, _core
from packsort._lazy import lazy_property
from packsort._options.keywords import PlanOptions
from packsort._options.plan import PlanConfig, core_options, plan_config
from packsort._pickles import restoring
from packsort.errors import LengthError, OptionError
from packsort.planning import stored
from packsort.planning.facts import PlanFacts
from packsort.planning.length_counts import CountsOfLengths, as_counts
from packsort.planning.lengths import as_lengths

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_PER_SEQUENCE = ("groups", "alone", "splittable", "piece_starts")


class CountedPack(NamedTuple):
    """A pack of a `CountedPlan`.

    Attributes:
        lengths: Tokens of each sequence: int32 (sequences,).
        ranks: Number of each sequence among those of its length, in the order of the input: int64 (sequences,).
    """

    lengths: NDArray[np.int32]
    ranks: NDArray[np.int64]


class CountedPlan(PlanFacts):
    """Assignment of counted sequences to packs; `packsort.plan_counts` returns it.

    It takes a few kilobytes, whatever the number of sequences. Where a plan of lengths holds rows, it tells lengths and
    ranks: the rank of a sequence is its number among the sequences of the same planned length, in the order of the
    input. A sequence that is truncated has the length that it keeps.

    For arrays over many sequences, length and rank are one number: sequences are numbered by length, and by rank among
    equals. `numbers` and `places` lead from lengths to these numbers and on to packs.

    Example:
        >>> import packsort
        >>> plan = packsort.plan_counts({300: 2_000_000_000, 700: 1_000_000_000}, max_length=1000)
        >>> plan
        CountedPlan(3,000,000,000 sequences, 1,300,000,000,000 tokens -> 1,333,333,334 packs of 1,000,
        efficiency 97.50 %, ffd)
        >>> plan[1_234_567_890]
        CountedPack(lengths=array([300, 300, 300], dtype=int32), ranks=array([1703703670, 1703703671, 1703703672]))
    """

    def __getitem__(self, index: SupportsIndex) -> CountedPack:
        """Return one pack.

        Raises:
            IndexError: There is no such pack.
            TypeError: `index` is no integer.
        """
        pack = self._core.pack(_checks.pack_number(index, self.num_packs, "the plan"))
        assert pack is not None
        numbers, lengths = pack
        return CountedPack(lengths, numbers - self._first_number(lengths))

    def __iter__(self) -> Iterator[CountedPack]:
        return (self[index] for index in range(self.num_packs))

    def list_packs(self, start: int, stop: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the packs from `start` up to `stop`, exclusive, without computing the others.

        Returns:
            (offsets int64 (packs + 1,), starting at 0; numbers of sequences, as `numbers` gives them, int64
            (sequences,)).
        """
        offsets, numbers = self._core.list_packs(start, stop)
        return offsets, numbers.astype("int64", copy=False)

    def list_lengths(self, start: int, stop: int) -> NDArray[np.int32]:
        """Return the tokens of each sequence of packs `start` up to `stop`, exclusive: int32 (sequences,)."""
        return self._core.list_lengths(start, stop)

    def numbers(self, lengths: Any, before: Any = None) -> NDArray[np.int64]:
        """Return the numbers of the sequences of a part of the input.

        Args:
            lengths: Tokens of each sequence of the part, (n,), as for `packsort.plan`.
            before: Counts of the sequences that precede the part, as for `packsort.plan_counts`; None for the first
                part.

        Returns:
            int64 (n,), from 0 to `num_sequences`; -1 for sequences that are left out.

        Raises:
            LengthError: A length is null or negative, or there are more sequences of a length than were counted.

        Example:
            >>> import packsort
            >>> plan = packsort.plan_counts({3: 3, 4: 1}, max_length=7)
            >>> plan.numbers([3, 4]), plan.numbers([3, 3], before={3: 1, 4: 1})
            (array([0, 3]), array([1, 2]))
        """
        return self.numbers_after(as_lengths(lengths), as_counts({} if before is None else before, "before"))

    def numbers_after(self, lengths: Any, before: CountsOfLengths) -> NDArray[np.int64]:
        """Return `numbers` of lengths and counts that are checked already."""
        return self._core.numbers(lengths, before)

    def places(self, lengths: Any, before: Any = None) -> NDArray[np.int64]:
        """Return the packs of the sequences of a part of the input.

        Args:
            lengths: As for `numbers`.
            before: As for `numbers`.

        Returns:
            Number of each sequence's pack, int64 (n,); -1 for sequences that are left out.

        Raises:
            LengthError: As for `numbers`.

        Example:
            >>> import packsort
            >>> plan = packsort.plan_counts({3: 3, 4: 1}, max_length=7)
            >>> plan.places([3, 4]), plan.places([3, 3], before={3: 1, 4: 1})
            (array([0, 0]), array([1, 1]))
        """
        return self.places_of(self.numbers(lengths, before))

    def places_of(self, numbers: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the packs of sequences by their numbers, which are int64 (n,); -1 stays -1."""
        return self._core.places(numbers)

    @property
    def longest(self) -> int:
        """Most tokens of a sequence: the largest multiple of `pad_to_multiple_of` within `max_length`."""
        return self.max_length // self.pad_to_multiple_of * self.pad_to_multiple_of

    def fingerprint_of_rows(self, rows: Iterable[NDArray[Any]], kind: type[np.generic]) -> str:
        """Return the fingerprint of the `Plan` of all lengths, which makes the same packs of rows.

        Args:
            rows: Row of each planned sequence in the order of the numbers, in arrays of any size.
            kind: Type of the rows: uint32, int64 from 2**32 rows of the source on.

        Example:
            >>> import packsort, numpy as np
            >>> counted, plan = packsort.plan_counts({3: 2, 5: 1}, 7), packsort.plan([3, 5, 3], 7)
            >>> counted.fingerprint_of_rows([np.array([0, 2], np.uint32), np.array([1], np.uint32)], np.uint32)
            'ef78e704a55b3cfadbcfaa128a0ebc39'
            >>> plan.fingerprint
            'ef78e704a55b3cfadbcfaa128a0ebc39'
        """
        return stored.fingerprint_of(stored.to_stored(self._core), (kind, rows))

    def with_epoch(self, epoch: int) -> CountedPlan:
        """Return this plan shuffled for another epoch, as `Plan.with_epoch`."""
        return CountedPlan(self._core.with_epoch(_checks.seed("epoch", epoch)))

    def save(self, path: str | os.PathLike[str] | BinaryIO) -> None:
        """Save the plan as an Arrow IPC file of a few kilobytes; `CountedPlan.load` reads it.

        Args:
            path: File to write; an existing one is replaced. An open binary file is written to.

        Raises:
            OutputError: The file cannot be written.
        """
        from packsort.planning.saving import save

        save(self._core, path)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> CountedPlan:
        """Load a plan that `save` wrote.

        Raises:
            SourceNotFoundError: There is no such file.
            SourceError: The file holds a plan of lengths.
            DamagedError: The file is no saved plan, or is truncated or changed.
        """
        from packsort.planning.saving import load

        return cls(load(path, counted=True))

    def __reduce__(self) -> tuple[Any, ...]:
        return _from_parts, (stored.to_stored(self._core),)

    @lazy_property
    def _classes(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        parts = self._core.parts()
        return parts["class_lengths"], parts["class_first"]

    def _first_number(self, lengths: NDArray[np.int32]) -> NDArray[np.int64]:
        of_classes, first = self._classes
        found: NDArray[np.int64] = first[of_classes.searchsorted(lengths)]
        return found


def plan_counts(
    counts: Any, max_length: int, *, seed: int | None = None, epoch: int = 0, **options: Unpack[PlanOptions]
) -> CountedPlan:
    """Decide which lengths share a pack from how often each occurs.

    The packs are those that `packsort.plan` makes of sequences with these lengths. Planning a billion sequences takes
    milliseconds.

    Args:
        counts: Number of sequences of each length: an integer array (n,) whose item `l` counts sequences of `l` tokens,
            or a mapping from lengths to numbers.
        max_length: Most tokens of a pack, 1 to 2**31 - 1.
        seed: Seed of the shuffle, as for `packsort.plan`.
        epoch: Epoch of the shuffle.
        **options: Options of `packsort.plan`. Those that say something of single sequences need all lengths in order:
            `strategy="random"`, `"hybrid"` and `"in_order"`, `overlong="split"`, `groups`, `alone`, `splittable` and
            `piece_starts`.

    Returns:
        The plan.

    Raises:
        LengthError: A sequence is of length 0 with `empty="error"`, or over `max_length` with `overlong="error"`.
        OptionError: An option has a value that is not allowed, or counts do not go with it.
        TypeError: A keyword argument is unknown.

    Example:
        >>> import packsort
        >>> plan = packsort.plan_counts([0, 0, 0, 2, 1], max_length=7)
        >>> plan.num_packs, plan.efficiency, plan[0]
        (2, 0.7142857142857143, CountedPack(lengths=array([4, 3], dtype=int32), ranks=array([0, 0])))
    """
    config = plan_config("plan_counts", max_length, options, seed=seed, epoch=epoch)
    refuse_uncountable(config, "pass all lengths to `packsort.plan`")
    return plan_of_counts(as_counts(counts, "counts"), config)


def plan_of_counts(counts: CountsOfLengths, config: PlanConfig) -> CountedPlan:
    """Plan counted sequences with checked options, which `refuse_uncountable` has let pass."""
    if config.strategy == "optimal":
        from packsort.planning.optimal.program import solver

        solver()  # refuses before any work is done where highspy is missing
    try:
        planned = _core.Plan.from_counts(counts, core_options(config), config.seed, config.epoch)
    except LengthError as error:
        if config.overlong != "error" or not error.length or error.length <= config.max_length:
            raise
        raise LengthError(f"{error}: pass overlong='drop' or 'truncate'", None, error.length) from None
    if config.strategy == "optimal":
        from packsort.planning.optimal.groups import fewest_packs

        planned = fewest_packs(
            planned,
            max_sequences=config.max_sequences,
            gap=config.gap,
            max_iterations=config.max_iterations,
            max_seconds=config.max_seconds,
            on_progress=config.on_progress,
        )
    return CountedPlan(planned)


def refuse_uncountable(config: PlanConfig, way_out: str) -> None:
    """Refuse options that need more than the counts of lengths.

    Args:
        config: The options.
        way_out: What else to do, for the message.

    Raises:
        OptionError: There is such an option.
    """
    for name in _PER_SEQUENCE:
        if getattr(config, name) is not None:
            raise OptionError(f"{name} says something of single sequences, which counts do not know: {way_out}")
    for name, value in (("strategy", config.strategy), ("overlong", config.overlong)):
        if value in ("random", "hybrid", "in_order", "split"):
            raise OptionError(f"{name}={value!r} needs all lengths in order, not their counts: {way_out}")


def _from_parts(parts: dict[str, Any]) -> CountedPlan:
    with restoring("CountedPlan"):
        return CountedPlan(stored.from_stored(parts, counted=True))
