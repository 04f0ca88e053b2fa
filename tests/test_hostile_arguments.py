"""The core's entry points refuse arguments that contradict each other: no panic, no end of the process."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

import packsort
from packsort import _core

REPEATS = int(os.environ.get("PACKSORT_REPEATS", "1"))
NUMBERS = [0, 1, 2, 3, 7, 63, 64, 2**31 - 1, 2**31, 2**32, 2**62, 2**63 - 1, -1, -2, -(2**31), -(2**63)]
PLANS = [
    packsort.plan([3, 5, 2, 2, 7, 7, 1], 9),
    packsort.plan([3, 5, 2, 2, 7, 7, 1], 9, seed=1, groups=[0, 1, 0, 1, 2, 2, 2], separator=True),
    packsort.plan([30, 5, 20, 2, 7, 7, 1], 9, overlong="split", pad_to_multiple_of=2),
    packsort.plan([30, 5, 20, 2, 7, 7, 1], 9, overlong="truncate", truncation_side="left"),
    packsort.plan([30, 5, 20, 2, 7, 7, 1], 9, strategy="random", seed=3),
    packsort.plan([6, 6, 6, 4], 9, strategy="hybrid", splittable=[True, False, True, True]),
]


def mutated(array: np.ndarray[Any, Any], draw: np.random.Generator) -> np.ndarray[Any, Any]:
    """Change an array: an element, its length, or its order."""
    array = array.copy()
    change = draw.integers(5)
    if change == 0 or not len(array):
        return np.concatenate([array, array[:1]]) if len(array) else np.zeros(1, array.dtype)
    if change == 1:
        return array[:-1].copy()
    if change == 2:
        return draw.permutation(array)
    place = draw.integers(len(array))
    with np.errstate(over="ignore"):
        array[place] = np.int64(draw.choice(NUMBERS)).astype(array.dtype)
    return array


def parts(draw: np.random.Generator) -> None:
    stored = dict(PLANS[draw.integers(len(PLANS))]._core.parts())
    for _ in range(draw.integers(1, 3)):
        name = str(draw.choice(list(stored)))
        value = stored[name]
        if isinstance(value, np.ndarray):
            stored[name] = mutated(value, draw)
        elif isinstance(value, int):
            stored[name] = type(value)(draw.choice(NUMBERS))
    plan = _core.Plan.from_parts(stored)
    packs = min(plan.num_packs, 100)
    plan.list_packs(0, packs), plan.list_lengths(0, packs), plan.list_starts(0, packs), plan.num_fillers()
    plan.pack(0), plan.with_epoch(3).pack(int(draw.integers(9))), plan.num_split(), plan.split_rows(), plan.parts()
    if plan.facts()["max_length"] < 2**20:
        plan.lower_bound()


def batch(draw: np.random.Generator) -> None:
    pack = [np.arange(9, dtype=np.int32), np.arange(9, dtype=np.int32), np.array([4, 3, 2], np.int32), np.arange(3)]
    arrays: list[Any] = [np.zeros(9, np.int64) for _ in range(3)] + [np.zeros(4, np.int32)]
    optional: dict[str, Any] = {"unpadded": np.zeros(4, np.int32), "loss_mask": np.zeros(9, np.float32)}
    optional |= {"loss_weights": np.zeros(9, np.float32), "segment_ids": np.zeros(9, np.int32)}
    for _ in range(draw.integers(1, 3)):
        target: list[Any] = [pack, arrays][draw.integers(2)]
        place = draw.integers(len(target))
        target[place] = mutated(target[place], draw)
    row_length = int(draw.choice([0, 9, 12, 2**40]))
    labels = str(draw.choice(["unshifted", "shifted", "masked"]))
    style = (labels, bool(draw.integers(2)), row_length, 0, bool(draw.integers(2)), bool(draw.integers(2)), False)
    used = {name: array for name, array in optional.items() if draw.integers(2)}
    weights: Any = [None, ("sample", 2.0), ("sqrt", 0.0)][draw.integers(3)]
    _core.fill_batch([tuple(pack)] * int(draw.integers(3)), style, weights, *arrays, **used)
    _core.step_total([tuple(pack)], "token")


def gathered(draw: np.random.Generator) -> None:
    offsets = np.array([0, 2, 5, 9], np.int32)
    offsets = mutated(offsets, draw) if draw.integers(2) else offsets
    values = np.arange(9, dtype=np.int32)
    buffers = [None, pa.py_buffer(offsets)]
    lists = pa.Array.from_buffers(pa.list_(pa.int32()), len(offsets) - 1, buffers, children=[pa.array(values)])
    ids, starts, lengths = np.array([0, 2, -1, 1]), np.array([0, 1, 0, 0], np.int32), np.array([2, 1, 3, 0], np.int32)
    ids, starts, lengths = (mutated(one, draw) if draw.integers(2) else one for one in (ids, starts, lengths))
    lengths = np.minimum(lengths, 1000)
    column = pa.chunked_array([lists])
    _core.ListColumn(column).lengths()
    fillers = (bytes(4), bytes(int(draw.choice([4, 3]))))
    _core.gather(column, ids, starts, lengths, fillers if draw.integers(2) else None)


def costs(draw: np.random.Generator) -> None:
    offsets, lengths = mutated(np.array([0, 2, 3]), draw), mutated(np.array([3, 4, 5], np.int32), draw)
    _core.pack_costs(offsets, lengths, 1.0, float(draw.choice([0.0, np.nan, 1e300])), bool(draw.integers(2)))
    each = draw.choice([1.0, 2.0, 0.0, np.inf, -1.0], 9, p=[0.4, 0.3, 0.2, 0.05, 0.05])
    sizes = [int(draw.choice([1, 2, 3, 2**10, 2**62])) for _ in range(3)]
    _core.schedule(each, *sizes, str(draw.choice(["pad", "drop"])), None)


def search(draw: np.random.Generator) -> None:
    sizes, counts = np.array([2, 3, 7], np.uint32), np.array([4, 1, 2], np.uint64)
    if draw.integers(2):
        sizes = mutated(sizes, draw)
    if draw.integers(2):
        counts = mutated(counts, draw)
    capacity, most = int(draw.choice([9, 7, 0, 2**12])), int(draw.choice([0, 1, 3, 2**63]))
    duals = [draw.choice([0.0, 0.3, 1.0, np.nan, np.inf], len(sizes)) for _ in range(2)]
    _core.price_patterns(sizes, capacity, most, counts, duals, duals[0])
    _core.sample_patterns(sizes, capacity, most, counts, 5)
    packing = _core.Packing(sizes, capacity, most, counts)
    patterns = [np.array([0, 2, 3]), np.array([0, 2, 1], np.int32), np.array([1, 1, 1], np.int32), np.array([1, 1])]
    place = draw.integers(4)
    patterns[place] = mutated(patterns[place], draw)
    packing.take(*patterns)
    packing.copy().finish()
    packing.copy().finish_within(int(draw.choice([0, 2, 2**60])), 100)
    packing.patterns(), packing.left


def mask(draw: np.random.Generator) -> None:
    ends = mutated(np.array([0, 3, 8, 16], np.int32), draw)
    counts, indices = ([np.zeros(n, np.int32) for _ in range(4)] for n in (8, 32))
    if draw.integers(2):
        indices[draw.integers(4)] = np.zeros(31, np.int32)
    _core.fill_blocks(ends, int(draw.choice([8, 16, 1, 0])), int(draw.choice([2, 4, 1, 0])), counts, indices)


@pytest.mark.parametrize("call", [parts, batch, gathered, costs, search, mask])
def test_arguments_that_contradict_each_other_are_refused(call: Callable[[np.random.Generator], None]) -> None:
    found: Counter[str] = Counter()
    for seed in range(200 * REPEATS):
        try:
            call(np.random.default_rng(seed))
            found["taken"] += 1
        except packsort.errors.InternalError as error:
            raise AssertionError(f"seed {seed}") from error
        except (packsort.PacksortError, MemoryError, OverflowError, TypeError, ValueError) as error:
            found[type(error).__name__] += 1
    assert found["taken"] > 0
    assert sum(found.values()) > found["taken"]
