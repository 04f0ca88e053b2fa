"""Time `packsort.compare` on a million lengths."""

from __future__ import annotations

import sys

import numpy as np
from bench import Figure, Way, arguments, lognormal, measure, show, write_json

import packsort

LIMITS = [1024, 2048, 4096, 8192]
COUNT = 10**6
# Milliseconds that four max_lengths may take.
MOST = 1000


def run(rounds: int) -> list[Figure]:
    lengths = lognormal(COUNT, 270)
    turns = np.random.default_rng(1).integers(1, 5, COUNT)
    found = packsort.compare(lengths, LIMITS, turns=turns)
    for at in found.at:
        plan = packsort.plan(lengths, at.max_length, overlong="truncate", seed=0)
        assert (at.ffd.rows, at.ffd.tokens) == (plan.num_packs, plan.num_tokens)
        assert at["random"].rows == -(-int(lengths.sum(dtype=np.int64)) // at.max_length)
    ways = [
        Way("four max_lengths", lambda: packsort.compare(lengths, LIMITS)),
        Way("four max_lengths, turns", lambda: packsort.compare(lengths, LIMITS, turns=turns)),
        Way("one max_length", lambda: packsort.compare(lengths, 4096)),
    ]
    return measure("compare/1e6/lognormal", COUNT, ways, rounds)


def main() -> int:
    args = arguments(__doc__).parse_args()
    figures = run(args.rounds or 5)
    show(figures, "sequences")
    write_json(figures, args.json)
    return int(figures[0].milliseconds > MOST)


if __name__ == "__main__":
    sys.exit(main())
