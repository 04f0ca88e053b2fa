"""Compare windows of packing in input order with the packers of axolotl and torchtune on the same lengths.

axolotl and torchtune are timed and counted where they are installed; no extra of packsort installs them. Both pack
whole sequences in input order by next-fit: axolotl in its sequential mode, torchtune with `split_across_pack=False`,
which also copies the tokens. Elsewhere axolotl packs groups of 100,000 sequences by first-fit, up to 200 in a pack.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from bench import MAX_LENGTH, Figure, Way, arguments, lognormal, measure, show, write_json
from numpy.typing import NDArray

import packsort

Lengths = NDArray[np.int32]
WINDOWS = (0, 64, 1024)
FEW = 5_000  # sequences for packers that copy tokens


def next_fit(lengths: Lengths, limit: int) -> list[list[int]]:
    """Pack in input order; a sequence that does not fit opens the next pack."""
    packs: list[list[int]] = []
    left = -1
    for row, length in enumerate(lengths.tolist()):
        if length > left:
            packs.append([])
            left = limit
        packs[-1].append(row)
        left -= length
    return packs


def axolotl() -> Iterator[tuple[str, Callable[[Lengths], list[list[int]]]]]:
    try:
        from axolotl.utils.samplers.multipack import allocate_sequentially, pack_parallel
    except ImportError:
        return
    yield "axolotl, sequential", lambda lengths: allocate_sequentially(lengths, 0, MAX_LENGTH, 1)[0]  # type: ignore[no-any-return]
    yield "axolotl, groups", lambda lengths: pack_parallel(lengths, MAX_LENGTH, 100_000, 200, num_processes=1)  # type: ignore[no-any-return]


def torchtune() -> Callable[[Lengths], int] | None:
    """Return the number of packs of torchtune's packer, which takes samples of tokens."""
    try:
        from torchtune.datasets import PackedDataset
    except ImportError:
        return None

    class Samples(list[int]):
        def __iter__(self) -> Iterator[Any]:
            for length in super().__iter__():
                yield {"tokens": [0] * length, "labels": [0] * length}

    return lambda lengths: len(PackedDataset(Samples(lengths.tolist()), max_seq_len=MAX_LENGTH))


def note(packs: int, lengths: Lengths, order: NDArray[Any] | None) -> str:
    """Say how many packs there are, how full, and how far sequences stand from their places."""
    text = f"{packs:,} packs, {lengths.sum(dtype=np.int64) / packs / MAX_LENGTH:.2%} full"
    if order is None:
        return text
    moved = np.abs(order - np.arange(len(order)))
    return f"{text}, moved {int(moved.max()):,} at most, {moved.mean():,.1f} on average"


def run(lengths: Lengths, name: str, rounds: int) -> list[Figure]:
    case = f"in_order/{len(lengths):.0e}/{name}".replace("e+0", "e")
    ways = []
    for window in WINDOWS:
        plan = packsort.plan(lengths, MAX_LENGTH, strategy="in_order", window=window)
        assert np.array_equal(np.sort(plan.sequence_ids), np.arange(len(lengths)))

        def planned(window: int = window) -> Any:
            return packsort.plan(lengths, MAX_LENGTH, strategy="in_order", window=window).pack_offsets

        ways.append(Way(f"window {window}", planned, note=note(len(plan), lengths, plan.sequence_ids.astype(np.int64))))
        if window == 0:
            assert [ids.tolist() for ids in plan] == next_fit(lengths, MAX_LENGTH)
    ffd = packsort.plan(lengths, MAX_LENGTH)
    ways.append(Way("ffd", lambda: packsort.plan(lengths, MAX_LENGTH).pack_offsets, note=note(len(ffd), lengths, None)))
    ways.append(Way("next-fit in plain Python", lambda: next_fit(lengths, MAX_LENGTH)))
    for other, pack in axolotl():
        packs = [list(map(int, one)) for one in pack(lengths)]
        order = np.array([row for one in packs for row in one])
        assert len(order) == len(lengths)
        assert other != "axolotl, sequential" or packs == next_fit(lengths, MAX_LENGTH)
        ways.append(Way(other, lambda pack=pack: pack(lengths), note=note(len(packs), lengths, order)))  # type: ignore[misc]
    figures = measure(case, len(lengths), ways, rounds)
    count = torchtune()
    if count is not None:
        few = lengths[:FEW]
        packs = count(few)
        assert packs == len(packsort.plan(few, MAX_LENGTH, strategy="in_order", window=0))
        own = Way("window 0", lambda: packsort.plan(few, MAX_LENGTH, strategy="in_order", window=0).pack_offsets)
        way = Way("torchtune, with tokens", lambda: count(few), note=note(packs, few, None))
        figures += measure(case.replace(f"{len(lengths):.0e}".replace("e+0", "e"), f"{FEW:,}"), FEW, [own, way], 1)
    return figures


def main() -> int:
    args = arguments(__doc__).parse_args()
    rng = np.random.default_rng(0)
    cases = {
        "lognormal": lognormal(10**6, 350),
        "normal": np.clip(rng.normal(2000, 600, 10**6), 1, MAX_LENGTH).astype(np.int32),
        "uniform": rng.integers(1, MAX_LENGTH + 1, 10**6).astype(np.int32),
    }
    figures = [figure for name, lengths in cases.items() for figure in run(lengths, name, args.rounds or 5)]
    show(figures, "sequences")
    write_json(figures, args.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
