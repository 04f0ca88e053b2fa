"""Plans: which sequences share a pack, decided on the histogram of their lengths."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import xxhash
from numpy.typing import NDArray

from packsort import _core
from packsort._columns import as_codes, as_flags
from packsort._files import replace_file
from packsort._lengths import as_column
from packsort.errors import DamagedError, OptionError, SourceNotFoundError

Ids = NDArray[np.uint32] | NDArray[np.int64]

_MAX_LENGTH = 2**31 - 1


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

    @property
    def max_length(self) -> int:
        """The most tokens a pack may hold."""
        return self._core.max_length

    @property
    def strategy(self) -> str:
        """How sequences were put together: `ffd`, `bfd`, `padding` or `random`."""
        return self._core.strategy

    @property
    def overlong(self) -> str:
        """What became of sequences longer than `max_length`: `error`, `drop`, `truncate` or `split`."""
        return self._core.overlong

    @property
    def max_sequences(self) -> int | None:
        """The most sequences a pack may hold; None: any number."""
        return self._core.max_sequences or None

    @property
    def seed(self) -> int | None:
        """The seed of the shuffle; None: none in epoch 0."""
        return self._core.seed

    @property
    def epoch(self) -> int:
        """The epoch whose shuffle this is."""
        return self._core.epoch

    @property
    def num_rows(self) -> int:
        """Lengths that were given, planned or not."""
        return self._core.num_rows

    @property
    def num_packs(self) -> int:
        """Number of packs: of rows that a model trains on."""
        return self._core.num_packs

    @property
    def num_sequences(self) -> int:
        """Number of sequences in packs."""
        return self._core.num_sequences

    @property
    def num_patterns(self) -> int:
        """Number of different packs by length; 0 where sequences are cut, and no two packs need be alike."""
        return self._core.num_patterns if isinstance(self._core, _core.Plan) else 0

    @property
    def num_split(self) -> int:
        """Number of sequences that are in more than one piece."""
        return self._core.num_split

    @property
    def num_tokens(self) -> int:
        """Number of tokens in packs."""
        return self._core.num_tokens

    @property
    def num_dropped(self) -> int:
        """Sequences left out because they are longer than `max_length`."""
        return self._core.num_overlong if self.overlong == "drop" else 0

    @property
    def num_truncated(self) -> int:
        """Sequences of which only the first `max_length` tokens are in."""
        return self._core.num_overlong if self.overlong == "truncate" else 0

    @property
    def tokens_lost(self) -> int:
        """Tokens that dropping or truncating left out."""
        return self._core.tokens_lost

    @property
    def efficiency(self) -> float:
        """Tokens / (packs x max_length); 1.0 for a plan of nothing, which wastes nothing."""
        return self.num_tokens / (self.num_packs * self.max_length) if self.num_packs else 1.0

    @cached_property
    def lower_bound(self) -> int:
        """Packs that any plan of these sequences needs.

        The better of ceil(tokens / max_length) and L2 of Martello and Toth (1990), and what `max_sequences` asks for;
        with groups, the sum over them.
        """
        return self._core.lower_bound()

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
        """First token of each piece in its sequence: int32 (pieces,); 0 where nothing is split."""
        return self.list_starts(0, self.num_packs)

    @cached_property
    def piece_lengths(self) -> NDArray[np.int32]:
        """Tokens of each piece, in the order of `sequence_ids`: int32 (pieces,)."""
        return self.list_lengths(0, self.num_packs)

    @cached_property
    def patterns(self) -> pa.Table:
        """Which lengths share a pack: one row a pattern and length.

        Columns: `pattern` int32, `repeat` int64 (packs alike), `length` int32 (tokens), `copies` int32 (sequences of
        that length in each of the packs). In the order in which packs are opened. Empty where sequences are cut.
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
        return _fingerprint(self._core.parts())

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
        return Plan(self._core.with_epoch(_natural("epoch", epoch)))

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
        parts = self._core.parts()
        arrays = {name: value for name, value in parts.items() if isinstance(value, np.ndarray)}
        facts = {name: value for name, value in parts.items() if name not in arrays}
        facts |= {"format": _FORMAT, "fingerprint": _fingerprint(parts)}
        columns = {name: _one_row(array) for name, array in arrays.items()}
        table = pa.table(columns).replace_schema_metadata({_KEY: json.dumps(facts)})
        with replace_file(Path(path)) as file, pa.ipc.new_file(file, table.schema) as writer:
            writer.write_table(table)


