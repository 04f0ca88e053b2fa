"""`compare`: padding, random packing and greedy packing of the same sequences, side by side."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, get_args

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from packsort import _checks
from packsort._arrow import as_chunked, to_numpy
from packsort._options.choices import EmptySequences, OnError, OverlongInComparison
from packsort._options.input import InputConfig
from packsort._options.memory import FIXED_BYTES, check_least_memory, find_memory_limit, used_memory
from packsort._options.plan import PlanConfig
from packsort.balance.schedule import MOST_PACKS_A_STEP
from packsort.comparison.advice import LEARNING_RATE, advise, choose_limit, match_batch
from packsort.comparison.histograms import length_histogram
from packsort.comparison.methods import count_method
from packsort.comparison.models import ComparedModel, find_model
from packsort.comparison.packs import greedy_packs, padded_packs, random_packs
from packsort.comparison.results import AtLength, ComparisonFigures, Method
from packsort.comparison.tokenized import tokenized_lengths
from packsort.comparison.turns import multi_turn_flags, source_turns
from packsort.errors import LengthError, OptionError
from packsort.gathering.planned import plan_lengths
from packsort.planning.build import plan_of_config
from packsort.planning.lengths import as_lengths
from packsort.planning.overlong import OverlongError
from packsort.planning.plan import Plan
from packsort.schema import INPUT_IDS, LENGTH
from packsort.sources.files.skipped import count_skipped
from packsort.sources.objects import refuse_stream
from packsort.sources.source import Source, open_source
from packsort.sources.tokens.lengths import source_lengths
from packsort.sources.unreadable import open_readable, without_unreadable
from packsort.tokenization.choice import TokenizerChoice, as_choice

_COLUMNS = (LENGTH, INPUT_IDS, "messages", "conversations", "prompt", "text")  # of a source; lengths have other names
_MOST_PACKS_A_SEQUENCE = 2**16
_BYTES_A_SEQUENCE, _BYTES_OF_A_PLAN = 250, 16  # for each sequence, as measured
_WAYS = tuple(way for way in get_args(OverlongInComparison) if way != "error")


@dataclass(frozen=True, repr=False)
class Comparison(ComparisonFigures):
    """Comparison of padding, random packing and greedy packing. `packsort.compare` returns it.

    `comparison[max_length]` has the figures at one `max_length`.

    Attributes:
        num_sequences: Sequences compared, those that are dropped as too long included.
        num_tokens: Their tokens.
        longest: Tokens of the longest sequence.
        lengths: Histogram of the lengths.
        multi_turn: Number of multi-turn conversations; None where turns are not known.
        batch_size: Packs of one rank in a step.
        world_size: Number of ranks.
        overlong: Treatment of sequences longer than `max_length`.
        seed: Seed of the shuffle.
        model: Model whose costs estimate time.
        at: Figures at each `max_length`, in the order given.
        summary: Which `max_length` to choose, in words; empty where there is one.
        learning_rate: What is known about the learning rate, in words.
        num_empty: Sequences left out because they have no tokens.
        window: Window of packing in input order, or None where it was not compared.
        skipped: Files of the source that were not read, by reason.
    """

    def to_html(self) -> str:
        """Return a report with plots as one HTML page without references to anything outside itself.

        Raises:
            OptionError: matplotlib or jinja2 is not installed; `packsort[report]` installs both.
        """
        from packsort.comparison.page import render

        return render(self)


def compare(
    source: Any,
    max_length: int | Sequence[int],
    *,
    tokenizer: Any = None,
    batch_size: int = 4,
    world_size: int = 8,
    turns: Any = None,
    model: Any = "8B",
    seed: int = 0,
    window: int | None = None,
    overlong: OverlongInComparison = "truncate",
    split: str | None = None,
    columns: Mapping[str, str] | None = None,
    empty: EmptySequences = "error",
    on_error: OnError = "error",
    memory_limit: int | str | None = None,
    memory_map: bool = True,
) -> Comparison:
    """Compare padding, random packing and greedy packing, and recommend one (Wang et al., arXiv 2410.08081).

    Padding and random packing take the sequences in an order shuffled by `seed`. Random packing loses nothing: its
    last, partly filled pack is kept, and a sequence longer than `max_length` continues in the next pack. Greedy packing
    is `packsort.plan` with that seed.

    Time is estimated by `packsort.CostModel`: a sequence of L tokens costs linear * L + quadratic * L**2, padding costs
    as much as tokens, and a step lasts as long as its slowest rank. The estimate leaves out communication, and how well
    small batches use a device.

    Args:
        source: Lengths, as `packsort.plan` takes them; a source with a column `length` or `input_ids`; or, with a
            tokenizer, one with conversations or text.
        max_length: Most tokens of a pack: one limit, or several to compare.
        tokenizer: A `transformers` tokenizer, its folder or its Hub name, for rows that hold no tokens.
        batch_size: Packs of one rank in a step; for padding, sequences.
        world_size: Ranks that train on different packs.
        turns: Turns of each conversation as integers, or whether each is multi-turn as booleans, (n,). For a source,
            the name of such a column, of `messages`, or of `labels`, whose runs of tokens with loss are counted. None
            takes `messages` or `labels` where they exist.
        model: Model whose costs estimate time: a size of Llama 3 (`1B`, `3B`, `8B`, `70B`, `405B`), a
            `packsort.CostModel`, or whatever `CostModel.from_config` takes.
        seed: Seed of the shuffle, 0 to 2**64 - 1.
        window: Window of `strategy="in_order"`, 0 for plain next-fit: whole sequences in input order are then compared
            as well. None leaves them out.
        overlong: Treatment of sequences longer than `max_length` in padding and greedy packing: `truncate`, `drop` (in
            all methods) or `error`.
        split: Split to read, where the source has several.
        columns: Column of the source for each column that packsort looks for, such as `{"input_ids": "tokens"}`.
        empty: Treatment of sequences without tokens: `error`, or `drop` to leave them out of all methods.
        on_error: `skip` leaves out files that are damaged or may not be read, which otherwise end the call. Damage of
            values that are not read, such as tokens where lengths are known, is not noticed.
        memory_limit: Bytes of memory that the call may take, such as "4GB"; None is half of what the machine and its
            limits (cgroup, ulimit) allow. Only numbers for each sequence are held.
        memory_map: Whether to map Arrow files into memory. A mapped file that another program shortens ends the process
            (SIGBUS); with False, files are read.

    Returns:
        The comparison.

    Raises:
        LengthError: There are no lengths, all are dropped, or one is null, negative, 0 with `empty="error"`,
            or too long with `overlong="error"`.
        OptionError: An option has a value that is not allowed, or `memory_limit` is too small.
        SourceError: The source has no usable column, or none with the name given as `turns`.

    Example:
        >>> import packsort
        >>> found = packsort.compare([3, 5, 2, 2], 7, batch_size=1, world_size=1, turns=[1, 3, 1, 1])
        >>> found
        Comparison(4 sequences, 12 tokens; 7: 4 -> 2 packs)
        >>> found[7].padding_fixed.padding_tokens, found[7].ffd.padding_tokens
        (16, 2)
    """
    limits = _limits(max_length)
    batch_size = _checks.integer("batch_size", batch_size, 1)
    world_size = _checks.integer("world_size", world_size, 1)
    _checks.one_of("overlong", overlong, get_args(OverlongInComparison))
    seed = _checks.seed("seed", seed)
    if window is not None:
        window = _checks.integer("window", window, 0, 2**32 - 1, ", or None")
    if batch_size * world_size > MOST_PACKS_A_STEP:
        raise OptionError(
            f"batch_size x world_size must be at most {MOST_PACKS_A_STEP} packs per step, got {batch_size} x "
            f"{world_size}"
        )
    compared = find_model(model)
    given = InputConfig(split=split, columns=columns, empty=empty, on_error=on_error, memory_map=memory_map)
    choice = as_choice(tokenizer)
    limit = find_memory_limit(memory_limit)
    opened = None
    if choice is not None or _is_source(source):
        # A plan in input order lists its sequences, and is as large as four others.
        num_plans = len(limits) * (1 if window is None else 5)
        opened, column, name, turns = _lengths_and_turns(source, choice, given, turns, limit, num_plans)
    else:
        column, name = as_chunked(as_lengths(source)), ""
        if isinstance(turns, str):
            raise OptionError(
                f"turns={turns!r} names a column, and lengths have none: pass a value for each sequence instead"
            )
    if not len(column):
        raise LengthError("lengths must not be empty, got 0 sequences")
    plans = [
        _plan(opened, column, name, PlanConfig(max_length=limit, overlong=overlong, seed=seed, empty=empty))
        for limit in limits
    ]
    ordered: list[Plan | None] = [
        None
        if window is None
        else _plan(
            opened,
            column,
            name,
            PlanConfig(max_length=limit, overlong=overlong, empty=empty, strategy="in_order", window=window),
        )
        for limit in limits
    ]
    _refuse_endless(to_numpy(column), limits, overlong, opened)
    lengths = to_numpy(column).astype(np.int64)
    multi_turn = None if turns is None else multi_turn_flags(turns, len(lengths))
    filled = lengths > 0  # others are dropped, or `plan` has refused them
    if not filled.any():
        raise LengthError(f"all {len(lengths):,} sequences are empty, and empty='drop' leaves nothing to compare")
    lengths = lengths[filled]
    multi_turn = None if multi_turn is None else multi_turn[filled]
    order = np.random.default_rng(seed).permutation(len(lengths))
    shuffled = lengths[order]
    flags = None if multi_turn is None else multi_turn[order]
    at = tuple(
        _at_length(planned, in_order, shuffled, flags, batch_size, world_size, compared)
        for planned, in_order in zip(plans, ordered, strict=True)
    )
    return Comparison(
        num_sequences=len(lengths),
        num_tokens=int(lengths.sum()),
        longest=int(lengths.max()),
        lengths=length_histogram(lengths),
        multi_turn=None if multi_turn is None else int(multi_turn.sum()),
        batch_size=batch_size,
        world_size=world_size,
        overlong=overlong,
        seed=seed,
        model=compared,
        at=at,
        summary=choose_limit(at, int(lengths.sum())),
        learning_rate=LEARNING_RATE,
        num_empty=int(len(filled) - filled.sum()),
        window=window,
        skipped=() if opened is None else count_skipped(opened.skipped),
    )


def _lengths_and_turns(
    source: Any, choice: TokenizerChoice | None, config: InputConfig, turns: Any, memory_limit: int, plans: int
) -> tuple[Source, pa.ChunkedArray, str, Any]:
    """Return a source without files that are to be skipped, its lengths, the name of their column, and the turns."""

    def read(rows: Source) -> tuple[Source, pa.ChunkedArray, str, Any]:
        if choice is None:
            found, name = source_lengths(rows, "; to make it of conversations or text, pass `tokenizer`")
            column = as_chunked(as_lengths(found)) if not found.null_count else found
        else:
            column, name = as_chunked(tokenized_lengths(rows, choice, config, memory_limit=memory_limit)), INPUT_IDS
        of_rows = source_turns(rows, turns)[0] if turns is None or isinstance(turns, str) else turns
        return rows, column, name, of_rows

    opened = open_source(source, config) if choice is None else open_readable(source, config)
    check_least_memory(
        memory_limit,
        used_memory() + FIXED_BYTES + opened.num_rows * (_BYTES_A_SEQUENCE + plans * _BYTES_OF_A_PLAN),
        f"{opened.num_rows:,} rows",
    )
    return without_unreadable(opened, config, read)


def _at_length(
    planned: Plan,
    in_order: Plan | None,
    lengths: NDArray[np.int64],
    multi_turn: NDArray[np.bool_] | None,
    batch_size: int,
    world_size: int,
    model: ComparedModel,
) -> AtLength:
    sequences, many = len(lengths), None if multi_turn is None else int(multi_turn.sum())
    if planned.num_dropped:
        kept = lengths <= planned.max_length
        lengths = lengths[kept]
        multi_turn = None if multi_turn is None else multi_turn[kept]
    if not len(lengths):
        raise LengthError(
            f"all {sequences} sequences are longer than max_length {planned.max_length}, and overlong='drop' leaves "
            "nothing to compare: pass a longer max_length, or overlong='truncate'"
        )
    longest, fixed = padded_packs(lengths, planned, batch_size, multi_turn)
    packs = {
        "padding": longest,
        "padding_fixed": fixed,
        "random": random_packs(lengths, planned, multi_turn),
        "ffd": greedy_packs(planned, lengths, multi_turn),
    }
    if in_order is not None:
        packs["in_order"] = greedy_packs(in_order, lengths, multi_turn)
    base: float | None = None
    methods: dict[str, Method] = {}
    for name, one in packs.items():
        methods[name] = count_method(name, one, planned.max_length, batch_size, world_size, model, base)
        base = methods["padding"].with_masks.cost
    return AtLength(
        max_length=planned.max_length,
        **methods,
        advice=advise(methods, planned.max_length, sequences, many, model.parameters, batch_size, world_size),
        batch=match_batch(methods["ffd"].samples.mean, batch_size, world_size),
    )


def _plan(source: Source | None, column: pa.ChunkedArray, name: str, config: PlanConfig) -> Plan:
    if source is not None:
        return plan_lengths(source, column, name, config, ways=_WAYS)
    try:
        return plan_of_config(column, config)
    except OverlongError as error:
        raise error.worded(lambda row: f"sequence {row}", ways=_WAYS) from None


def _refuse_endless(
    lengths: NDArray[Any], limits: Sequence[int], overlong: OverlongInComparison, source: Source | None
) -> None:
    """Refuse lengths that no tokens have: random packing would cut them into more packs than memory holds."""
    most = min(limits) * _MOST_PACKS_A_SEQUENCE if overlong == "truncate" else 2**40
    row = int(np.argmax(lengths))
    if lengths[row] > most:
        where = f"sequence {row}" if source is None else source.where(row)
        raise LengthError(
            f"{where} has length {lengths[row]:,}, more than {most:,}: correct it, or pass a longer max_length",
            row,
            int(lengths[row]),
        )


def _is_source(source: Any) -> bool:
    """Tell a source with rows from lengths."""
    refuse_stream(source)
    if isinstance(source, (str, os.PathLike, Source, Mapping)):
        return True
    if isinstance(source, (list, tuple)):
        return bool(source) and isinstance(source[0], (str, os.PathLike))
    names: Any = getattr(source, "column_names", getattr(source, "columns", None))
    if isinstance(source, pa.RecordBatchReader):
        names = source.schema.names
    return hasattr(names, "__contains__") and any(name in names for name in _COLUMNS)


def _limits(max_length: int | Sequence[int]) -> list[int]:
    if isinstance(max_length, (str, bytes)) or not hasattr(max_length, "__iter__"):
        return [_checks.max_length(max_length)]
    limits = [_checks.max_length(one) for one in max_length]
    if not limits:
        raise OptionError("max_length must be one limit or several, got an empty list")
    twice = next((one for i, one in enumerate(limits) if one in limits[:i]), None)
    if twice is not None:
        raise OptionError(f"max_length must not repeat a limit, got {twice} twice")
    return limits
