"""`plan`: lengths and options to a `Plan`."""

from __future__ import annotations

from typing import Any, Unpack

from packsort import _core
from packsort._options.keywords import PlanOptions
from packsort._options.plan import PlanConfig, core_options, plan_config
from packsort.errors import LengthError
from packsort.planning.lengths import as_lengths
from packsort.planning.overlong import OverlongError, find_overlong
from packsort.planning.plan import Plan


def plan(
    lengths: Any,
    max_length: int,
    *,
    seed: int | None = None,
    epoch: int = 0,
    **options: Unpack[PlanOptions],
) -> Plan:
    """Decide which sequences share a pack.

    The plan depends only on how often each length occurs. First-fit decreasing (Johnson, 1973) gives the same packs as
    filling one pack after another with the longest sequence that still fits, and that can be counted on the histogram
    of lengths: planning takes one pass over the lengths, and a second one to hand out sequence ids.

    Args:
        lengths: Tokens of each sequence, (n,): an integer Arrow column (pyarrow, polars, pandas, duckdb; a table of one
            column), a NumPy array, or a sequence of ints. Arrow columns and contiguous arrays are not copied.
        max_length: Most tokens of a pack, 1 to 2**31 - 1.
        seed: Seed of the shuffle, 0 to 2**64 - 1. None keeps packs in the order in which they are opened and equal
            lengths in input order, pieces of a sequence where it stands. With `ffd` and without `max_sequences` that is
            the textbook's first-fit decreasing, id for id. With `in_order`
            a seed shuffles whole packs, and None keeps their order in every epoch.
        epoch: Epoch of the shuffle. Each has its own order, with the same number of packs.
        **options: Keyword arguments declared in `packsort.options.PlanOptions`:

            Strategy

            - **strategy** (str, default `ffd`): Rule that puts sequences into packs.
                `ffd`, or `greedy`: first-fit decreasing.
                `bfd`: best-fit decreasing; packs have the lengths that TRL's `bfd` gives.
                `hybrid`: `ffd` that also cuts `splittable` sequences to fill the room that whole ones leave, where
                that takes fewer packs.
                `padding`: one sequence in each pack.
                `random`: sequences are shuffled, concatenated and cut at `max_length`, so all packs but the last are
                full. Without a seed they are concatenated in input order.
                `in_order`: next-fit in input order, whole. The first sequence that waits opens a pack, and the others
                follow in order. One that does not fit is passed over, up to `window` of them in a pack, and those
                behind that fit are taken forward; then the pack is closed. Packs come in the order of their first
                sequences, and a seed shuffles whole packs. For curricula and comparisons.
                `optimal`: the fewest packs, with proof, by column generation (Gilmore and Gomory, 1961) on the
                histogram. It takes seconds at any number of sequences, and needs `packsort[optimal]`.

            Sequences longer than `max_length`

            - **overlong** (str, default `error`): `error` raises, `drop` leaves them out, `truncate` keeps
              `max_length` tokens, `split` cuts them into pieces of `max_length` and a rest, which are packed like
              sequences. `random` treats `error` like `split`; `hybrid` always splits those that are `splittable`.
            - **truncation_side** (str, default `right`): Side on which `truncate` removes tokens.

            Sequences without tokens

            - **empty** (str, default `error`): `error` raises, `drop` leaves them out.

            Which sequences may share a pack

            - **groups** (column, (n,)): Value of any type that can be compared; packs never mix groups. Without a
              seed, packs come group after group: by value for small non-negative integers, otherwise in the order in
              which groups first appear.
            - **alone** (booleans, (n,)): Sequences that get a pack of their own, whatever their group.
            - **window** (int, default 64): The most sequences that `in_order` takes another past, 0 for plain next-fit.
              `plan.max_displacement` and `plan.mean_displacement` tell how far sequences stand from their places.
            - **max_sequences** (int): Most sequences of a pack. None, the default, is any number. Where packs can reach
              it, `ffd`, `bfd` and `hybrid` put short sequences beside long ones if that takes fewer packs; `bfd` then
              gives the packs of `ffd`.

            Cuts

            - **splittable** (booleans, (n,)): Sequences that `hybrid` may cut, such as documents and single turns.
            - **piece_starts** (lists of integers, (n,)): Cut every sequence at these tokens beforehand. Each list
              starts with 0 and ascends. Pieces are packed like sequences. A sequence of length 0 has an empty list and
              is left out.

            Room

            - **pad_to_multiple_of** (int, default 1): Every sequence occupies a multiple of this many tokens, padding
              included: 8 or 16 for tensor cores, 2 x the context-parallel size. Sequences longer than the largest
              multiple within `max_length` are overlong.
            - **separator** (bool, default False): Whether to leave room for one token between two sequences. With
              `pad_to_multiple_of`, a sequence is rounded up together with its separator.
            - **num_packs_multiple_of** (int, default 1): The number of packs is a multiple of this, such as ranks x
              accumulation. Packs with the most sequences are split in two until it is; no sequence is dropped. With
              `in_order`, halves are runs of a pack, and go where their first sequences stand.

            Search for the fewest packs (`optimal` only)

            - **gap** (float): Stop when packs are at most this fraction above `lower_bound`, such as 0.0005. None, the
              default, searches for the fewest, but accepts one pack in a million more, so that plans of many millions
              of sequences take no longer. 0 searches for the fewest, however long it takes.
            - **max_iterations** (int): Stop after solving this many linear programs in a group. The same lengths,
              options and version give the same plan on any number of threads.
            - **max_seconds** (float): Stop after this time. The plan then depends on the speed of the machine.
            - **on_progress** (callable): Called with the packs, their lower bound and the gap whenever one changes.

    Returns:
        The plan.

    Raises:
        LengthError: A length is null, negative, zero with `empty="error"`, or over `max_length` with
            `overlong="error"`. Its `row` is the index of the sequence; of several that are too long, of the longest.
        LengthTypeError: The lengths are not integers, or not one column.
        OptionError: An option has a value that is not allowed, or two options contradict each other.
        TypeError: A keyword argument is unknown.

    Example:
        >>> import packsort
        >>> plan = packsort.plan([700, 300, 512, 512, 100], max_length=1024)
        >>> plan.num_packs, plan.lower_bound
        (3, 3)
        >>> [ids.tolist() for ids in plan]
        [[0, 1], [2, 3], [4]]
        >>> plan.pack_offsets.tolist(), plan.sequence_ids.tolist()
        ([0, 2, 4, 5], [0, 1, 2, 3, 4])
        >>> packsort.plan([700, 3000], max_length=1024)
        Traceback (most recent call last):
        packsort.errors.LengthError: 1 of 2 sequences (50 %) is longer than 1,024 tokens; it has 3,000 (sequence 1):
        pass overlong='drop', 'truncate' or 'split'

        Two packs hold three sequences of 600 tokens if one of them may be cut.

        >>> plan = packsort.plan([600, 600, 600], max_length=1000, strategy="hybrid", splittable=[True, False, False])
        >>> plan.num_packs, plan.num_split, plan.piece_lengths.tolist()
        (2, 1, [600, 400, 600, 200])

        First-fit decreasing puts 4 and 4 together and needs a third pack for the last 3. The fewest packs are two of
        4 + 3 + 3.

        >>> packsort.plan([4, 4, 3, 3, 3, 3], max_length=10).num_packs
        3
        >>> plan = packsort.plan([4, 4, 3, 3, 3, 3], max_length=10, strategy="optimal")
        >>> plan.num_packs, plan.lower_bound, plan.gap
        (2, 2, 0.0)
    """
    config = plan_config("plan", max_length, options, seed=seed, epoch=epoch)
    try:
        return plan_of_config(lengths, config)
    except OverlongError as error:
        raise error.worded(lambda row: f"sequence {row}") from None


