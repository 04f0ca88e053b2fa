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
from packsort._columns import as_codes, as_flags, as_lists
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

    @cached_property
    def _facts(self) -> dict[str, Any]:
        return self._core.facts()

    @property
    def max_length(self) -> int:
        """The most tokens a pack may hold."""
        return self._fact("max_length")

    @property
    def strategy(self) -> str:
        """How sequences were put together: `ffd`, `bfd`, `hybrid`, `padding` or `random`."""
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
        with what separators and padding take; with groups, the sum over them. Where sequences are cut, of their pieces.
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
    truncation_side: str = "right",
    max_sequences: int | None = None,
    pad_to_multiple_of: int = 1,
    separator: bool = False,
    num_packs_multiple_of: int = 1,
    groups: Any = None,
    splittable: Any = None,
    alone: Any = None,
    piece_starts: Any = None,
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
            those of TRL's `bfd`; `hybrid`, as `ffd`, with sequences that are `splittable` cut to fill the room that
            whole ones leave, where that takes fewer packs; `padding`, one sequence a pack; `random`, the paper's
            random packing: sequences shuffled (by `seed`; None: in input order), concatenated and cut, so that all
            packs but the last are full.
        overlong: what becomes of sequences longer than `max_length`: `error`, `drop`, `truncate`, or `split` (into
            pieces of `max_length` and what is left, packed like sequences). `random` cuts sequences anyway, with
            `error` as with `split`; `hybrid` splits those that are splittable.
        truncation_side: where `truncate` takes tokens off: `right` keeps the first `max_length`, `left` the last.
        max_sequences: the most sequences a pack may hold; None for any number.
        pad_to_multiple_of: each sequence takes a multiple of this of its pack, 1 to `max_length`: 8 or 16 for tensor
            cores, 2 x the context-parallel size. None can then be longer than the largest multiple in `max_length`.
        separator: whether each pack has room for a token between any two sequences. With `pad_to_multiple_of` it counts
            before rounding up.
        num_packs_multiple_of: the number of packs is a multiple of this, such as ranks x accumulation: packs with the
            most sequences are split in two until it is, so no sequence is dropped.
        groups: a value for each sequence, (n,), of any type that can be compared; packs never mix groups. Unless a
            seed shuffles them they come group after group: by value where these are small integers, else in the order
            in which groups first appear.
        splittable: booleans, (n,): sequences that `hybrid` may cut; single turns, documents.
        alone: booleans, (n,): sequences that get a pack of their own, whatever their group.
        piece_starts: lists of integers, (n,): where each sequence is cut beforehand; the first token of each of its
            pieces, from 0 on. Pieces are packed like sequences. One of length 0, with an empty list, is left out.
        seed: None for the packs in the order they are opened, equal lengths in input order: with `ffd` the textbook's,
            id for id. A number shuffles equal lengths and the order of packs.
        epoch: shuffles anew for each epoch; the packs by length, and so their number, stay.

    Raises:
        LengthError: a length is null, zero, negative, or over `max_length` where `overlong` is `error`; it has the
            row. LengthTypeError: lengths are not integers.
        OptionError: an option has a value that is not allowed, or two contradict each other.

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

        Three sequences of 600 tokens; two packs hold them if one may be cut.

        >>> plan = packsort.plan([600, 600, 600], max_length=1000, strategy="hybrid", splittable=[True, False, False])
        >>> plan.num_packs, plan.num_split, plan.piece_lengths.tolist()
        (2, 1, [600, 400, 600, 200])
    """
    limit = check_max_length(max_length)
    most = 0 if max_sequences is None else _count("max_sequences", max_sequences, ", or None for any number")
    strategy = _one_of("strategy", strategy, _STRATEGIES)
    if overlong == "split_turns":
        raise OptionError(
            "overlong is 'split_turns' and there are lengths only: it cuts conversations, where they are tokenized; "
            f"allowed are {_listed(_OVERLONG)}"
        )
    multiple = _integer("pad_to_multiple_of", pad_to_multiple_of)
    if not 1 <= multiple <= limit:
        raise OptionError(
            f"pad_to_multiple_of is {multiple} and max_length {limit}, allowed is 1 to {limit}: "
            "a sequence takes a multiple of it, and has to fit"
        )
    if not isinstance(separator, (bool, np.bool_)):
        raise OptionError(f"separator is {separator!r}, allowed are True and False")
    options = {
        "max_length": limit,
        "strategy": strategy,
        "overlong": _one_of("overlong", overlong, _OVERLONG),
        "keep_end": _one_of("truncation_side", truncation_side, ("right", "left")) == "left",
        "max_sequences": most,
        "packs_multiple": _count("num_packs_multiple_of", num_packs_multiple_of),
        "pad_multiple": multiple,
        "separated": bool(separator),
    }
    if truncation_side == "left" and overlong != "truncate":
        raise _clash("truncation_side 'left'", f"overlong {overlong!r}", "it says which end 'truncate' takes off")
    if splittable is not None and strategy != "hybrid":
        raise _clash("splittable", f"strategy {strategy!r}", "only 'hybrid' cuts what is splittable")
    if splittable is None and strategy == "hybrid":
        raise OptionError("strategy is 'hybrid' and splittable is None: say which sequences may be cut, (n,) booleans")
    if piece_starts is not None and strategy == "hybrid":
        raise _clash("piece_starts", "strategy 'hybrid'", "cutting beforehand goes with 'ffd', 'bfd' and 'padding'")
    if piece_starts is not None and overlong != "error":
        raise _clash("piece_starts", f"overlong {overlong!r}", "what is cut beforehand is not too long")
    if strategy == "random":
        given: dict[str, bool] = {
            "max_sequences": max_sequences is not None,
            "pad_to_multiple_of": multiple > 1,
            "separator": bool(separator),
            "num_packs_multiple_of": options["packs_multiple"] != 1,
            "groups": groups is not None,
            "alone": alone is not None,
            "piece_starts": piece_starts is not None,
        }
        for name in (name for name, there in given.items() if there):
            raise OptionError(
                f"strategy 'random' and {name} clash: random packing concatenates all sequences; "
                "allowed with it are 'ffd', 'bfd', 'hybrid', 'padding'"
            )
    seed = None if seed is None else _natural("seed", seed)
    epoch = _natural("epoch", epoch)
    column = as_column(lengths)
    rows = len(column)
    if strategy == "random":
        return Plan(_core.Concatenation.make(column, options, seed, epoch))
    flags = None if splittable is None else as_flags("splittable", splittable, rows)
    starts = None if piece_starts is None else as_lists("piece_starts", piece_starts, rows)
    if starts is not None:
        options["overlong"] = "drop"
    return Plan(_core.Plan.make(column, options, _groups(groups, alone, rows), flags, starts, seed, epoch))


_STRATEGIES = ("ffd", "bfd", "hybrid", "padding", "random")
_OVERLONG = ("error", "drop", "truncate", "split")


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


def _count(name: str, value: int, more: str = "") -> int:
    number = _integer(name, value)
    if not 1 <= number < 2**32:
        raise OptionError(f"{name} is {number}, allowed is 1 to 2**32 - 1{more}")
    return number


def _one_of(name: str, value: str, allowed: tuple[str, ...]) -> str:
    if value not in allowed:
        raise OptionError(f"{name} is {value!r}, allowed are {_listed(allowed)}")
    return value


def _listed(names: tuple[str, ...]) -> str:
    return ", ".join(map(repr, names))


def _clash(one: str, other: str, why: str) -> OptionError:
    return OptionError(f"{one} and {other} clash: {why}")


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
