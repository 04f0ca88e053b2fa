"""Compare the fewest packs with first-fit decreasing: packs, proven bound, seconds.

    python benches/optimal.py [TOKENS ...]

TOKENS are files of `packsort tokenize --keep source`. Each of their sources is a case at each of four limits.
"""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from bench import arguments, write_json
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

import packsort


@dataclass(frozen=True)
class Row:
    """Result of one case."""

    case: str
    sequences: int
    distinct: int
    ffd: int
    packs: int
    bound: int
    seconds: float
    allowed: float | None
    gap: float

    @property
    def met(self) -> bool:
        """Whether the requirement holds."""
        in_time = self.allowed is None or self.seconds <= self.allowed
        return in_time and self.packs <= max(self.bound + 1, self.bound * (1 + self.gap))


def measure(
    case: str, lengths: NDArray[np.int64], max_length: int, allowed: float | None = None, gap: float | None = None
) -> Row:
    greedy = packsort.plan(lengths, max_length)
    start = time.perf_counter()
    found = packsort.plan(lengths, max_length, strategy="optimal", gap=gap)
    seconds = time.perf_counter() - start
    assert np.array_equal(np.bincount(found.piece_lengths), np.bincount(lengths))
    return Row(
        f"{case} @{max_length}",
        len(lengths),
        len(np.unique(lengths)),
        greedy.num_packs,
        found.num_packs,
        found.lower_bound,
        seconds,
        allowed,
        1e-6 if gap is None else gap,
    )


def generated() -> Iterator[Row]:
    def normal(number: int, mean: float, spread: float, most: int) -> NDArray[np.int64]:
        return np.random.default_rng(0).normal(mean, spread, number).astype(np.int64).clip(1, most)

    yield measure("200 k normal(40 k, 10 k)", normal(200_000, 40_000, 10_000, 131_072), 131_072, 30, 0.002)
    print(f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:,.0f} MB peak memory at 131,072")
    lognormal = np.exp(np.random.default_rng(0).normal(7.5, 0.5, 10**6)).astype(np.int64).clip(1, 4096)
    broad = np.exp(np.random.default_rng(0).normal(np.log(350), 1, 10**6)).astype(np.int64).clip(1, 8192)
    yield measure("1 M normal(600, 150)", normal(10**6, 600, 150, 2048), 2048, 2)
    yield measure("1 M normal(614, 50)", normal(10**6, 614, 50, 2048), 2048, 0.3)
    yield measure("1 M lognormal(7.5, 0.5)", lognormal, 4096, 20)
    yield measure("100 M of the same", np.tile(lognormal, 100), 4096, 20)
    yield measure("1 M broad mixture", broad, 8192, 0.1)


def real(paths: list[Path]) -> Iterator[Row]:
    # Seconds that the prototype took.
    allowed = {("gsm8k", 1024): 0.3, ("sgd_train", 1024): 0.8, ("single_turn", 1024): 0.3}
    for path in paths:
        table = pq.read_table(path, columns=["length", "source"])
        names = pc.unique(table["source"]).to_pylist()
        for name in sorted(names, key=str) if len(names) < 40 else []:
            yield from limits(name, table.filter(pc.equal(table["source"], name)), allowed)
        yield from limits(path.stem, table, allowed)


def limits(name: str, table: pa.Table, allowed: dict[tuple[str, int], float]) -> Iterator[Row]:
    lengths = table["length"].to_numpy().astype(np.int64)
    for max_length in (512, 1024, 2048, 4096):
        fitting = lengths[lengths <= max_length]
        if len(fitting):
            yield measure(name, fitting, max_length, allowed.get((name, max_length)))


def main() -> int:
    parser = arguments(__doc__)
    parser.add_argument("tokens", nargs="*", type=Path, metavar="TOKENS")
    args = parser.parse_args()
    rows = [*generated(), *real(args.tokens)]
    table = Table("case")
    for name in (
        "sequences",
        "lengths",
        "ffd",
        "optimal",
        "bound",
        "above",
        "fewer",
        "seconds",
        "required",
    ):
        table.add_column(name, justify="right")
    for row in rows:
        limit = "" if row.allowed is None else f"<= {row.allowed:g} {'yes' if row.met else 'NO'}"
        table.add_row(
            row.case,
            *(f"{n:,}" for n in (row.sequences, row.distinct, row.ffd, row.packs, row.bound, row.packs - row.bound)),
            f"{1 - row.packs / row.ffd:.2%}",
            f"{row.seconds:.2f}",
            limit,
        )
    Console(width=150).print(table)
    write_json(rows, args.json)  # type: ignore[arg-type]
    return int(not all(row.met for row in rows))


if __name__ == "__main__":
    sys.exit(main())
