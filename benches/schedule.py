"""Measure how well `packsort.schedule` balances ranks by window, and time it.

Lengths are lognormal mixtures: chats with a median of 500 tokens (sigma 1), and a share of documents. Sequences longer
than max_length are truncated. Costs are the operations of Llama 3 8B and Llama 3.2 1B: the smaller a model, the more
of its work is attention. Utilization is the mean over steps of mean / max cost over ranks.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass

import numpy as np
from bench import Figure, Way, arguments, measure, show, write_json
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

import packsort
from packsort.balance.costs import LLAMA_3_8B, CostModel
from packsort.balance.schedule import pack_costs

LLAMA_1B = CostModel.from_model(2048, 16, 32, intermediate_size=8192, num_key_value_heads=8, vocab_size=128256)
MODELS = {"8B": LLAMA_3_8B, "1B": LLAMA_1B}
WINDOWS = (4, 16, 32, 64, 256)
DEFAULT = 64
CHAT = 500
REQUIRED = 0.98
MOST_MILLISECONDS = 500  # for 1e6 sequences


@dataclass(frozen=True)
class Mix:
    """Mixture of chats and a `share` of documents with `median` tokens."""

    name: str
    max_length: int
    share: float
    median: int
    sigma: float

    def plan(self, sequences: int) -> packsort.Plan:
        """Pack this many sequences of the mixture."""
        rng = np.random.default_rng(0)
        chats, documents = rng.lognormal(0, 1, sequences), rng.lognormal(0, self.sigma, sequences)
        is_document = rng.random(sequences) < self.share
        lengths = np.where(is_document, self.median * documents, CHAT * chats).clip(16, 2**30)
        return packsort.plan(lengths.astype(np.int32), self.max_length, overlong="truncate", seed=0)


MIXES = (
    Mix("32K/2% of 16K", 32_768, 0.02, 16_000, 0.8),
    Mix("32K/5% of 12K", 32_768, 0.05, 12_000, 1.0),
    Mix("32K/10% of 8K", 32_768, 0.10, 8_000, 1.0),
    Mix("128K/0.5% of 60K", 131_072, 0.005, 60_000, 1.0),
    Mix("128K/1% of 48K", 131_072, 0.01, 48_000, 1.0),
    Mix("128K/5% of 32K", 131_072, 0.05, 32_000, 1.0),
)
RANKS = ((8, 1), (64, 1), (8, 4))
TIMED = (
    ("schedule/1e6/2K/chats", 10**6, Mix("2K", 2_048, 0.0, 1, 1.0), 7),
    ("schedule/1e6/8K/1% of 8K", 10**6, Mix("8K", 8_192, 0.01, 8_000, 1.0), 7),
    ("schedule/1e6/32K/2% of 16K", 10**6, MIXES[0], 7),
    ("schedule/1e6/128K/1% of 48K", 10**6, MIXES[4], 7),
    ("schedule/1e7/8K/1% of 8K", 10**7, Mix("8K", 8_192, 0.01, 8_000, 1.0), 3),
)


@dataclass(frozen=True)
class Balance:
    """Result for one mix of lengths, model and number of ranks."""

    case: str
    model: str
    ranks: int
    accumulation: int
    packs: int
    before: float
    after: dict[int, float]  # by window
    speedup: float  # with the default window

    @property
    def met(self) -> bool:
        """Whether the requirement holds."""
        return self.after[DEFAULT] > REQUIRED


def check(made: packsort.Schedule) -> packsort.Schedule:
    """Assert that each pack comes once, except in the tail, and that utilization is what NumPy computes."""
    packs = np.bincount(made.order.ravel(), minlength=len(made.costs))
    packs[made.repeated] -= 1
    assert (packs == 1).all()
    loads: NDArray[np.float64] = made.costs[made.order].sum(2)
    assert np.isclose((loads.mean(1) / loads.max(1)).mean(), made.utilization)
    assert made.utilization_before <= made.utilization <= 1
    return made


def balance(mix: Mix) -> list[Balance]:
    plan = mix.plan(10**6)
    found = []
    for model, cost in MODELS.items():
        for ranks, each in RANKS:
            made = {w: check(packsort.schedule(plan, ranks, cost=cost, accumulation=each, window=w)) for w in WINDOWS}
            after = {window: schedule.utilization for window, schedule in made.items()}
            before, speedup = made[DEFAULT].utilization_before, made[DEFAULT].speedup
            found.append(Balance(mix.name, model, ranks, each, plan.num_packs, before, after, speedup))
    return found


def timed(case: str, sequences: int, mix: Mix, rounds: int) -> list[Figure]:
    plan = mix.plan(sequences)
    check(packsort.schedule(plan, 8))
    note = f"{plan.num_packs:,} packs"
    ways = [
        Way("packsort", lambda: packsort.schedule(plan, 8), note=note),
        Way("costs of packs alone", lambda: pack_costs(plan, LLAMA_3_8B)),
    ]
    return measure(case, sequences, ways, rounds)


def show_balance(found: list[Balance]) -> None:
    table = Table("case", "model", title="utilization in %, 1e6 sequences, by window in steps")
    names = ("ranks", "packs", "before", *map(str, WINDOWS), f"x faster at {DEFAULT}", f"required at {DEFAULT}")
    for name in names:
        table.add_column(name, justify="right")
    for b in found:
        ranks = f"{b.ranks} x {b.accumulation}" if b.accumulation > 1 else str(b.ranks)
        after = [f"{100 * b.after[window]:.2f}" for window in WINDOWS]
        needed = f"> {100 * REQUIRED:.0f} {'yes' if b.met else 'NO'}"
        table.add_row(
            b.case, b.model, ranks, f"{b.packs:,}", f"{100 * b.before:.2f}", *after, f"{b.speedup:.2f}", needed
        )
    Console(width=140).print(table)


def main() -> int:
    args = arguments(__doc__).parse_args()
    found = [row for mix in MIXES for row in balance(mix)]
    show_balance(found)
    figures = [
        figure
        for case, sequences, mix, rounds in TIMED
        for figure in timed(case, sequences, mix, args.rounds or rounds)
    ]
    show(figures, "sequences")
    slow = [f.case for f in figures if "/1e6/" in f.case and f.milliseconds > MOST_MILLISECONDS]
    for case in slow:
        print(f"{case} takes more than {MOST_MILLISECONDS} ms")
    write_json([*figures, *found], args.json)
    return int(bool(slow) or not all(row.met for row in found))


if __name__ == "__main__":
    sys.exit(main())
