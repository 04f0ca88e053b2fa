"""Packs of a bounded buffer against those of a plan of all lengths, and the time it takes."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator

import numpy as np
from bench import MAX_LENGTH, Figure, arguments, lognormal, show, write_json

import packsort
from packsort.torch import PackedStream

SEQUENCES = 200_000
MEDIAN = 350
ALLOWED = 1.01  # packs of a buffer of 10,000 / packs of the plan


def next_fit(lengths: list[int]) -> int:
    """Count the packs of next-fit, which closes a pack when the next sequence does not fit."""
    packs, room = 0, 0
    for length in lengths:
        if length > room:
            packs, room = packs + 1, MAX_LENGTH
        room -= length
    return packs


def stream_packs(lengths: list[int], buffer_size: int) -> int:
    ids = np.ones(MAX_LENGTH, np.int32)

    def sequences() -> Iterator[np.ndarray]:
        return (ids[:length] for length in lengths)

    stream = PackedStream(sequences, MAX_LENGTH, buffer_size=buffer_size)
    tokens = sum(batch["input_ids"].numel() for batch in stream)
    assert tokens == sum(lengths)
    return stream.counts["packs"]


def run() -> list[Figure]:
    lengths = lognormal(SEQUENCES, MEDIAN).tolist()
    planned = packsort.plan(lengths, MAX_LENGTH).num_packs
    ways = {f"buffer of {size:,}": (lambda size=size: stream_packs(lengths, size)) for size in (1_000, 10_000)}
    ways["next-fit"] = lambda: next_fit(lengths)
    figures = []
    for name, way in ways.items():
        start = time.perf_counter()
        packs = way()
        took = 1e3 * (time.perf_counter() - start)
        figures.append(
            Figure(
                case=f"stream/{SEQUENCES:.0e}/lognormal",
                way=name,
                milliseconds=took,
                fastest=took,
                per_second=SEQUENCES / took / 1e3,
                ratio=packs / planned,
                allowed=ALLOWED if name == "buffer of 10,000" else None,
                note=f"{packs:,} packs, {100 * (packs / planned - 1):.2f} % more than the plan's {planned:,}",
            )
        )
    return figures


def main() -> int:
    args = arguments(__doc__).parse_args()
    figures = run()
    show(figures, "sequences")
    write_json(figures, args.json)
    return int(not all(figure.met for figure in figures))


if __name__ == "__main__":
    sys.exit(main())
