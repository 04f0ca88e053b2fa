"""Pad or pack, and how: padding, random packing and greedy packing of the same sequences, side by side."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from packsort import _checks
from packsort.balance.schedule import MOST_PACKS_A_STEP
from packsort.comparison.advice import LEARNING_RATE, advise, choose_limit, match_batch
from packsort.comparison.histograms import length_histogram
from packsort.comparison.methods import method_of
from packsort.comparison.models import Model, model_of
from packsort.comparison.results import AtLength, Comparison, Method
from packsort.comparison.rows import greedy_rows, padded_rows, random_rows
from packsort.comparison.turns import multi_turn_flags, source_turns
from packsort.errors import LengthError, OptionError
from packsort.gathering.planned import plan_lengths
from packsort.options import Overlong, PlanConfig
from packsort.planning.build import plan
from packsort.planning.lengths import as_column
from packsort.planning.plan import Plan
from packsort.sources.lengths import source_lengths
from packsort.sources.source import Source, open_source

_OVERLONG = ("error", "drop", "truncate")


def compare(
    source: Any,
    max_length: int | Sequence[int],
    *,
    batch_size: int = 4,
    world_size: int = 8,
    turns: Any = None,
    model: Any = "8B",
    seed: int = 0,
    overlong: Overlong = "truncate",
) -> Comparison:
    """Compares padding, random packing and greedy packing, and says what to choose (Wang et al., arXiv 2410.08081).

    Padding and random packing take sequences in an order shuffled by `seed`. Random packing loses nothing: its last,
    partly filled row is kept, and what is longer than max_length goes on in the next row. Greedy packing is
    `packsort.plan` with that seed.

    Time is estimated as cost: a sequence of L tokens costs linear * L + quadratic * L**2, padding costs what tokens
    cost, a step lasts as long as its slowest rank. What is not in it: communication, and how well a device is used by
    small batches.

    Args:
        source: lengths, as `packsort.plan` takes them, or a source with a column `length` or `input_ids`.
        max_length: the most tokens a row may hold; one or several.
        batch_size: rows on one rank in a step.
        world_size: ranks: devices that train on rows of their own.
        turns: turns of each conversation, integers, or whether each is multi-turn, booleans, (n,). For a source: the
            name of such a column, of `messages`, or of `labels`, whose runs of tokens with loss are counted; None takes
            `messages` or `labels` where they are there.
        model: a size of Llama 3 (`1B`, `3B`, `8B`, `70B`, `405B`), a folder with a Hugging Face `config.json`, a
            mapping with its numbers, or a `packsort.balance.costs.CostModel`.
        seed: shuffles.
        overlong: what becomes of sequences longer than max_length in padding and greedy packing: `truncate`, `drop`
            (in all methods), `error`.

    Raises:
        LengthError: there are no lengths, all are dropped, or one is null, below 1, or too long with `error`.
        OptionError: an option has a value that is not allowed.
        SourceError: the source has no usable column, or none of the name given as `turns`.

    Example:
        >>> import packsort
        >>> found = packsort.compare([3, 5, 2, 2], 7, batch_size=1, world_size=1, turns=[1, 3, 1, 1])
        >>> found
        Comparison(4 sequences, 12 tokens; 7: 4 -> 2 rows)
        >>> found[7].padding_fixed.padding_tokens, found[7].ffd.padding_tokens
        (16, 2)
    """
    limits = _limits(max_length)
    batch_size = _positive("batch_size", batch_size)
    world_size = _positive("world_size", world_size)
    if overlong not in _OVERLONG:
        raise OptionError(f"overlong is {overlong!r}, allowed are {', '.join(map(repr, _OVERLONG))}")
    if isinstance(seed, bool) or not isinstance(seed, (int, np.integer)) or not 0 <= seed < 2**64:
        raise OptionError(f"seed is {seed!r}, allowed is 0 to 2**64 - 1")
    if batch_size * world_size > MOST_PACKS_A_STEP:
        raise OptionError(
            f"batch_size {batch_size} x world_size {world_size} is {batch_size * world_size} rows a step, allowed are "
            f"{MOST_PACKS_A_STEP}"
        )
    costs = model_of(model)
    opened = open_source(source) if _is_source(source) else None
    if opened is None:
        column, name = as_column(source), ""
        if isinstance(turns, str):
            raise OptionError(f"turns is the column {turns!r}, but lengths have no columns; allowed is one value each")
    else:
        found, name = source_lengths(opened)
        column = as_column(found) if not found.null_count else found
        if turns is None or isinstance(turns, str):
            turns, _ = source_turns(opened, turns)
    if not len(column):
        raise LengthError("there are no lengths, allowed is one and more")
    plans = [_planned(opened, column, name, limit, overlong, int(seed)) for limit in limits]
    lengths = column.to_numpy().astype(np.int64)
    multi_turn = None if turns is None else multi_turn_flags(turns, len(lengths))
    order = np.random.default_rng(int(seed)).permutation(len(lengths))
    shuffled = lengths[order]
    flags = None if multi_turn is None else multi_turn[order]
    at = tuple(_at_length(planned, shuffled, flags, batch_size, world_size, costs) for planned in plans)
    return Comparison(
        num_sequences=len(lengths),
        num_tokens=int(lengths.sum()),
        longest=int(lengths.max()),
        lengths=length_histogram(lengths),
        multi_turn=None if multi_turn is None else int(multi_turn.sum()),
        batch_size=batch_size,
        world_size=world_size,
        overlong=overlong,
        seed=int(seed),
        model=costs,
        at=at,
        summary=choose_limit(at, int(lengths.sum())),
        learning_rate=LEARNING_RATE,
    )


def _at_length(
    planned: Plan,
    lengths: NDArray[np.int64],
    multi_turn: NDArray[np.bool_] | None,
    batch_size: int,
    world_size: int,
    model: Model,
) -> AtLength:
    sequences, many = len(lengths), None if multi_turn is None else int(multi_turn.sum())
    if planned.num_dropped:
        kept = lengths <= planned.max_length
        lengths = lengths[kept]
        multi_turn = None if multi_turn is None else multi_turn[kept]
    if not len(lengths):
        raise LengthError(
            f"all {sequences} sequences are longer than max_length {planned.max_length} and overlong is 'drop': "
            "nothing is left to compare"
        )
    longest, fixed = padded_rows(lengths, planned, batch_size, multi_turn)
    rows = {
        "padding": longest,
        "padding_fixed": fixed,
        "random": random_rows(lengths, planned, multi_turn),
        "ffd": greedy_rows(planned, lengths, multi_turn),
    }
    base: float | None = None
    methods: dict[str, Method] = {}
    for name, one in rows.items():
        methods[name] = method_of(name, one, planned.max_length, batch_size, world_size, model, base)
        base = methods["padding"].with_masks.cost
    return AtLength(
        max_length=planned.max_length,
        **methods,
        advice=advise(methods, planned.max_length, sequences, many, model.parameters, batch_size, world_size),
        batch=match_batch(methods["ffd"].samples.mean, batch_size, world_size),
    )


def _planned(
    source: Source | None, column: pa.ChunkedArray, name: str, limit: int, overlong: Overlong, seed: int
) -> Plan:
    if source is None:
        return plan(column, limit, overlong=overlong, seed=seed)
    return plan_lengths(source, column, name, PlanConfig(max_length=limit, overlong=overlong, seed=seed))


def _is_source(source: Any) -> bool:
    """Whether there are rows to find lengths in, and not the lengths themselves."""
    if isinstance(source, (str, os.PathLike, Source)):
        return True
    if isinstance(source, (list, tuple)):
        return bool(source) and isinstance(source[0], (str, os.PathLike))
    names: Any = getattr(source, "column_names", getattr(source, "columns", None))
    if isinstance(source, pa.RecordBatchReader):
        names = source.schema.names
    return hasattr(names, "__contains__") and any(name in names for name in ("length", "input_ids"))


def _limits(max_length: int | Sequence[int]) -> list[int]:
    if isinstance(max_length, (str, bytes)) or not hasattr(max_length, "__iter__"):
        return [_checks.max_length(max_length)]
    limits = [_checks.max_length(one) for one in max_length]
    if not limits:
        raise OptionError("max_length is empty, allowed are one or several of 1 to 2147483647")
    twice = next((one for i, one in enumerate(limits) if one in limits[:i]), None)
    if twice is not None:
        raise OptionError(f"max_length {twice} is given twice, allowed is once")
    return limits


def _positive(name: str, value: Any) -> int:
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, (int, np.integer)) or value < 1:
        raise OptionError(f"{name} is {value!r}, allowed is an integer of 1 and more")
    return int(value)
