"""Fewest packs of a histogram of sizes, with proof, by column generation (Gilmore and Gomory, 1961 and 1963).

    start with the patterns of first-fit decreasing, and one pattern for each size alone
    repeat:
        solve the linear program: fewest packs, in fractions, of these patterns
        its duals are the worth of a sequence of each size
        find the pattern of most worth (a knapsack problem); divided by its worth, the duals prove a lower bound
        round the solution down to whole packs and pack the sequences that are left by first-fit decreasing
    until packs meet the bound, or no pattern is worth more than one pack
    dive: fix the patterns nearest to a whole number of packs, solve for the sequences left, and repeat

What makes this fast on histograms of lengths:

- Duals halfway between those of the program and those of the best bound need far fewer rounds (Wentges, 1997).
- Sequences may take places of the next longer size (Valério de Carvalho, 2005; see `program`).
- Large programs are solved by an interior point method, and stop a pack above the bound: the last pack of a large
  program can take longer than all others, and may not exist.
- More than 5,000 distinct sizes are gathered into classes.
- Up to 40 sequences are packed by trying everything.

The number of sequences does not matter. The cost is that of the linear programs: it grows with the number of distinct
sizes, and takes from milliseconds to seconds.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from packsort import _core
from packsort.planning.optimal.program import Optimum, OutOfTimeError, Patterns, Program

Progress = Callable[[int, int, float], object]
"""Called with the packs, their lower bound, and the gap between them as a fraction."""

_MANY_ROWS = 2000  # sizes from which the interior point method is faster than simplex
_MOST_ROWS = 5000  # sizes above which they are gathered into classes
_CLASSES = 4096  # most classes
_FEW = 40  # sequences up to which everything is tried
_EXACT_STEPS = 200_000  # steps of a search that tries everything
_FULL = 100_000  # left packs up to which each is filled as full as possible
_FULL_STEPS = 2000  # steps of the search for each of them
_COARSE = 400  # sizes of a coarse program, whose duals begin that of packs with a cap on sequences
_LAYERS = 32  # caps above this are not part of the knapsack
_SAMPLED = 3  # iteration after which random full patterns are added
_SHRUNK = 0.8  # a program of which fewer rows than this share are in use is built anew
_DIVE_SHARE = 10  # a dive fixes up to this fraction (1 / 10) of the packs at a time
_DIVE_LEAST = 0.6  # and only patterns with a fraction above this
_NEGLECTED = 1e-6  # share of the packs of a large program that does not matter, unless `gap` says otherwise
_STALLED = 0.05  # packs: a round that improves a program by less is not worth another one
_WHOLE = 1e-6  # distance to a whole number that counts as none


@dataclass(frozen=True)
class Solution:
    """Packs as patterns, with the proven bound.

    Attributes:
        offsets: Start of each pattern in `items`: int64 (patterns + 1,).
        items: Index of a size: int32 (slots,).
        copies: Sequences of that size in each pack of the pattern: int32 (slots,).
        repeats: Packs of each pattern: int64 (patterns,).
        packs: Number of packs.
        bound: Number of packs that no solution can go below.
        iterations: Number of linear programs solved.
    """

    offsets: NDArray[np.int64]
    items: NDArray[np.int32]
    copies: NDArray[np.int32]
    repeats: NDArray[np.int64]
    packs: int
    bound: int
    iterations: int

    @property
    def gap(self) -> float:
        """Packs above the bound, as a fraction of it."""
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
    """Find the fewest packs for a histogram of sizes, and prove a bound.

    The result never has more packs than first-fit decreasing. The same arguments give the same patterns at any number
    of threads, unless `seconds` ends the search.

    Args:
        sizes: Distinct sizes, ascending, 1 to `capacity`: uint32 (n,).
        counts: Sequences of each size, at least 1: uint64 (n,).
        capacity: Room of a pack.
        max_sequences: Most sequences of a pack; None is any number.
        lower_bound: Bound that is known already.
        gap: Stop when packs are at most this fraction above the bound. None stops within a millionth of the packs on
            large programs, so that the time does not grow with the number of sequences.
        max_iterations: Stop after solving this many linear programs.
        seconds: Stop after this time.
        on_progress: Called after each linear program.

    Example:
        Two packs of 4 + 3 + 3; first-fit decreasing puts 4 + 4 together and needs three.

        >>> solution = solve(np.array([3, 4], np.uint32), np.array([4, 2], np.uint64), 10)
        >>> solution.packs, solution.bound
        (2, 2)
    """
    neglected = _NEGLECTED if gap is None else 0.0
    budget = _Budget(max_iterations, seconds)
    search = _Search(sizes, counts, capacity, max_sequences or capacity, budget, gap or 0.0, neglected, on_progress)
    search.raise_bound(lower_bound)
    search.run()
    return search.solution()


class _Budget:
    """Linear programs and seconds that a search may take.

    Attributes:
        iterations: Linear programs solved so far.
    """

    def __init__(self, max_iterations: int | None, seconds: float | None) -> None:
        self.iterations = 0
        self._most = math.inf if max_iterations is None else max_iterations
        self._seconds = math.inf if seconds is None else seconds
        self._deadline = time.monotonic() + self._seconds

    @property
    def seconds_left(self) -> float:
        return self._deadline - time.monotonic()

    def is_spent(self, share: float = 1.0) -> bool:
        """Return whether this share of the budget is spent."""
        kept = (1 - share) * self._seconds if self._seconds < math.inf else 0.0
        return self.iterations >= self._most * share or self.seconds_left <= kept


class _Search:
    """Search for the fewest packs of one histogram.

    Args:
        sizes, counts, capacity, max_sequences: As for `solve`.
        budget: Limits of the search.
        gap: Fraction above the bound at which the search stops.
        neglected: Share of the packs of a large program that does not matter.
        on_progress: Called after each linear program.
    """

    def __init__(
        self,
        sizes: NDArray[np.uint32],
        counts: NDArray[np.uint64],
        capacity: int,
        max_sequences: int,
        budget: _Budget,
        gap: float,
        neglected: float,
        on_progress: Progress | None,
    ) -> None:
        self._sizes, self._counts, self._capacity, self._max_sequences = sizes, counts, capacity, max_sequences
        self._demand = counts.astype(np.int64)
        self._budget, self._gap, self._neglected, self._on_progress = budget, gap, neglected, on_progress
        tokens, sequences = (int(n) for n in (sizes.astype(np.int64) @ self._demand, self._demand.sum()))
        self._bound = max(-(-tokens // capacity), -(-sequences // max_sequences))
        self._fraction = 0.0  # the best bound of any duals, before it is rounded up
        self._center = sizes / capacity  # the duals that prove it
        self._best = self._no_packs()
        self._best.finish()

    def raise_bound(self, bound: int) -> None:
        """Raise the bound, and improve the packs of first-fit decreasing unless they meet it."""
        self._bound = max(self._bound, bound)
        self._finish(self._no_packs())

    def solution(self) -> Solution:
        """Return the best packs found."""
        return Solution(*self._best.patterns(), self._best.packs, self._bound, self._budget.iterations)

    def run(self) -> None:
        """Search until packs meet the bound or the budget is spent."""
        if self._is_done():
            return
        if len(self._sizes) > _MOST_ROWS:
            self._run_in_classes()
            return
        self._try_everything()
        if self._is_done():
            return
        first = self._first_program()
        with contextlib.suppress(OutOfTimeError):
            self._begin_coarse(first)
        if self._is_done():
            return
        large = len(self._sizes) >= _MANY_ROWS
        # Of a large program, search first for all packs but a few that do not matter, then for all.
        with contextlib.suppress(OutOfTimeError):
            for slack in (max(1, int(self._neglected * self._best.packs)), 0) if large else (0,):
                optimum = self._generate(first, slack)
                if self._is_within(slack) or optimum is None:
                    break
                self._dive(first, optimum)
                if self._is_within(slack) or self._budget.is_spent():
                    break

    def _run_in_classes(self) -> None:
        """Search with sizes gathered into classes.

        Packs come from a search in which all sequences of a class are as long as its longest. The room that this leaves
        is filled afterwards. The bound comes from its duals, with all sequences as long as the shortest of their class.
        """
        unit = -(-self._capacity // _CLASSES)
        capacity = self._capacity // unit
        lengths = self._sizes.astype(np.int64)
        # A sequence too long for the largest class shares a pack with no other anyway.
        rounded_up = np.minimum(-(-lengths // unit), capacity)
        classes, first, of = np.unique(rounded_up, return_index=True, return_inverse=True)
        counts = np.bincount(of, self._demand).astype(np.uint64)
        inner = _Search(
            classes.astype(np.uint32),
            counts,
            capacity,
            self._max_sequences,
            self._budget,
            self._gap,
            self._neglected,
            lambda *_: self._report(),
        )
        inner.raise_bound(0)
        inner.run()
        offsets, items, copies, repeats = inner._best.patterns()
        longest = np.append(first[1:], len(self._sizes)) - 1
        packing = self._no_packs()
        packing.take(offsets, longest[items].astype(np.int32), copies, repeats)
        self._finish(packing)

        rounded_down, of = np.unique(lengths // unit, return_inverse=True)
        counts = np.bincount(of, self._demand).astype(np.uint64)
        duals = np.append(0.0, inner._center)[np.searchsorted(classes, rounded_down, "right")]
        kept = rounded_down > 0
        bound, *_ = _core.price_patterns(
            rounded_down[kept].astype(np.uint32),
            capacity,
            self._max_sequences,
            counts[kept],
            [duals[kept]],
            duals[kept],
        )
        self._bound = max(self._bound, bound)
        self._report()

    def _begin_coarse(self, program: Program) -> None:
        """Begin with the duals of a program of few sizes, where a cap makes each pricing long.

        The knapsack of a cap has a layer for each sequence of a pack. With sizes rounded up to a coarse unit it takes a
        hundredth of the time, and the duals prove nearly the bound of all sizes.
        """
        unit = -(-self._capacity // _COARSE)
        capped = self._max_sequences <= min(_LAYERS, self._capacity // int(self._sizes[0]) - 1)
        if not capped or unit < 2 or len(self._sizes) <= _COARSE:
            return
        capacity = self._capacity // unit
        rounded_up = np.minimum(-(-self._sizes.astype(np.int64) // unit), capacity)
        classes, of = np.unique(rounded_up, return_inverse=True)
        counts = np.bincount(of, self._demand).astype(np.uint64)
        inner = _Search(classes.astype(np.uint32), counts, capacity, self._max_sequences, self._budget, 0.0, 0.0, None)
        inner._generate(inner._first_program(), 0)
        duals = np.interp(self._sizes, classes * unit, inner._center)
        bound, fraction, patterns = self._price(program, duals, duals)
        self._bound = max(self._bound, bound)
        if fraction > self._fraction:
            self._fraction, self._center = fraction, duals / duals.max()
        program.add(patterns)
        self._report()

    def _try_everything(self) -> None:
        """Pack few sequences exactly: try each number of packs from the bound on, and raise the bound if it fails."""
        if self._demand.sum() > _FEW:
            return
        for packs in range(self._bound, self._best.packs):
            packing = self._no_packs()
            found, impossible = packing.finish_within(packs, _EXACT_STEPS)
            if found:
                self._keep(packing)
                return
            if not impossible:
                return
            self._bound = packs + 1

    def _first_program(self) -> Program:
        """Build the program with the patterns of first-fit decreasing, and one pattern for each size alone."""
        program = Program(np.arange(len(self._sizes)))
        offsets, items, copies, _ = self._best.patterns()
        program.add((offsets, items, copies))
        number = len(self._sizes)
        alone = np.minimum(self._capacity // self._sizes, self._max_sequences).astype(np.int32)
        program.add((np.arange(number + 1), np.arange(number, dtype=np.int32), alone))
        return program

    def _generate(self, program: Program, slack: int) -> Optimum | None:
        """Solve a program and add patterns until none improves it or the bound is reached.

        A large program is left one pack above the bound once a round improves it by less than `slack` packs. With
        slack, half of the budget is kept for whole packs.

        Returns:
            The last optimum; None if the budget was spent before.
        """
        interior = len(self._sizes) >= _MANY_ROWS
        optimum = None
        before = math.inf
        while not self._budget.is_spent(0.5 if slack else 1.0):
            optimum = self._solve(program, self._demand, "interior" if interior else "primal")
            middle = (self._center + optimum.duals) / 2
            found: list[Patterns] = []
            for duals in (optimum.duals, middle):
                bound, fraction, patterns = self._price(program, duals, optimum.duals)
                found.append(patterns)
                if fraction > self._fraction:
                    self._fraction, self._center = fraction, duals / duals.max()
                self._bound = max(self._bound, bound)
            self._round(program, optimum)
            self._report()
            fewest = math.ceil(optimum.value - _WHOLE)
            near = interior and fewest <= self._bound + max(slack, 1)
            stalled = near and (slack > 1 or optimum.value > before - (slack or _STALLED))
            before = optimum.value
            enough = stalled or fewest <= self._bound or _gap(optimum.value, self._bound) < self._gap
            if self._is_done() or enough or not any(len(patterns[0]) > 1 for patterns in found):
                break
            for patterns in found:
                program.add(patterns)
            if self._budget.iterations == _SAMPLED:
                number = min(5 * len(self._sizes), 16384)
                program.add(
                    _core.sample_patterns(self._sizes, self._capacity, self._max_sequences, self._counts, number)
                )
        if optimum is not None and interior and not self._is_within(slack):
            # A corner uses fewer patterns, so less is lost by rounding down.
            optimum = self._solve(program, self._demand, "corner")
        return optimum

    def _dive(self, program: Program, optimum: Optimum) -> None:
        """Fix the patterns nearest to a whole number of packs, solve for the sequences left, and repeat."""
        packing = self._round(program, optimum)
        while not self._is_done() and not self._budget.is_spent():
            left = packing.left
            sequences = int(left.sum())
            if not sequences:
                break
            if sequences <= _FEW:
                for total in range(max(self._bound, packing.packs), self._best.packs):
                    whole = packing.copy()
                    if whole.finish_within(total - packing.packs, _EXACT_STEPS)[0]:
                        self._keep(whole)
                        break
            left = left[program.items]
            if np.count_nonzero(left) < _SHRUNK * len(left):
                program = program.restricted(left, optimum.duals)
                left = left[left > 0]
                optimum = self._solve(program, left, "corner")
            else:
                optimum = self._solve(program, left, "dual")
            found = self._price(program, optimum.duals, optimum.duals)[2]
            if len(found[0]) > 1:
                program.add(found)
                optimum = self._solve(program, left, "primal")
            packs = np.floor(optimum.packs + _WHOLE)
            rest = optimum.packs - packs
            nearest = np.argsort(-rest, kind="stable")[: max(1, int(optimum.value / _DIVE_SHARE))]
            packs[nearest[(rest[nearest] > _DIVE_LEAST) | (np.arange(len(nearest)) == 0)]] += 1
            self._take(program, packing, packs)
            self._finish(packing)
            self._report()

    def _solve(self, program: Program, demand: NDArray[np.int64], method: str) -> Optimum:
        self._budget.iterations += 1
        return program.solve(demand, method, self._budget.seconds_left)

    def _price(
        self, program: Program, duals: NDArray[np.float64], judge: NDArray[np.float64]
    ) -> tuple[int, float, Patterns]:
        """Find patterns worth more than one pack.

        Args:
            program: The program whose sizes may be in patterns.
            duals: Worth of a sequence of each size that patterns are searched with.
            judge: Worth that decides which of them are kept.

        Returns:
            (bound that `duals` prove, the same before it is rounded up, patterns).
        """
        rows = program.items
        bound, fraction, offsets, items, copies = _core.price_patterns(
            self._sizes[rows], self._capacity, self._max_sequences, self._counts[rows], [duals], judge
        )
        return bound, fraction, (offsets, items, copies)

    def _round(self, program: Program, optimum: Optimum) -> _core.Packing:
        """Round an optimum down to whole packs; completed greedily, they are kept if they are the best."""
        packing = self._no_packs()
        self._take(program, packing, np.floor(optimum.packs + _WHOLE))
        self._finish(packing)
        return packing

    def _take(self, program: Program, packing: _core.Packing, packs: NDArray[np.float64]) -> None:
        """Add packs of the patterns of a program to a packing.

        Args:
            program: The program.
            packing: The packing to change.
            packs: Whole packs of each pattern, float64 (patterns,).
        """
        offsets, items, copies = program.patterns()
        used = np.nonzero(packs)[0]
        slots = offsets[used + 1] - offsets[used]
        ends = np.cumsum(slots)
        at = np.arange(ends[-1] if len(ends) else 0) + np.repeat(offsets[used] - (ends - slots), slots)
        packing.take(
            np.concatenate([[0], ends]),
            program.items[items[at]].astype(np.int32),
            copies[at],
            packs[used].astype(np.int64),
        )

    def _finish(self, packing: _core.Packing) -> None:
        """Complete a copy of a packing by first-fit decreasing, and one with packs as full as possible if few are left.

        Either is kept if it is the best so far.
        """
        greedy = packing.copy()
        greedy.finish()
        self._keep(greedy)
        if greedy.packs - packing.packs <= _FULL and self._best.packs > self._bound:
            full = packing.copy()
            full.finish_full(_FULL_STEPS)
            self._keep(full)

    def _keep(self, packing: _core.Packing) -> None:
        if packing.packs < self._best.packs:
            self._best = packing

    def _is_done(self) -> bool:
        """Return whether the best packs are as near to the bound as was asked."""
        return self._best.packs <= self._bound or _gap(self._best.packs, self._bound) <= self._gap

    def _is_within(self, slack: int) -> bool:
        return self._is_done() or self._best.packs <= self._bound + slack

    def _no_packs(self) -> _core.Packing:
        return _core.Packing(self._sizes, self._capacity, self._max_sequences, self._counts)

    def _report(self) -> None:
        if self._on_progress is not None:
            self._on_progress(self._best.packs, self._bound, _gap(self._best.packs, self._bound))


def _gap(packs: float, bound: int) -> float:
    return (packs - bound) / bound if bound else 0.0