_KEY = b"packsort.plan"
_FORMAT = 1


def plan(
    lengths: Any,
    max_length: int,
    *,
    strategy: str = "ffd",
    overlong: str = "error",
    max_sequences: int | None = None,
    num_packs_multiple_of: int = 1,
    groups: Any = None,
    alone: Any = None,
    seed: int | None = None,
    epoch: int = 0,
) -> Plan:
    """Decides which sequences share a pack, on the histogram of their lengths.

    Filling one pack after another with the longest sequence that still fits gives the packs of first-fit decreasing
    (Johnson, 1973), so they are decided by counts of lengths; ids are handed out afterwards.

    Args:
        lengths: tokens of each sequence, (n,): any integer Arrow column (pyarrow, polars, pandas, duckdb; a table of
            one column), NumPy array, or sequence of ints. Arrow columns and contiguous arrays are not copied.
        max_length: the most tokens a pack may hold, 1 to 2**31 - 1.
        strategy: `ffd`, first-fit decreasing, the paper's greedy packing; `bfd`, best-fit decreasing, packs as long as
            those of TRL's `bfd`; `padding`, one sequence a pack; `random`, the paper's random packing: sequences
            shuffled (by `seed`; None: in input order), concatenated and cut, so that all packs but the last are full.
        overlong: what becomes of sequences longer than `max_length`: `error`, `drop`, `truncate` (keep the first
            `max_length` tokens), or `split` (into pieces of `max_length` and what is left, packed like sequences).
            `random` cuts sequences anyway, with `error` as with `split`.
        max_sequences: the most sequences a pack may hold; None for any number.
        num_packs_multiple_of: the number of packs is a multiple of this, such as ranks x accumulation: packs with the
            most sequences are split in two until it is, so no sequence is dropped.
        groups: a value for each sequence, (n,), of any type that can be compared; packs never mix groups. Unless a
            seed shuffles them they come group after group: by value where these are small integers, else in the order
            in which groups first appear.
        alone: booleans, (n,): sequences that get a pack of their own, whatever their group.
        seed: None for the packs in the order they are opened, equal lengths in input order: with `ffd` the textbook's,
            id for id. A number shuffles equal lengths and the order of packs.
        epoch: shuffles anew for each epoch; the packs by length, and so their number, stay.

    Raises:
        LengthError: a length is null, zero, negative, or over `max_length` where `overlong` is `error`; it has the
            row. LengthTypeError: lengths are not integers.
        OptionError: an option has a value that is not allowed.

    Example:
        >>> import packsort
        >>> plan = packsort.plan([700, 300, 512, 512, 100], max_length=1024)
        >>> plan.num_packs, plan.lower_bound
        (3, 3)
        >>> plan.pack_offsets.tolist(), plan.sequence_ids.tolist()
        ([0, 2, 4, 5], [0, 1, 2, 3, 4])
        >>> packsort.plan([700, 3000], max_length=1024)
        Traceback (most recent call last):
        packsort.errors.LengthError: sequence 1 has 3000 tokens, more than max_length 1024
    """
    limit = check_max_length(max_length)
    most = 0 if max_sequences is None else _integer("max_sequences", max_sequences)
    if max_sequences is not None and not 1 <= most < 2**32:
        raise OptionError(f"max_sequences is {most}, allowed is 1 to 2**32 - 1, or None for any number")
    multiple = _integer("num_packs_multiple_of", num_packs_multiple_of)
    if not 1 <= multiple < 2**32:
        raise OptionError(f"num_packs_multiple_of is {multiple}, allowed is 1 to 2**32 - 1")
    seed = None if seed is None else _natural("seed", seed)
    epoch = _natural("epoch", epoch)
    column = as_column(lengths)
    if strategy == "random":
        for name, value in (
            ("max_sequences", max_sequences),
            ("num_packs_multiple_of", multiple if multiple > 1 else None),
            ("groups", groups),
            ("alone", alone),
        ):
            if value is not None:
                raise OptionError(
                    f"strategy 'random' and {name} clash: random packing concatenates all sequences; "
                    "allowed with it are 'ffd', 'bfd', 'padding'"
                )
        return Plan(_core.Concatenation.make(column, limit, str(overlong), seed, epoch))
    return Plan(
        _core.Plan.make(
            column,
            limit,
            str(strategy),
            str(overlong),
            most,
            multiple,
            _groups(groups, alone, len(column)),
            seed,
            epoch,
        )
    )


