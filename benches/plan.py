"""Time plans, from lengths to `pack_offsets` and `sequence_ids`, against other packers, a sort and a count."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import lightbinpack
import numpy as np
import psutil
import seqpacker
from bench import MAX_LENGTH, Figure, Way, arguments, lognormal, measure, show, write_json
from numpy.typing import NDArray

import packsort

MEDIAN = 350
Lengths = NDArray[np.int32]


@dataclass(frozen=True)
class Case:
    """Number of lengths, number of rounds, and required ratios."""

    name: str
    count: int
    rounds: int
    packers: float | None = None
    sort: float | None = None


CASES = (
    Case("plan/1e6/lognormal", 10**6, 15, packers=40, sort=10),
    Case("plan/1e7/lognormal", 10**7, 5, packers=20),
    Case("plan/1e8/lognormal", 10**8, 3),
)


def packsort_packs(lengths: Lengths, seed: int | None) -> tuple[Any, Any]:
    planned = packsort.plan(lengths, MAX_LENGTH, seed=seed)
    return planned.pack_offsets, planned.sequence_ids


def textbook(lengths: Lengths) -> list[list[int]]:
    """Pack by the textbook's first-fit decreasing: longest first, into the first open pack with room."""
    packs: list[list[int]] = []
    rooms: list[int] = []
    for i in np.argsort(-lengths, kind="stable").tolist():
        fits = next((p for p, room in enumerate(rooms) if room >= lengths[i]), len(packs))
        if fits == len(packs):
            packs.append([])
            rooms.append(MAX_LENGTH)
        packs[fits].append(i)
        rooms[fits] -= int(lengths[i])
    return packs


def check(lengths: Lengths, offsets: NDArray[Any], ids: NDArray[Any]) -> str:
    """Assert that every sequence is in one pack and no pack is too long; return the number of packs as text."""
    assert np.array_equal(np.sort(ids), np.arange(len(lengths)))
    assert np.add.reduceat(lengths[ids], offsets[:-1]).max() <= MAX_LENGTH
    return f"{len(offsets) - 1:,} packs"


def check_seqpacker(lengths: Lengths, wide: NDArray[np.int64]) -> str:
    ids, cuts = seqpacker.Packer(MAX_LENGTH, strategy="obfd").pack_flat(wide)
    return check(lengths, np.concatenate([[0], cuts, [len(ids)]]).astype(np.int64), ids)


def check_lightbinpack(lengths: Lengths) -> str:
    packs = lightbinpack.obfd(lengths, MAX_LENGTH)
    offsets = np.cumsum([0, *map(len, packs)])
    return check(lengths, offsets, np.fromiter((i for pack in packs for i in pack), np.int64, len(lengths)))


def run(case: Case, rounds: int | None) -> list[Figure]:
    lengths = lognormal(case.count, MEDIAN)
    few = lengths[:3000]
    offsets, ids = packsort_packs(few, None)
    assert [ids[a:b].tolist() for a, b in pairwise(offsets)] == textbook(few)
    note = check(lengths, *packsort_packs(lengths, None))
    assert note == check(lengths, *packsort_packs(lengths, 0))

    ways = [
        Way("packsort", lambda: packsort_packs(lengths, None), note=f"{note}, {memory(lengths, None)}"),
        Way("packsort, seed 0", lambda: packsort_packs(lengths, 0), note=f"{note}, {memory(lengths, 0)}"),
    ]
    if case.packers:
        wide = lengths.astype(np.int64)  # seqpacker takes no other type
        packer = seqpacker.Packer(MAX_LENGTH, strategy="obfd")
        ways += [
            Way("seqpacker obfd", lambda: packer.pack_flat(wide), case.packers, check_seqpacker(lengths, wide)),
            Way(
                "LightBinPack obfd",
                lambda: lightbinpack.obfd(lengths, MAX_LENGTH),
                case.packers,
                check_lightbinpack(lengths),
            ),
        ]
    ways += [
        Way("numpy.argsort stable", lambda: np.argsort(lengths, kind="stable"), case.sort),
        Way("numpy.bincount", lambda: np.bincount(lengths)),
    ]
    return measure(case.name, case.count, ways, rounds or case.rounds)


def memory(lengths: Lengths, seed: int | None) -> str:
    """Measure the peak memory of a fresh process beyond its column of lengths; assert that it is at most 3 columns."""
    if not Path("/proc/self/status").exists():
        return "memory is measured on Linux only"
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "lengths.npy")
        np.save(path, lengths)
        command = [sys.executable, __file__, "--peak-of", str(path), "--seed", str(seed)]
        peak = int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    columns = peak / lengths.nbytes
    assert columns <= 3, f"{columns:.2f} times the column"
    return f"memory {columns:.1f} x the column"


def peak_of(path: Path, seed: int | None) -> int:
    lengths = np.load(path)
    packsort_packs(lengths[:100_000], seed)  # starts threads
    before = psutil.Process().memory_info().rss
    kept = packsort_packs(lengths, seed)
    # `getrusage` would report the parent's peak where the parent was larger.
    peak = next(line.split()[1] for line in Path("/proc/self/status").read_text().splitlines() if "VmHWM" in line)
    del kept
    return max(0, int(peak) * 1024 - before)


def main() -> int:
    parser = arguments(__doc__)
    parser.add_argument("--largest", type=float, default=1e7, help="leave out cases with more lengths (1e8 needs 8 GB)")
    parser.add_argument("--peak-of", type=Path, help="print only the peak memory of planning this file")
    parser.add_argument("--seed", default="None")
    args = parser.parse_args()
    if args.peak_of:
        print(peak_of(args.peak_of, None if args.seed == "None" else int(args.seed)))
        return 0
    figures = [f for case in CASES if case.count <= args.largest for f in run(case, args.rounds)]
    show(figures, "sequences")
    write_json(figures, args.json)
    return int(not all(figure.met for figure in figures))


if __name__ == "__main__":
    sys.exit(main())
