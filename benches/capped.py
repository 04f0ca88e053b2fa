"""Compare packing under a cap on sequences with first-fit in input order, with the fewest packs, and with no cap.

`ffd` and `bfd` must stay within 1 % of the proven bound, never take more packs than first-fit in input order, and take
at most 3 times the time of `ffd` without a cap on the same lengths. `optimal` must reach the bound and one pack.

The real lengths are those of the conversations in `../shared/data`; without them only drawn lengths are packed.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow.parquet as pq
from bench import arguments, write_json
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from tokenize_rows import DATA, FILES

import packsort
from packsort.tokenization.tokenizer import load_tokenizer

CAPS = (2, 4, 8, 12, 16, 24, 64)
MAX_LENGTH = 8192
ABOVE = 1.01  # packs of `ffd` and `bfd`, compared with the bound
TIMES = 3.0  # time of `ffd` and `bfd`, compared with `ffd` without a cap


@dataclass(frozen=True)
class Row:
    """Packs of one case under one cap.

    Attributes:
        case: Kind and number of lengths.
        cap: Most sequences of a pack.
        ffd, bfd, optimal: Packs of each strategy.
        first_fit: Packs of first-fit in input order.
        bound: Proven bound.
        milliseconds: Time of `ffd`, and of `bfd`, under the cap.
        times: The slower of both, compared with `ffd` without a cap.
        seconds: Time of `optimal`.
    """

    case: str
    cap: int
    ffd: int
    bfd: int
    first_fit: int
    optimal: int
    bound: int
    milliseconds: tuple[float, float]
    times: float
    seconds: float

    @property
    def met(self) -> bool:
        """Whether the requirements hold."""
        packs = max(self.ffd, self.bfd)
        few = packs <= self.first_fit and packs <= ABOVE * self.bound and self.optimal <= self.bound + 1
        return few and self.times <= TIMES


def first_fit(lengths: NDArray[np.int64], max_length: int, cap: int) -> int:
    """Count the packs of first-fit in input order, found in a tree of the most room."""
    size = 1 << int(len(lengths) - 1).bit_length()
    tree = [max_length] * (2 * size)
    held = [0] * size
    packs = 0
    for length in lengths.tolist():
        at = 1
        while at < size:
            at *= 2
            at += tree[at] < length
        pack = at - size
        packs = max(packs, pack + 1)
        held[pack] += 1
        tree[at] = 0 if held[pack] == cap else tree[at] - length
        while at > 1:
            at //= 2
            tree[at] = max(tree[2 * at], tree[2 * at + 1])
    return packs


def timed(ways: list[Callable[[], packsort.Plan]], rounds: int) -> tuple[list[packsort.Plan], list[float]]:
    """Time ways in turn: the plans, and the fastest milliseconds of each, listing included."""
    plans, fastest = [way() for way in ways], [float("inf")] * len(ways)
    for _ in range(rounds):
        for at, way in enumerate(ways):
            start = time.perf_counter()
            plan = way()
            _ = plan.pack_offsets, plan.sequence_ids
            fastest[at] = min(fastest[at], 1e3 * (time.perf_counter() - start))
    return plans, fastest


def measure(case: str, lengths: NDArray[np.int64], rounds: int, seconds: float) -> Iterator[Row]:
    for cap in CAPS:
        ways: list[Callable[[], packsort.Plan]] = [
            lambda: packsort.plan(lengths, MAX_LENGTH),
            lambda cap=cap: packsort.plan(lengths, MAX_LENGTH, max_sequences=cap),  # type: ignore[misc]
            lambda cap=cap: packsort.plan(lengths, MAX_LENGTH, max_sequences=cap, strategy="bfd"),  # type: ignore[misc]
        ]
        plans, (base, *own) = timed(ways, rounds)
        start = time.perf_counter()
        fewest = packsort.plan(lengths, MAX_LENGTH, max_sequences=cap, strategy="optimal", max_seconds=seconds)
        spent = time.perf_counter() - start
        assert all(np.diff(plan.pack_offsets).max() <= cap for plan in (*plans[1:], fewest))
        yield Row(
            case=case,
            cap=cap,
            ffd=plans[1].num_packs,
            bfd=plans[2].num_packs,
            first_fit=first_fit(lengths, MAX_LENGTH, cap),
            optimal=fewest.num_packs,
            bound=fewest.lower_bound,
            milliseconds=(own[0], own[1]),
            times=max(own) / base,
            seconds=spent,
        )


def cases(number: int) -> Iterator[tuple[str, NDArray[np.int64]]]:
    random = np.random.default_rng(5)
    drawn = {
        "lognormal(6, 1)": random.lognormal(6, 1, number),
        "lognormal(5.86, 1)": random.lognormal(5.86, 1, number),
        "normal(600, 200)": random.normal(600, 200, number),
        "uniform(1, 2000)": random.uniform(1, 2000, number),
    }
    for name, lengths in drawn.items():
        yield name, np.clip(lengths, 1, MAX_LENGTH).astype(np.int64)
    for name in FILES if DATA.is_dir() else ():
        table = pq.read_table(DATA / f"{name}.parquet", columns=["messages"])
        tokens = packsort.tokenize(table, load_tokenizer(DATA / "tokenizer")).read()
        lengths = tokens["length"].to_numpy().astype(np.int64)
        yield name, np.random.default_rng(0).permutation(lengths[lengths <= MAX_LENGTH])


def main() -> int:
    parser = arguments(__doc__)
    parser.add_argument("--sequences", type=int, default=20_000, help="sequences of each drawn case (default: 20000)")
    parser.add_argument("--seconds", type=float, default=15, help="seconds that `optimal` may take (default: 15)")
    args = parser.parse_args()
    table = Table("case")
    for name in ("cap", "ffd", "bfd", "first-fit", "optimal", "bound", "ffd ms", "bfd ms", "x ffd", "optimal s", ""):
        table.add_column(name, justify="right")
    rows = []
    for case, lengths in cases(args.sequences):
        for row in measure(f"{case}, {len(lengths):,}", lengths, args.rounds or 15, args.seconds):
            rows.append(row)
            packs = (f"{n:,}" for n in (row.ffd, row.bfd, row.first_fit, row.optimal, row.bound))
            ms = (f"{n:.2f}" for n in (*row.milliseconds, row.times, row.seconds))
            table.add_row(row.case, str(row.cap), *packs, *ms, "" if row.met else "NO")
    Console(width=150).print(table)
    write_json(rows, args.json)  # type: ignore[arg-type]
    return int(not all(row.met for row in rows))


if __name__ == "__main__":
    sys.exit(main())
