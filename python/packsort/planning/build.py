"""How plans are made."""

from __future__ import annotations

from typing import Any, Unpack

import numpy as np
from numpy.typing import NDArray

from packsort import _core
from packsort.options import PlanConfig, PlanOptions, plan_config
from packsort.planning.constraints import as_codes, as_flags, as_lists
from packsort.planning.lengths import as_column
from packsort.planning.optimal.groups import fewest_packs
from packsort.planning.optimal.program import solver
from packsort.planning.plan import Plan


def plan(
    lengths: Any,
    max_length: int,
    *,
    seed: int | None = None,
    epoch: int = 0,
    **options: Unpack[PlanOptions],
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
    config = plan_config("plan", max_length, options, seed=seed, epoch=epoch)
    return plan_of_config(lengths, config)


def plan_of_config(lengths: Any, config: PlanConfig) -> Plan:
    """Plan lengths with options that are checked already."""
    if config.strategy == "optimal":
        solver()  # reports what is missing before any work is done
    column = as_column(lengths)
    rows = len(column)
    options = config.core()
    if config.strategy == "random":
        return Plan(_core.Concatenation.make(column, _core_options(options), config.seed, config.epoch))
    flags = None if config.splittable is None else as_flags("splittable", config.splittable, rows)
    starts = None if config.piece_starts is None else as_lists("piece_starts", config.piece_starts, rows)
    if starts is not None:
        options["overlong"] = "drop"
    groups = _groups(config.groups, config.alone, rows)
    made = _core.Plan.make(column, _core_options(options), groups, flags, starts, config.seed, config.epoch)
    if config.strategy == "optimal":
        made = fewest_packs(
            made,
            max_sequences=config.max_sequences,
            gap=config.gap,
            max_iterations=config.max_iterations,
            max_seconds=config.max_seconds,
            on_progress=config.on_progress,
        )
    return Plan(made)


def _core_options(options: dict[str, Any]) -> dict[str, Any]:
    """Translate options to the names that the core has today."""
    return {
        "max_length": options["max_length"],
        "strategy": options["strategy"],
        "overlong": options["overlong"],
        "keep_end": options["truncation_side"] == "left",
        "max_sequences": options["max_sequences"] or 0,
        "packs_multiple": options["num_packs_multiple_of"],
        "pad_multiple": options["pad_to_multiple_of"],
        "separated": options["separator"],
    }


def _groups(groups: Any, alone: Any, rows: int) -> tuple[NDArray[np.uint32], int, bool] | None:
    """The group of each sequence, their number, and whether the last is of those that share with nobody."""
    if groups is None and alone is None:
        return None
    codes = np.zeros(rows, np.uint32) if groups is None else as_codes(groups, rows)
    number = int(codes.max(initial=0)) + 1
    if alone is None:
        return codes, number, False
    return np.where(as_flags("alone", alone, rows), np.uint32(number), codes), number + 1, True