def _groups(groups: Any, alone: Any, rows: int) -> tuple[NDArray[np.uint32], int, bool] | None:
    """The group of each sequence, their number, and whether the last is of those that share with nobody."""
    if groups is None and alone is None:
        return None
    codes = np.zeros(rows, np.uint32) if groups is None else as_codes(groups, rows)
    count = int(codes.max(initial=0)) + 1
    if alone is None:
        return codes, count, False
    return np.where(as_flags("alone", alone, rows), np.uint32(count), codes), count + 1, True


def load_plan(path: str | os.PathLike[str]) -> Plan:
    """Reads a plan that `Plan.save` wrote.

    Raises:
        SourceNotFoundError: there is no such file.
        DamagedError: it is not a saved plan, or is truncated or changed.
    """
    try:
        with pa.memory_map(os.fspath(path)) as file:
            table = pa.ipc.open_file(file).read_all()
            facts = json.loads(table.schema.metadata[_KEY])
            if facts.pop("format") != _FORMAT:
                raise DamagedError(f"`{os.fspath(path)}` is a plan of another format version than {_FORMAT}")
            fingerprint = facts.pop("fingerprint")
            arrays = {n: table[n].combine_chunks().values.to_numpy().copy() for n in table.column_names}
            parts = facts | arrays
            if _fingerprint(parts) != fingerprint:
                raise DamagedError(f"`{os.fspath(path)}` was changed after it was saved: its fingerprint differs")
            return _from_parts(parts)
    except FileNotFoundError:
        raise SourceNotFoundError(f"no saved plan `{os.fspath(path)}`") from None
    except (pa.ArrowException, ValueError, TypeError, KeyError, AttributeError) as error:
        raise DamagedError(f"`{os.fspath(path)}` is not a saved plan, or is damaged ({error})") from error


def check_max_length(max_length: int) -> int:
    """`max_length` as an int, or an OptionError that says what is allowed."""
    limit = _integer("max_length", max_length)
    if not 1 <= limit <= _MAX_LENGTH:
        raise OptionError(f"max_length is {limit}, allowed is 1 to {_MAX_LENGTH}")
    return limit


def _integer(name: str, value: int) -> int:
    try:
        if isinstance(value, (bool, np.bool_)):
            raise TypeError
        return int(value.__index__())
    except (TypeError, AttributeError):
        raise OptionError(f"{name} is {value!r}, allowed is an integer") from None


def _natural(name: str, value: int) -> int:
    number = _integer(name, value)
    if not 0 <= number < 2**64:
        raise OptionError(f"{name} is {number}, allowed is 0 to 2**64 - 1")
    return number


def _from_parts(parts: dict[str, Any]) -> Plan:
    kind = _core.Concatenation if parts["strategy"] == "random" else _core.Plan
    return Plan(kind.from_parts(parts))


def _fingerprint(parts: dict[str, Any]) -> str:
    digest = xxhash.xxh3_128()
    for name, value in sorted(parts.items()):
        digest.update(f"{name}:{getattr(value, 'dtype', value)};".encode())
        if isinstance(value, np.ndarray):
            digest.update(value.data)
    return digest.hexdigest()


def _one_row(array: NDArray[Any]) -> pa.LargeListArray:
    return pa.LargeListArray.from_arrays(pa.array([0, len(array)], pa.int64()), pa.array(array))


def _frozen(array: Any) -> Any:
    array.flags.writeable = False
    return array
