"""Fewest packs, with proof: column generation on the histogram of sizes, and whole packs from its fractions."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from packsort import _core
from packsort.planning.optimal.program import Columns, Optimum, OutOfTimeError, Program

Progress = Callable[[int, int, float], object]
"""Called with packs, packs that any plan needs, and the gap between them, a fraction."""

_MANY_ROWS = 2000  # from here on the interior point method is faster than simplex
_MOST_ROWS = 5000  # with more distinct sizes these are gathered into classes
_CLASSES = 4096  # so many at most
_FEW = 40  # sequences up to which everything is tried
_FULL = 100_000  # packs up to which they are filled as full as can be
_FULL_STEPS = 2000  # of the search for each of these packs
_SAMPLED = 3  # after so many programs full patterns are drawn
_STEPS = 200_000  # of a search that tries everything
_SHRUNK = 0.8  # a program with fewer rows in use than this is made anew
_SHARE = 1e-6  # of the packs of a large program that count as none, unless it is said how many do
_STALLED = 0.05  # packs: a program that improves by less is not worth another round
_WHOLE = 1e-6  # nearer to a whole number than this is that number


@dataclass(frozen=True)
class Solution:
    """Packs, and how few any plan could need.

    Attributes:
        offsets: where each pattern starts, int64 (patterns + 1,).
        rows: size numbers of the patterns, int32 (slots,).
        copies: sequences of that size in each pack of the pattern, int32 (slots,).
        repeats: packs alike, int64 (patterns,).
        packs: packs altogether.
        bound: packs that any plan needs, proven.
        iterations: how often the linear program was solved.
    """

    offsets: NDArray[np.int64]
    rows: NDArray[np.int32]
    copies: NDArray[np.int32]
    repeats: NDArray[np.int64]
    packs: int
    bound: int
    iterations: int

    @property
    def gap(self) -> float:
        """How far the packs may be above the fewest, as a fraction of the bound."""
        return _gap(self.packs, self.bound)


def solve(
    sizes: NDArray[np.uint32],
    counts: NDArray[np.uint64],
    capacity: int,
    *,
    max_sequences: int | None = None,
    lower_bound: int = 0,
    gap: float | None = None,
    max_iterations: int | None = None,
    seconds: float | None = None,
    on_progress: Progress | None = None,
) -> Solution:
    """The fewest packs of so many sequences of each size, and the proof of how few they could be.

    Never more packs than first-fit decreasing. The same arguments give the same patterns on any number of threads;
    not so with `seconds`.

    Args:
        sizes: distinct sizes, ascending, from 1 to `capacity`: uint32 (n,).
        counts: sequences of each size, 1 and more: uint64 (n,).
        capacity: room of a pack.
        max_sequences: the most sequences of a pack; None for any number.
        lower_bound: a bound that is known already.
        gap: stops where packs are at most this fraction above the bound; None for one pack, or a millionth of them, so
            that a plan takes no longer the more sequences there are.
        max_iterations: stops after so many linear programs.
        seconds: stops after this time.
        on_progress: called with packs, bound and gap whenever a program was solved.

    Example:
        >>> solution = solve(np.array([3, 4], np.uint32), np.array([4, 2], np.uint64), 10)
        >>> solution.packs, solution.bound  # 4 + 3 + 3 twice; first-fit decreasing puts 4 + 4 together and needs 3
        (2, 2)
    """
    search = _Search(sizes, counts, capacity, max_sequences or capacity, lower_bound, gap, on_progress)
    search.budget = math.inf if max_iterations is None else max_iterations
    search.seconds = math.inf if seconds is None else seconds
    search.deadline = time.monotonic() + search.seconds
    if not search.is_done():
        search.run_in_classes() if len(sizes) > _MOST_ROWS else search.run()
    return search.solution()


class _Search:
    def __init__(
        self,
        sizes: NDArray[np.uint32],
        counts: NDArray[np.uint64],
        capacity: int,
        max_sequences: int,
        lower_bound: int,
        gap: float | None,
        on_progress: Progress | None,
    ) -> None:
        self.sizes, self.counts, self.capacity, self.max_sequences = sizes, counts, capacity, max_sequences
        self.demand = counts.astype(np.int64)
        self.allowed, self.on_progress = gap or 0.0, on_progress
        self.share = _SHARE if gap is None else 0.0
        self.budget, self.seconds, self.deadline, self.iterations = math.inf, math.inf, math.inf, 0
        self.reached = 0.0  # the best bound, in fractions
        tokens, sequences = (int(n) for n in (sizes.astype(np.int64) @ self.demand, self.demand.sum()))
        self.bound = max(lower_bound, -(-tokens // capacity), -(-sequences // max_sequences))
        self.best = self._empty()
        self.best.finish()
        self.finish(self._empty())
        self.center = sizes / capacity  # the duals of the best bound
        self.program: Program

    def _empty(self) -> _core.Packing:
        return _core.Packing(self.sizes, self.capacity, self.max_sequences, self.counts)

    def is_done(self) -> bool:
        """Whether packs are as near to the bound as was asked."""
        return self.best.packs <= self.bound or _gap(self.best.packs, self.bound) <= self.allowed

    def is_spent(self, share: float = 1.0) -> bool:
        """Whether so much of the budget is spent."""
        late = self.deadline - (1 - share) * self.seconds if share < 1 and self.seconds < math.inf else self.deadline
        return self.iterations >= self.budget * share or time.monotonic() >= late

    def solution(self) -> Solution:
        return Solution(*self.best.patterns(), self.best.packs, self.bound, self.iterations)

    def run(self) -> None:
        """Fewer packs, and a higher bound, until they meet or the budget is spent.

        The last pack of a large program can take longer than all others, and may not be there to be had: that is gone
        for only where more than one is missing.
        """
        self.try_everything()
        if self.is_done():
            return
        program = self.first_program()
        large = len(self.sizes) >= _MANY_ROWS
        with contextlib.suppress(OutOfTimeError):
            for slack in (max(1, int(self.share * self.best.packs)), 0) if large else (0,):
                self.program = program
                optimum = self.generate(slack)
                if self.best.packs <= self.bound + slack or self.is_done() or optimum is None:
                    break
                self.dive(optimum)
                if self.best.packs <= self.bound + slack or self.is_done() or self.is_spent():
                    break

    def run_in_classes(self) -> None:
        """The same with sizes gathered into classes, as if all of a class were as long as the longest.

        What its places are too long by is filled after. The bound takes all to be as long as the shortest.
        """
        unit = -(-self.capacity // _CLASSES)
        capacity = self.capacity // unit
        lengths = self.sizes.astype(np.int64)
        # what is too long for that shares with none anyway
        rounded = np.minimum(-(-lengths // unit), capacity)
        classes, first, of = np.unique(rounded, return_index=True, return_inverse=True)
        counts = np.bincount(of, self.demand).astype(np.uint64)
        inner = _Search(classes.astype(np.uint32), counts, capacity, self.max_sequences, 0, self.allowed, None)
        inner.share = self.share
        inner.budget, inner.seconds, inner.deadline = self.budget, self.seconds, self.deadline
        inner.on_progress = lambda *_: self.report()
        inner.run()
        self.iterations = inner.iterations
        packing = self._empty()
        offsets, rows, copies, repeats = inner.best.patterns()
        longest = np.append(first[1:], len(self.sizes)) - 1
        packing.take(offsets, longest[rows].astype(np.int32), copies, repeats)
        self.finish(packing)

        floors, of = np.unique(lengths // unit, return_inverse=True)
        counts = np.bincount(of, self.demand).astype(np.uint64)
        duals = np.append(0.0, inner.center)[np.searchsorted(classes, floors, "right")]
        kept = floors > 0
        bound, *_ = _core.price_patterns(
            floors[kept].astype(np.uint32),
            capacity,
            self.max_sequences,
            counts[kept],
            [duals[kept]],
            duals[kept],
        )
        self.bound = max(self.bound, bound)
        self.report()

    def keep(self, packing: _core.Packing) -> None:
        if packing.packs < self.best.packs:
            self.best = packing

    def report(self) -> None:
        if self.on_progress is not None:
            self.on_progress(self.best.packs, self.bound, _gap(self.best.packs, self.bound))

    def try_everything(self) -> None:
        """Few sequences: packs one by one from the bound on, which is lifted where they are proven too few."""
        if self.demand.sum() > _FEW:
            return
        for packs in range(self.bound, self.best.packs):
            packing = self._empty()
            found, impossible = packing.finish_within(packs, _STEPS)
            if found:
                self.keep(packing)
                return
            if not impossible:
                return
            self.bound = packs + 1

    def solve(self, demand: NDArray[np.int64], method: str) -> Optimum:
        self.iterations += 1
        return self.program.solve(demand, method, self.deadline - time.monotonic())

    def price(self, duals: list[NDArray[np.float64]], judge: NDArray[np.float64]) -> tuple[int, float, Columns]:
        rows = self.program.rows
        bound, fraction, offsets, items, copies = _core.price_patterns(
            self.sizes[rows], self.capacity, self.max_sequences, self.counts[rows], duals, judge
        )
        return bound, fraction, (offsets, items, copies)

    def first_program(self) -> Program:
        """The patterns of first-fit decreasing, and one of each size alone."""
        program = Program(np.arange(len(self.sizes)))
        offsets, rows, copies, _ = self.best.patterns()
        program.add((offsets, rows, copies))
        number = len(self.sizes)
        fits = np.minimum(self.capacity // self.sizes, self.max_sequences).astype(np.int32)
        program.add((np.arange(number + 1), np.arange(number, dtype=np.int32), fits))
        return program

    def generate(self, slack: int) -> Optimum | None:
        """Solves the program, patterns added until none improves it, or the bound is reached.

        A large program is left a pack above the bound, where a round improves it by less than `slack` packs, or, with
        slack, when half of the budget is spent: the rest is for whole packs.
        """
        interior = len(self.sizes) >= _MANY_ROWS
        optimum = None
        before = math.inf
        while not self.is_spent(0.5 if slack else 1.0):
            optimum = self.solve(self.demand, "interior" if interior else "primal")
            # halfway to the duals of the best bound: far fewer rounds (Wentges, 1997)
            middle = (self.center + optimum.duals) / 2
            columns: list[Columns] = []
            for duals in (optimum.duals, middle):
                bound, fraction, found = self.price([duals], optimum.duals)
                columns.append(found)
                if fraction > self.reached:
                    self.reached, self.center = fraction, duals / duals.max()
                self.bound = max(self.bound, bound)
            self.round(optimum)
            self.report()
            fewest = math.ceil(optimum.value - _WHOLE)
            near = interior and fewest <= self.bound + max(slack, 1)
            stalled = near and (slack > 1 or optimum.value > before - (slack or _STALLED))
            before = optimum.value
            enough = stalled or fewest <= self.bound or _gap(optimum.value, self.bound) < self.allowed
            if self.is_done() or enough or not any(len(found[0]) > 1 for found in columns):
                break
            for found in columns:
                self.program.add(found)
            if self.iterations == _SAMPLED:
                number = min(5 * len(self.sizes), 16384)
                self.program.add(
                    _core.sample_patterns(self.sizes, self.capacity, self.max_sequences, self.counts, number)
                )
        if optimum is not None and interior and not self.is_done() and self.best.packs > self.bound + slack:
            optimum = self.solve(self.demand, "corner")  # fewer patterns, so less is lost by rounding down
        return optimum

    def round(self, optimum: Optimum) -> _core.Packing:
        """Whole packs of the optimum, rounded down; a copy with the rest added greedily is kept where it is best."""
        packing = self._empty()
        self.take(packing, np.floor(optimum.packs + _WHOLE))
        self.finish(packing)
        return packing

    def take(self, packing: _core.Packing, packs: NDArray[np.float64]) -> None:
        offsets, rows, copies = self.program.columns()
        used = np.nonzero(packs)[0]
        slots = offsets[used + 1] - offsets[used]
        ends = np.cumsum(slots)
        at = np.arange(ends[-1] if len(ends) else 0) + np.repeat(offsets[used] - (ends - slots), slots)
        packing.take(
            np.concatenate([[0], ends]),
            self.program.rows[rows[at]].astype(np.int32),
            copies[at],
            packs[used].astype(np.int64),
        )

    def finish(self, packing: _core.Packing) -> None:
        greedy = packing.copy()
        greedy.finish()
        self.keep(greedy)
        if greedy.packs - packing.packs <= _FULL and self.best.packs > self.bound:
            full = packing.copy()
            full.finish_full(_FULL_STEPS)
            self.keep(full)

    def dive(self, optimum: Optimum) -> None:
        """Solves what rounding down has left again and again, and takes the patterns that are nearest to a pack."""
        packing = self.round(optimum)
        while not self.is_done() and not self.is_spent():
            left = packing.left
            sequences = int(left.sum())
            if not sequences:
                break
            if sequences <= _FEW:
                for total in range(max(self.bound, packing.packs), self.best.packs):
                    whole = packing.copy()
                    if whole.finish_within(total - packing.packs, _STEPS)[0]:
                        self.keep(whole)
                        break
            left = left[self.program.rows]
            if np.count_nonzero(left) < _SHRUNK * len(left):
                self.program = self.program.restricted(left, optimum.duals)
                left = left[left > 0]
                optimum = self.solve(left, "corner")
            else:
                optimum = self.solve(left, "dual")
            found = self.price([optimum.duals], optimum.duals)[2]
            if len(found[0]) > 1:
                self.program.add(found)
                optimum = self.solve(left, "primal")
            packs = np.floor(optimum.packs + _WHOLE)
            rest = optimum.packs - packs
            order = np.argsort(-rest, kind="stable")[: max(1, int(optimum.value / 10))]
            packs[order[(rest[order] > 0.6) | (np.arange(len(order)) == 0)]] += 1
            self.take(packing, packs)
            self.finish(packing)
            self.report()


def _gap(packs: float, bound: int) -> float:
    return (packs - bound) / bound if bound else 0.0
