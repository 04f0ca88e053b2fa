"""The search for the fewest packs, against brute force, an independent solver, and first-fit decreasing."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence

import highspy
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import packsort
from packsort.errors import OptionError
from packsort.planning.optimal import search as _optimal
from packsort.planning.optimal.program import solver
from packsort.planning.optimal.search import Solution
from reference import fewest_packs


def histogram(lengths: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    sizes, counts = np.unique(np.asarray(lengths), return_counts=True)
    return sizes.astype(np.uint32), counts.astype(np.uint64)


def solve(lengths: Sequence[int], capacity: int, **options) -> Solution:
    """Solve, and check that every sequence is in one pack and no pack is too long."""
    sizes, counts = histogram(lengths)
    solution = _optimal.solve(sizes, counts, capacity, **options)
    packed = np.zeros(len(sizes), np.int64)
    copies = solution.copies.astype(np.int64)
    np.add.at(packed, solution.items, copies * np.repeat(solution.repeats, np.diff(solution.offsets)))
    assert np.array_equal(packed, counts.astype(np.int64))
    assert solution.repeats.sum() == solution.packs
    assert solution.repeats.min() >= 1
    assert solution.copies.min() >= 1
    assert np.add.reduceat(sizes[solution.items] * copies, solution.offsets[:-1]).max() <= capacity
    most = options.get("max_sequences") or capacity
    assert np.add.reduceat(copies, solution.offsets[:-1]).max() <= most
    assert solution.bound <= solution.packs
    return solution


def fewest_bysolver(lengths: Sequence[int], capacity: int, max_sequences: int) -> int:
    """Find the optimum by HiGHS's branch and bound over all patterns."""
    sizes = sorted(set(lengths))
    ranges = (range(capacity // size + 1) for size in sizes)
    patterns = [
        p
        for p in itertools.product(*ranges)
        if 0 < sum(p) <= max_sequences and sum(c * s for c, s in zip(p, sizes, strict=True)) <= capacity
    ]
    counted = Counter(lengths)
    highs = highspy.Highs()
    highs.setOptionValue("output_flag", False)
    repeats = [highs.addIntegral(obj=1.0) for _ in patterns]
    for row, size in enumerate(sizes):
        highs.addConstr(sum(p[row] * x for p, x in zip(patterns, repeats, strict=True) if p[row]) >= counted[size])
    highs.run()
    assert highs.getModelStatus() == highspy.HighsModelStatus.kOptimal
    return round(highs.getObjectiveValue())


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_few_sequences_are_packed_as_brute_force_packs_them(data: st.DataObject) -> None:
    capacity = data.draw(st.integers(1, 40))
    lengths = data.draw(st.lists(st.integers(1, capacity), min_size=1, max_size=12))
    solution = solve(lengths, capacity)
    assert solution.packs == fewest_packs(lengths, capacity)
    assert solution.bound == solution.packs


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_an_independent_solver_finds_no_fewer_than_the_bound(data: st.DataObject) -> None:
    capacity = data.draw(st.integers(12, 30))
    sizes = data.draw(st.lists(st.integers(3, capacity), min_size=1, max_size=5, unique=True))
    counts = data.draw(st.lists(st.integers(1, 40), min_size=len(sizes), max_size=len(sizes)))
    most = data.draw(st.sampled_from([2, 3, capacity]))
    lengths = np.repeat(sizes, counts).tolist()
    fewest = fewest_bysolver(lengths, capacity, most)
    solution = solve(lengths, capacity, max_sequences=most)
    assert solution.bound <= fewest <= solution.packs <= solution.bound + 1


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_never_more_packs_than_first_fit_decreasing(data: st.DataObject) -> None:
    capacity = data.draw(st.integers(50, 400))
    seed = data.draw(st.integers(0, 2**32))
    mean = data.draw(st.floats(0.05, 0.9))
    spread = data.draw(st.floats(0.01, 0.5))
    number = data.draw(st.integers(1, 3000))
    most = data.draw(st.sampled_from([None, 1, 2, 3, 8, 40]))
    iterations = data.draw(st.sampled_from([None, 0, 1, 3, 10]))
    normal = np.random.default_rng(seed).normal(mean, spread, number) * capacity
    lengths = np.clip(normal.astype(int), 1, capacity)
    greedy = packsort.plan(lengths, capacity, max_sequences=most)
    options = {"max_sequences": most, "max_iterations": iterations}
    solution = solve(lengths, capacity, lower_bound=greedy.lower_bound, **options)
    assert greedy.lower_bound <= solution.bound <= solution.packs <= greedy.num_packs
    if iterations is None and most is None:
        assert solution.packs <= solution.bound + 1


def conversations(number: int, mean: float, spread: float, capacity: int) -> np.ndarray:
    return np.random.default_rng(0).normal(mean, spread, number).astype(int).clip(1, capacity)


@pytest.mark.parametrize(("mean", "spread"), [(600, 150), (614, 50), (800, 150), (300, 100)])
def test_sequences_of_one_kind_are_at_most_one_pack_above_the_bound(mean: float, spread: float) -> None:
    lengths = conversations(30_000, mean, spread, 2048)
    solution = solve(lengths, 2048)
    assert solution.packs <= solution.bound + 1
    assert solution.packs < packsort.plan(lengths, 2048).num_packs


def test_a_hundred_times_the_sequences_take_no_more_programs() -> None:
    lengths = conversations(20_000, 614, 50, 2048)
    sizes, counts = histogram(lengths)
    few = _optimal.solve(sizes, counts, 2048)
    many = _optimal.solve(sizes, counts * np.uint64(100), 2048)
    assert many.packs <= many.bound + 1
    assert many.iterations <= 2 * few.iterations


def test_what_first_fit_decreasing_packs_at_the_bound_is_left_alone() -> None:
    solution = solve([5, 4, 3, 2, 1] * 1000, 15)
    assert (solution.packs, solution.bound, solution.iterations) == (1000, 1000, 0)


def test_many_distinct_sizes_are_gathered_into_classes() -> None:
    lengths = conversations(40_000, 40_000, 10_000, 131_072)
    assert len(np.unique(lengths)) > _optimal._MOST_ROWS
    greedy = packsort.plan(lengths, 131_072)
    solution = solve(lengths, 131_072, lower_bound=greedy.lower_bound, max_iterations=20)
    # The optimum needs at least the room of all tokens.
    assert lengths.sum() / 131_072 <= solution.bound <= solution.packs
    assert solution.packs - solution.bound < (greedy.num_packs - greedy.lower_bound) / 4


def test_stops_at_the_gap() -> None:
    lengths = conversations(30_000, 614, 50, 2048)
    rough = solve(lengths, 2048, gap=0.002)
    fine = solve(lengths, 2048)
    assert rough.gap <= 0.002
    assert rough.iterations < fine.iterations


def test_progress_closes_the_gap() -> None:
    seen: list[tuple[int, int, float]] = []
    solution = solve(conversations(30_000, 600, 150, 2048), 2048, on_progress=lambda *now: seen.append(now))
    packs, bounds, gaps = zip(*seen, strict=True)
    assert list(packs) == sorted(packs, reverse=True)
    assert list(bounds) == sorted(bounds)
    assert gaps[-1] == solution.gap == (solution.packs - solution.bound) / solution.bound


def test_no_time_is_first_fit_decreasing_or_better() -> None:
    lengths = conversations(30_000, 614, 50, 2048)
    solution = solve(lengths, 2048, seconds=0.0)
    assert solution.iterations == 0
    assert solution.packs <= packsort.plan(lengths, 2048).num_packs


_DIGEST = """
import numpy as np
from packsort import _core
from packsort.planning.optimal import search as _optimal
lengths = np.random.default_rng(0).normal(300, 75, 20_000).astype(int).clip(1, 1024)
sizes, counts = np.unique(lengths, return_counts=True)
for most in (None, 4):
    s = _optimal.solve(sizes.astype(np.uint32), counts.astype(np.uint64), 1024, max_sequences=most)
    print(s.packs, s.bound, s.iterations, *(a.tobytes().hex() for a in (s.offsets, s.items, s.copies, s.repeats)))
print("threads", _core.num_threads())
"""


def test_the_number_of_threads_makes_no_difference() -> None:
    outputs = [
        subprocess.run(
            [sys.executable, "-c", _DIGEST],
            env=os.environ | {"RAYON_NUM_THREADS": str(threads)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout.splitlines()
        for threads in (1, 3)
    ]
    assert [lines.pop() for lines in outputs] == ["threads 1", "threads 3"]
    assert outputs[0] == outputs[1]


def test_nothing_is_printed(capfd: pytest.CaptureFixture[str]) -> None:
    solve(conversations(2000, 600, 150, 2048), 2048)
    assert capfd.readouterr() == ("", "")


def test_without_highspy_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "highspy", None)
    solver.cache_clear()
    with pytest.raises(OptionError, match=r'pip install "packsort\[optimal\]"'):
        solve(conversations(2000, 614, 50, 2048), 2048)
