"""Plan sequences from the counts of their lengths, and find the packs of a part of them."""

from __future__ import annotations

import io
import sys

import numpy as np
from bench import MAX_LENGTH, Figure, Way, arguments, lognormal, measure, show, write_json

from packsort import plan, plan_counts

SAMPLE = 1_000_000


def run(rounds: int) -> list[Figure]:
    lengths = lognormal(SAMPLE, 350)
    counts = np.bincount(lengths, minlength=MAX_LENGTH + 1).astype(np.int64)
    listed, counted = plan(lengths, MAX_LENGTH, seed=0), plan_counts(counts, MAX_LENGTH, seed=0)
    numbers = counted.numbers(lengths)
    assert np.array_equal(counted.list_packs(0, counted.num_packs)[1], numbers[listed.sequence_ids])
    places = counted.places_of(numbers)
    assert np.array_equal(places[listed.sequence_ids], np.repeat(np.arange(len(listed)), np.diff(listed.pack_offsets)))

    figures = []
    for times, name in ((1, "1e6"), (100, "1e8"), (1000, "1e9")):
        many = counts * times
        known = plan_counts(many, MAX_LENGTH, seed=0)
        middle = known.num_packs // 2
        ways = [
            Way("plan", lambda many=many: plan_counts(many, MAX_LENGTH, seed=0).num_packs),
            Way("save", lambda known=known: known.save(io.BytesIO())),
            Way("one pack", lambda known=known, middle=middle: known[middle]),
        ]
        figures += measure(f"counts/{name}/lognormal", SAMPLE * times, ways, rounds)
    ways = [
        Way("numbers", lambda: known.numbers(lengths)),
        Way("packs of numbers", lambda: known.places_of(numbers)),
    ]
    return figures + measure("counts/1e9/packs of 1e6 sequences", SAMPLE, ways, rounds)


def main() -> int:
    args = arguments(__doc__).parse_args()
    figures = run(args.rounds or 11)
    show(figures, "sequences")
    write_json(figures, args.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
