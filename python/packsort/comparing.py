"""Pad or pack, and how: padding, random packing and greedy packing of the same sequences, side by side."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from packsort._advice import LEARNING_RATE, Advice, MatchedBatch, advise, choose_limit, match_batch
from packsort._histograms import Histogram, count_histogram, length_histogram
from packsort._lengths import as_column
from packsort._models import Model, model_of
from packsort._rows import Rows, greedy_rows, padded_rows, random_rows, step_costs
from packsort._turns import multi_turn_flags, source_turns
from packsort.errors import LengthError, OptionError
from packsort.gathering import plan_lengths, source_lengths
from packsort.planning import Plan, check_max_length, plan
from packsort.sources import Source, open_source

__all__ = ["AtLength", "Comparison", "Histogram", "Method", "Spread", "Work", "compare"]

_OVERLONG = ("error", "drop", "truncate")
_STEPS_SHOWN = 60
_FILL_BINS = 20


@dataclass(frozen=True)
class Spread:
    """Mean, standard deviation, least and most of some numbers."""

    mean: float
    deviation: float
    least: int
    most: int


@dataclass(frozen=True)
class Work:
    """What training on a method's rows once costs.

    Attributes:
        attention: pairs of tokens that attention looks at, a sequence of L tokens L**2; with a causal mask it is half.
        cost: sum over steps of the slowest rank's cost, in the unit of the cost model.
        relative_time: `cost` as a share of that of padding to the longest of the batch, with document masks.
        utilization: mean cost over ranks / cost of the slowest rank, over all steps: the share of time in which ranks
            do not wait for each other.
        mean_costs: mean over ranks of the cost of each of the first 60 full steps.
        slowest_costs: cost of the slowest rank in each of them.
    """

    attention: int
    cost: float
    relative_time: float
    utilization: float
    mean_costs: tuple[float, ...]
    slowest_costs: tuple[float, ...]


@dataclass(frozen=True)
class Method:
    """One way to make training rows, in figures.

    Attributes:
        name: `padding` (one sequence a row, padded to the longest of each rank's batch), `padding_fixed` (the same,
            padded to max_length), `random` (shuffled, concatenated, cut at max_length) or `ffd` (greedy packing).
        rows: training rows.
        steps: steps of `batch_size` rows on each of `world_size` ranks; the last may not be full.
        tokens: tokens trained on.
        padding_tokens: tokens that fill rows up: to the longest of the batch, or to max_length.
        efficiency: tokens / (tokens + padding_tokens).
        lower_bound: rows needed at least; of `random`, which may cut sequences, ceil(tokens / max_length).
        above_lower_bound: rows / lower_bound - 1.
        split: sequences that lie in more than one row.
        truncated: sequences of which only the first max_length tokens are in.
        dropped: sequences left out.
        tokens_lost: tokens left out by truncating or dropping.
        broken: multi-turn conversations split or truncated; None where turns are not known.
        samples: sequences, or parts of such, in a row.
        with_masks: its work where sequences of a row do not see each other and packs are not padded, as packsort's
            loader has it.
        without_masks: its work where a row is one sequence to attention and is padded, as the paper has it.
        fill: rows by their share of max_length that is tokens.
        samples_counts: rows by the number of samples in them.
    """

    name: str
    rows: int
    steps: int
    tokens: int
    padding_tokens: int
    efficiency: float
    lower_bound: int
    above_lower_bound: float
    split: int
    truncated: int
    dropped: int
    tokens_lost: int
    broken: int | None
    samples: Spread
    with_masks: Work
    without_masks: Work
    fill: Histogram
    samples_counts: Histogram


@dataclass(frozen=True)
class AtLength:
    """The methods at one max_length, what to choose, and the batch that goes with it."""

    max_length: int
    padding: Method
    padding_fixed: Method
    random: Method
    ffd: Method
    advice: Advice
    batch: MatchedBatch

    @property
    def methods(self) -> tuple[Method, Method, Method, Method]:
        """All methods, padding first."""
        return self.padding, self.padding_fixed, self.random, self.ffd


@dataclass(frozen=True, repr=False)
class Comparison:
    """What `packsort.compare` found; plain data.

    Attributes:
        num_sequences: sequences compared, those that are dropped included.
        num_tokens: their tokens.
        longest: tokens of the longest.
        lengths: sequences by tokens.
        multi_turn: conversations of more than one turn; None where turns are not known.
        batch_size: rows on one rank in a step.
        world_size: ranks.
        overlong: what becomes of sequences longer than max_length.
        seed: of the shuffle.
        model: whose costs were taken.
        at: one entry for each max_length, in the order given.
        summary: which max_length to take, in words; empty where there is one.
        learning_rate: what goes with the batches, in words, as far as it is known.
    """

    num_sequences: int
    num_tokens: int
    longest: int
    lengths: Histogram
    multi_turn: int | None
    batch_size: int
    world_size: int
    overlong: str
    seed: int
    model: Model
    at: tuple[AtLength, ...]
    summary: tuple[str, ...]
    learning_rate: tuple[str, ...]

    def __getitem__(self, max_length: int) -> AtLength:
        """The entry of one max_length."""
        for entry in self.at:
            if entry.max_length == max_length:
                return entry
        known = ", ".join(str(entry.max_length) for entry in self.at)
        raise KeyError(f"max_length {max_length} was not compared; there are {known}")

    def __repr__(self) -> str:
        found = ", ".join(f"{one.max_length}: {one.padding.rows} -> {one.ffd.rows} rows" for one in self.at)
        return f"Comparison({self.num_sequences:,} sequences, {self.num_tokens:,} tokens; {found})"

    def to_dict(self) -> dict[str, Any]:
        """All figures as dicts, lists, numbers and strings, ready for JSON."""
        return asdict(self)

    def to_html(self) -> str:
        """A report with plots: one page that refers to nothing outside itself. Needs `packsort[report]`.

        Raises:
            OptionError: matplotlib or jinja2 is not installed.
        """
        from packsort._report import render

        return render(self)


def compare(
    source: Any,
    max_length: int | Sequence[int],
    *,
    batch_size: int = 4,
    world_size: int = 8,
    turns: Any = None,
    model: Any = "8B",
    seed: int = 0,
    overlong: str = "truncate",
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
            mapping with its numbers, or a `packsort.costs.CostModel`.
        seed: shuffles.
        overlong: what becomes of sequences longer than max_length in padding and greedy packing: `truncate`, `drop`
            (in all methods), `error`.

    Raises:
        LengthError: there are no lengths, all are dropped, or one is null, below 1, or too long with `error`.
        OptionError: an option has a value that is not allowed.
        SourceError: the source has no usable column, or none of the name given as `turns`.

    Example:
        >>> import packsort
        >>> from packsort.comparing import compare
        >>> found = compare([3, 5, 2, 2], 7, batch_size=1, world_size=1, turns=[1, 3, 1, 1])
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
    base, methods = 0.0, dict[str, Method]()
    for name, one in rows.items():
        methods[name] = _method(name, one, planned.max_length, batch_size, world_size, model, base)
        base = base or methods[name].with_masks.cost
    step = batch_size * world_size
    return AtLength(
        max_length=planned.max_length,
        **methods,
        advice=advise(methods, planned.max_length, sequences, many, model.parameters, step),
        batch=match_batch(methods["ffd"].samples.mean, batch_size, world_size),
    )


def _method(name: str, rows: Rows, limit: int, batch_size: int, world_size: int, model: Model, base: float) -> Method:
    def work(width: NDArray[np.int64], pairs: Any) -> Work:
        costs = model.linear * width + model.quadratic * pairs
        mean, slowest = step_costs(costs, batch_size, world_size)
        # The last step, which is hardly ever full, says nothing about the others.
        shown = min(_STEPS_SHOWN, max(1, len(costs) // (batch_size * world_size)))
        cost = float(slowest.sum())
        return Work(
            attention=int(pairs.sum()),
            cost=cost,
            relative_time=cost / (base or cost) if cost else 1.0,
            utilization=float(mean.sum()) / cost if cost else 1.0,
            mean_costs=tuple(mean[:shown].tolist()),
            slowest_costs=tuple(slowest[:shown].tolist()),
        )

    with_masks = work(rows.width, rows.squares)
    base = base or with_masks.cost
    count, tokens, room = len(rows.tokens), int(rows.tokens.sum()), int(rows.room.sum())
    filled = np.minimum(rows.tokens * _FILL_BINS // limit, _FILL_BINS - 1)
    fill = np.bincount(filled, minlength=_FILL_BINS)
    square_width = rows.full_width.astype(np.float64 if limit > 2**24 else np.int64)
    return Method(
        name=name,
        rows=count,
        steps=-(-count // (batch_size * world_size)),
        tokens=tokens,
        padding_tokens=room - tokens,
        efficiency=tokens / room,
        lower_bound=rows.lower_bound,
        above_lower_bound=count / rows.lower_bound - 1,
        split=rows.split,
        truncated=rows.truncated,
        dropped=rows.dropped,
        tokens_lost=rows.tokens_lost,
        broken=rows.broken,
        samples=Spread(
            float(rows.pieces.mean()), float(rows.pieces.std()), int(rows.pieces.min()), int(rows.pieces.max())
        ),
        with_masks=with_masks,
        without_masks=work(rows.full_width, square_width * square_width),
        fill=Histogram(tuple(i / _FILL_BINS for i in range(_FILL_BINS + 1)), tuple(fill.tolist())),
        samples_counts=count_histogram(rows.pieces),
    )


def _planned(source: Source | None, column: pa.ChunkedArray, name: str, limit: int, overlong: str, seed: int) -> Plan:
    if source is None:
        return plan(column, limit, overlong=overlong, seed=seed)
    return plan_lengths(source, column, name, limit, overlong=overlong, seed=seed)


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
        return [check_max_length(max_length)]  # type: ignore[arg-type]
    limits = [check_max_length(one) for one in max_length]
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
