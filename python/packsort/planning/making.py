"""How plans are made."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from packsort import _core
from packsort._columns import as_codes, as_flags, as_lists
from packsort._lengths import as_column
from packsort.errors import OptionError
from packsort.planning.checks import check_max_length, clash, count, integer, listed, natural, one_of
from packsort.planning.optimal import Progress, fewest_packs
from packsort.planning.optimal.program import solver
from packsort.planning.plans import Plan


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
    gap: float | None = None,
    max_iterations: int | None = None,
    max_seconds: float | None = None,
    on_progress: Progress | None = None,
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
            packs but the last are full; `optimal`, the fewest packs, with proof, in seconds at any number of sequences:
            column generation (Gilmore and Gomory, 1961) on the histogram. It needs `packsort[optimal]`.
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
        gap: where `optimal` stops: at packs no more than this fraction above `lower_bound`, such as 0.0005. None is for
            the fewest, but of millions of packs for a millionth more, so that it takes no longer the more sequences
            there are; 0 for the fewest whatever it takes.
        max_iterations: `optimal` stops after so many linear programs a group, with the best packs so far; None for any
            number. The same lengths, options and version then give the same plan on any number of threads.
        max_seconds: `optimal` stops after this time, wherever it is then.
        on_progress: `optimal` calls it with packs, packs that any plan needs, and the gap between them, as they close.

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

        First-fit decreasing puts 4 and 4 together, and needs a third pack for the last 3; 4 + 3 + 3 twice are full.

        >>> packsort.plan([4, 4, 3, 3, 3, 3], max_length=10).num_packs
        3
        >>> plan = packsort.plan([4, 4, 3, 3, 3, 3], max_length=10, strategy="optimal")
        >>> plan.num_packs, plan.lower_bound, plan.gap
        (2, 2, 0.0)
    """
    limit = check_max_length(max_length)
    most = 0 if max_sequences is None else count("max_sequences", max_sequences, ", or None for any number")
    strategy = one_of("strategy", strategy, _STRATEGIES)
    if overlong == "split_turns":
        raise OptionError(
            "overlong is 'split_turns' and there are lengths only: it cuts conversations, where they are tokenized; "
            f"allowed are {listed(_OVERLONG)}"
        )
    multiple = integer("pad_to_multiple_of", pad_to_multiple_of)
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
        "overlong": one_of("overlong", overlong, _OVERLONG),
        "keep_end": one_of("truncation_side", truncation_side, ("right", "left")) == "left",
        "max_sequences": most,
        "packs_multiple": count("num_packs_multiple_of", num_packs_multiple_of),
        "pad_multiple": multiple,
        "separated": bool(separator),
    }
    if truncation_side == "left" and overlong != "truncate":
        raise clash("truncation_side 'left'", f"overlong {overlong!r}", "it says which end 'truncate' takes off")
    if splittable is not None and strategy != "hybrid":
        raise clash("splittable", f"strategy {strategy!r}", "only 'hybrid' cuts what is splittable")
    if splittable is None and strategy == "hybrid":
        raise OptionError("strategy is 'hybrid' and splittable is None: say which sequences may be cut, (n,) booleans")
    if piece_starts is not None and strategy == "hybrid":
        raise clash(
            "piece_starts", "strategy 'hybrid'", "cutting beforehand goes with 'ffd', 'bfd', 'padding' and 'optimal'"
        )
    if piece_starts is not None and overlong != "error":
        raise clash("piece_starts", f"overlong {overlong!r}", "what is cut beforehand is not too long")
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
                "allowed with it are 'ffd', 'bfd', 'hybrid', 'padding', 'optimal'"
            )
    budget = _budget(strategy, gap, max_iterations, max_seconds, on_progress)
    seed = None if seed is None else natural("seed", seed)
    epoch = natural("epoch", epoch)
    column = as_column(lengths)
    rows = len(column)
    if strategy == "random":
        return Plan(_core.Concatenation.make(column, options, seed, epoch))
    flags = None if splittable is None else as_flags("splittable", splittable, rows)
    starts = None if piece_starts is None else as_lists("piece_starts", piece_starts, rows)
    if starts is not None:
        options["overlong"] = "drop"
    planned = _core.Plan.make(column, options, _groups(groups, alone, rows), flags, starts, seed, epoch)
    if strategy == "optimal":
        planned = fewest_packs(planned, max_sequences=max_sequences, **budget)
    return Plan(planned)


_STRATEGIES = ("ffd", "bfd", "hybrid", "padding", "random", "optimal")
_OVERLONG = ("error", "drop", "truncate", "split")


def _budget(strategy: str, gap: Any, max_iterations: Any, max_seconds: Any, on_progress: Any) -> dict[str, Any]:
    """Where `optimal` stops, checked; nothing for another strategy."""
    given = {"gap": gap, "max_iterations": max_iterations, "max_seconds": max_seconds, "on_progress": on_progress}
    if strategy != "optimal":
        for name in (name for name, value in given.items() if value is not None and name != "on_progress"):
            raise clash(name, f"strategy {strategy!r}", "only 'optimal' searches until something stops it")
        return {}
    if max_iterations is not None:
        given["max_iterations"] = count("max_iterations", max_iterations, ", or None for any number")
    for name, value, least in (("gap", gap, "0"), ("max_seconds", max_seconds, "a time")):
        if value is not None and not (isinstance(value, (int, float, np.number)) and 0 <= value < math.inf):
            raise OptionError(f"{name} is {value!r}, allowed is {least} or more, or None")
    solver()  # says what is missing before any work is done
    return given


def _groups(groups: Any, alone: Any, rows: int) -> tuple[NDArray[np.uint32], int, bool] | None:
    """The group of each sequence, their number, and whether the last is of those that share with nobody."""
    if groups is None and alone is None:
        return None
    codes = np.zeros(rows, np.uint32) if groups is None else as_codes(groups, rows)
    number = int(codes.max(initial=0)) + 1
    if alone is None:
        return codes, number, False
    return np.where(as_flags("alone", alone, rows), np.uint32(number), codes), number + 1, True
