"""What a comparison found: figures, as plain data."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from packsort.comparison.advice import Advice, MatchedBatch
from packsort.comparison.histograms import Histogram
from packsort.comparison.models import Model


@dataclass(frozen=True)
class Spread:
    """Mean, standard deviation, least and most of some numbers."""

    mean: float
    deviation: float
    least: int
    most: int


@dataclass(frozen=True)
class Steps:
    """What the steps of one epoch cost, each as long as its slowest rank.

    Attributes:
        cost: sum over steps of the slowest rank's cost, in the unit of the cost model.
        relative_time: `cost` as a share of that of padding to the longest of the batch, with document masks.
        utilization: cost of all rows / (ranks x `cost`): the share of time in which ranks do not wait for each other.
        mean_costs: mean over ranks of the cost of each of the first 60 full steps.
        slowest_costs: cost of the slowest rank in each of them.
    """

    cost: float
    relative_time: float
    utilization: float
    mean_costs: tuple[float, ...]
    slowest_costs: tuple[float, ...]


@dataclass(frozen=True)
class Work(Steps):
    """What training on a method's rows once costs, in the order in which a seed shuffles them.

    Attributes:
        attention: pairs of tokens that attention looks at, a sequence of L tokens L**2; with a causal mask it is half.
        scheduled: its steps in the order of `packsort.schedule`, `batch_size` packs a rank accumulated; of packs with
            document masks, None of others.
    """

    attention: int
    scheduled: Steps | None


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
        from packsort.comparison.page import render

        return render(self)
