"""Compare strategies, constraints and epochs with first-fit decreasing of the same lengths.

Each is timed in a pair with `ffd`, one call of each in turn, so that neither finds the caches filled by itself.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
from bench import MAX_LENGTH, Figure, Way, arguments, lognormal, measure, show, write_json

import packsort


def all_packs(plan: packsort.Plan) -> tuple[Any, Any]:
    return plan.pack_offsets, plan.sequence_ids


def run(count: int, rounds: int) -> list[Figure]:
    lengths = lognormal(count, 350)
    groups = np.random.default_rng(0).integers(0, 1000, count).astype(np.uint32)
    options: dict[str, tuple[dict[str, Any], float | None]] = {
        "ffd": ({}, None),
        "bfd": ({"strategy": "bfd"}, 3),
        "random, seed 0": ({"strategy": "random", "seed": 0}, None),
        "padding": ({"strategy": "padding"}, None),
        "max_sequences 8": ({"max_sequences": 8}, None),
        "1,000 groups": ({"groups": groups}, 5),
        "hybrid, half splittable": ({"strategy": "hybrid", "splittable": np.arange(count) % 2 == 0}, 5),
        "multiples of 16": ({"pad_to_multiple_of": 16}, None),
    }
    case = f"strategies/{count:.0e}/lognormal".replace("e+0", "e")
    figures: list[Figure] = []
    for name, (given, allowed) in options.items():
        plan = packsort.plan(lengths, MAX_LENGTH, **given)
        assert np.array_equal(np.unique(plan.sequence_ids), np.arange(count))
        if "groups" in given:
            first = np.repeat(groups[plan.sequence_ids[plan.pack_offsets[:-1]]], np.diff(plan.pack_offsets))
            assert np.array_equal(groups[plan.sequence_ids], first)
        note = f"{plan.num_packs:,} packs"
        ffd = Way("ffd", lambda: all_packs(packsort.plan(lengths, MAX_LENGTH)))
        way = Way(name, lambda given=given: all_packs(packsort.plan(lengths, MAX_LENGTH, **given)), None, note, allowed)  # type: ignore[misc]
        figures.append(measure(case, count, [ffd, way], 3 * rounds, seconds=0)[1])

    first = packsort.plan(lengths, MAX_LENGTH, seed=0)
    epochs = [
        Way("first plan, seed 0", lambda: all_packs(packsort.plan(lengths, MAX_LENGTH, seed=0))),
        Way("with_epoch", lambda: all_packs(first.with_epoch(1)), allowed=1),
    ]
    return figures + measure(f"epochs/{count:.0e}/lognormal".replace("e+0", "e"), count, epochs, rounds)


def main() -> int:
    args = arguments(__doc__).parse_args()
    figures = run(10**6, args.rounds or 15)
    show(figures, "sequences")
    write_json(figures, args.json)
    return int(not all(figure.met for figure in figures))


if __name__ == "__main__":
    sys.exit(main())
