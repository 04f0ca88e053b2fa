"""Gather the tokens of shuffled sequences, compared with `pyarrow.compute.take` and a plain copy of as many bytes."""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from bench import Figure, Way, arguments, lognormal, measure, show, write_json
from numpy.typing import NDArray

from packsort import _core
from packsort.gathering.gather import gather_values

TOKENS = 130_000_000
MEAN = 350


def copied(source: NDArray[np.int32], out: NDArray[np.int32], pool: ThreadPoolExecutor) -> NDArray[np.int32]:
    """Copy with as many threads as packsort uses, one part each."""
    cuts = np.linspace(0, len(source), _core.num_threads() + 1).astype(int)
    list(pool.map(lambda a, b: np.copyto(out[a:b], source[a:b]), cuts, cuts[1:]))
    return out


def run(rounds: int) -> list[Figure]:
    lengths = lognormal(TOKENS // MEAN, MEAN / np.exp(0.5))  # exp(sigma^2 / 2) is the mean of a lognormal with median 1
    offsets = np.concatenate([[0], np.cumsum(lengths, dtype=np.int32)])
    tokens = np.random.default_rng(1).integers(0, 128_000, offsets[-1], np.int32)
    lists = pa.ListArray.from_arrays(offsets, tokens)
    column = pa.chunked_array([lists])
    ids = np.random.default_rng(2).permutation(len(lengths)).astype(np.uint32)
    pieces = lengths[ids]
    rows = pa.array(ids)

    assert gather_values(column, "input_ids", ids, pieces).equals(pc.take(lists, rows).values)
    warm = tokens.copy()
    with ThreadPoolExecutor(_core.num_threads()) as pool:
        ways = [
            Way(
                "packsort",
                lambda: gather_values(column, "input_ids", ids, pieces),
                note=f"{_core.num_threads()} threads",
            ),
            Way("pyarrow.compute.take", lambda: pc.take(lists, rows), 8),
            Way("copy, fresh memory", lambda: copied(tokens, np.empty_like(tokens), pool), note="aim: 0.5"),
            Way("copy, memory in use", lambda: copied(tokens, warm, pool)),
        ]
        return measure("gather/130e6/lognormal", len(tokens), ways, rounds)


def main() -> int:
    args = arguments(__doc__).parse_args()
    figures = run(args.rounds or 11)
    show(figures, "tokens")
    write_json(figures, args.json)
    return int(not all(figure.met for figure in figures))


if __name__ == "__main__":
    sys.exit(main())
