"""Figures of a comparison, as plain data."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from packsort.comparison.histograms import Histogram
from packsort.comparison.models import ComparedModel
from packsort.sources.files.skipped import Skipped


@dataclass(frozen=True)
class Spread:
    """Mean, standard deviation, least and most of some numbers."""

    mean: float
    deviation: float
    least: int
    most: int


@dataclass(frozen=True)
class StepCosts:
    """Cost of the steps of one epoch. A step lasts as long as its slowest rank.

    Attributes:
        cost: Sum over steps of the slowest rank's cost, in the unit of the cost model.
        relative_time: `cost` relative to that of padding to the longest of each batch, with document masks.
        utilization: Cost of all packs / (ranks x `cost`): the share of time in which ranks work rather than wait.
        mean_costs: Mean cost over ranks of each of the first 60 full steps.
        slowest_costs: Cost of the slowest rank in each of them.
    """

    cost: float
    relative_time: float
    utilization: float
    mean_costs: tuple[float, ...]
    slowest_costs: tuple[float, ...]


@dataclass(frozen=True)
class Work(StepCosts):
    """Cost of training on all packs of a method once, in shuffled order.

    Attributes:
        attention: Pairs of tokens that attention computes: L**2 for a sequence of L tokens. A causal mask leaves half.
        scheduled: Cost of the steps in the order of `packsort.schedule`, with `batch_size` packs accumulated on each
            rank. Known for packs with document masks, None otherwise.
    """

    attention: int
    scheduled: StepCosts | None


@dataclass(frozen=True)
class Method:
    """Figures of one method.

    Attributes:
        name: Name of the method; `packsort.compare` describes each.
        rows: Packs.
        steps: Steps of one batch on each of `world_size` ranks in an epoch; the last one may not be full. A batch has
            `batch_size` packs, or, for `padding_best`, as many as `batch_size * max_length` tokens have room for.
        tokens: Tokens trained on.
        padding_tokens: Padding up to the longest of the batch, or up to `max_length`.
        efficiency: tokens / (tokens + padding_tokens).
        lower_bound: Packs that the method cannot go below. `random` may cut sequences, so its bound is
            ceil(tokens / max_length).
        above_lower_bound: rows / lower_bound - 1.
        split: Sequences in more than one pack, or cut between turns.
        truncated: Sequences cut to their first `max_length` tokens.
        dropped: Sequences left out.
        tokens_lost: Tokens truncated, dropped, or in turns left out as too long.
        broken: Multi-turn conversations split or truncated; None where turns are not known.
        samples: Sequences, or pieces of sequences, in a pack.
        with_masks: Work where a token attends to its own sequence and packs are not padded, as in packsort's loaders.
        without_masks: Work where a token attends to the whole pack, padding included, as in the paper.
        fill: Packs by the share of `max_length` that is tokens.
        samples_counts: Packs by their number of samples.
        max_displacement: For `in_order`, the most places between where a sequence stands in the packs and in the input;
            None for other methods.
        mean_displacement: The mean of these places.
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
    max_displacement: int | None = None
    mean_displacement: float | None = None


@dataclass(frozen=True)
class Advice:
    """Recommendation for one `max_length`.

    Attributes:
        choice: `padding`, `random` or `ffd`.
        is_tentative: Whether the choice is a guess from the paper's findings rather than a count.
        reasons: Reasons and warnings, one or two sentences each.
    """

    choice: str
    is_tentative: bool
    reasons: tuple[str, ...]


@dataclass(frozen=True)
class MatchedBatch:
    """Batch of packs with as many samples as a padded batch.

    Attributes:
        samples_per_step: Samples of a padded step: batch_size x world_size.
        packs_per_step: Packs, over all ranks, that hold as many samples on average.
        batch_size: Nearest number of packs per rank, at least 1.
        samples_at_batch_size: Samples of a step with `batch_size` packs per rank.
        note: The same in words.
    """

    samples_per_step: int
    packs_per_step: float
    batch_size: int
    samples_at_batch_size: float
    note: str


@dataclass(frozen=True)
class AtLength:
    """Figures of all methods at one `max_length`, the recommendation, and the batch that goes with it.

    `at[name]` has the figures of one method.

    Attributes:
        max_length: The limit.
        methods: Figures of the methods by name, in the order of the table. `padding`, `ffd` and the recommended method
            are always among them.
        advice: The recommendation.
        batch: Batch of greedy packs with as many samples as a padded batch.
    """

    max_length: int
    methods: dict[str, Method]
    advice: Advice
    batch: MatchedBatch

    def __getitem__(self, name: str) -> Method:
        """Return the figures of one method.

        Raises:
            KeyError: This method was not compared.
        """
        if name not in self.methods:
            raise KeyError(f"method {name!r} was not compared; there are {', '.join(map(repr, self.methods))}")
        return self.methods[name]

    @property
    def padding(self) -> Method:
        """Padding to the longest of each batch, as trainers pad by default."""
        return self.methods["padding"]

    @property
    def ffd(self) -> Method:
        """Greedy packing of whole sequences."""
        return self.methods["ffd"]


@dataclass(frozen=True, repr=False)
class ComparisonFigures:
    """Figures of a comparison; see `packsort.Comparison`."""

    num_sequences: int
    num_tokens: int
    longest: int
    lengths: Histogram
    multi_turn: int | None
    batch_size: int
    world_size: int
    overlong: str
    seed: int
    model: ComparedModel
    at: tuple[AtLength, ...]
    summary: tuple[str, ...]
    learning_rate: tuple[str, ...]
    best_length: int
    epochs: int = 1
    num_empty: int = 0
    window: int | None = None
    rows_by_split: dict[str, int] = field(default_factory=dict)
    skipped: tuple[Skipped, ...] = ()

    def __getitem__(self, max_length: int) -> AtLength:
        """Return the figures at one `max_length`.

        Raises:
            KeyError: This `max_length` was not compared.
        """
        for entry in self.at:
            if entry.max_length == max_length:
                return entry
        known = ", ".join(str(entry.max_length) for entry in self.at)
        raise KeyError(f"max_length {max_length} was not compared; there are {known}")

    def __repr__(self) -> str:
        found = ", ".join(f"{one.max_length}: {one.padding.rows} -> {one.ffd.rows} packs" for one in self.at)
        return f"Comparison({self.num_sequences:,} sequences, {self.num_tokens:,} tokens; {found})"

    def to_dict(self) -> dict[str, Any]:
        """Return all figures as dicts, tuples, numbers and strings, ready for JSON."""
        return asdict(self)