def plan_of_config(lengths: Any, config: PlanConfig) -> Plan:
    """Plan lengths with checked options.

    Args:
        lengths: As `plan` takes them.
        config: The options, from `packsort._options.plan_config`.

    Raises:
        OverlongError: Sequences are too long; the caller puts it into words.
        LengthError, OptionError: As for `plan`.
    """
    if config.strategy == "optimal":
        from packsort.planning.optimal.groups import fewest_packs
        from packsort.planning.optimal.program import solver

        solver()  # refuses before any work is done where highspy is missing
    checked = as_lengths(lengths)
    options = core_options(config)
    groups = splittable = starts = None
    if any(column is not None for column in (config.groups, config.alone, config.splittable, config.piece_starts)):
        from packsort.planning.constraints import as_constraints  # most plans have none

        groups, splittable, starts = as_constraints(config, len(checked))
    if starts is not None:
        options["overlong"] = "drop"  # no piece is too long, and a sequence of length 0 has none
    try:
        planned = _core.Plan.make(checked, options, groups, splittable, starts, config.seed, config.epoch)
    except LengthError as error:
        raise find_overlong(checked, config, error) from None
    if config.strategy == "optimal":
        planned = fewest_packs(
            planned,
            max_sequences=config.max_sequences,
            gap=config.gap,
            max_iterations=config.max_iterations,
            max_seconds=config.max_seconds,
            on_progress=config.on_progress,
        )
    return Plan(planned)
