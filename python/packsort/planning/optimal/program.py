"""The linear program of packing: patterns as columns, sizes as rows, solved by HiGHS."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from packsort.errors import OptionError

_NEARLY = 0.02  # patterns worth so much less than a pack are not kept

Columns = tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.int32]]  # offsets (p + 1,), rows, copies


@dataclass(frozen=True)
class Optimum:
    """A solution of the program.

    Attributes:
        packs: how often each pattern, float64 (patterns,).
        duals: what a sequence of each size is worth, float64 (sizes,); not falling, since a longer place serves a
            shorter sequence.
        value: packs altogether.
    """

    packs: NDArray[np.float64]
    duals: NDArray[np.float64]
    value: float


class OutOfTimeError(Exception):
    """A program takes longer than it may."""


class Program:
    """Fewest packs, in fractions, of patterns that are added on the way.

    Minimise packs so that there is a place for each sequence. A place may serve a sequence of the next shorter size:
    these exchanges (the dual-optimal inequalities of Valério de Carvalho, 2005, "Using extra dual cuts to accelerate
    column generation") leave the optimum where it is and halve the number of rounds.

    Args:
        rows: numbers of the distinct sizes, one for each row; patterns name rows.
    """

    def __init__(self, rows: NDArray[np.intp]) -> None:
        highspy, quiet = solver()
        self.rows = rows
        self._rows = sizes = len(rows)
        self._columns = 0
        self._parts: list[Columns] = []
        self._inf = highspy.kHighsInf
        self._solved = highspy.HighsModelStatus.kOptimal
        self._out_of_time = highspy.HighsModelStatus.kTimeLimit
        self._highs = highs = quiet()
        # not parallel, since answers have to be the same on any number of threads; that number itself is the process's,
        # and HiGHS refuses another than the first
        for option, value in (("output_flag", False), ("parallel", "off"), ("random_seed", 0)):
            highs.setOptionValue(option, value)
        empty = np.zeros(0)
        zeros = np.zeros(sizes)
        highs.addRows(sizes, zeros, zeros + self._inf, 0, np.zeros(sizes, np.int32), empty.astype(np.int32), empty)
        places = np.arange(sizes - 1, dtype=np.int32)
        self._insert(0.0, 2 * places, np.stack([places, places + 1], 1).ravel(), np.tile([1.0, -1.0], sizes - 1))

    def _insert(self, cost: float, starts: Any, rows: Any, values: Any) -> None:
        number = len(starts)
        if number:
            zeros = np.zeros(number)
            self._highs.addCols(
                number,
                zeros + cost,
                zeros,
                zeros + self._inf,
                len(rows),
                starts.astype(np.int32),
                rows.astype(np.int32),
                values.astype(np.float64),
            )

    def add(self, columns: Columns) -> None:
        """Adds patterns."""
        offsets, rows, copies = columns
        self._insert(1.0, offsets[:-1], rows, copies)
        self._parts.append(columns)
        self._columns += len(offsets) - 1

    def columns(self) -> Columns:
        """All patterns so far."""
        if len(self._parts) > 1:
            starts = np.cumsum([0] + [part[0][-1] for part in self._parts])
            offsets = [part[0][1:] + start for part, start in zip(self._parts, starts, strict=False)]
            joined = (np.concatenate([part[i] for part in self._parts]) for i in (1, 2))
            self._parts = [(np.concatenate([np.zeros(1, np.int64), *offsets]), *joined)]  # type: ignore[list-item]
        return self._parts[0]

    def restricted(self, left: NDArray[np.int64], duals: NDArray[np.float64]) -> Program:
        """A smaller program for what is left: rows with sequences, patterns that they suffice for and that pay.

        Args:
            left: sequences of each row's size, int64 (rows,).
            duals: what they are worth, float64 (rows,).
        """
        offsets, rows, copies = self.columns()
        worth = np.add.reduceat(duals[rows] * copies, offsets[:-1])
        lacking = np.add.reduceat(left[rows] < copies, offsets[:-1])
        chosen = (worth > 1 - _NEARLY) & (lacking == 0)
        active = np.nonzero(left)[0]
        number = np.zeros(self._rows, np.int32)
        number[active] = np.arange(len(active))
        slots = np.diff(offsets)
        at = np.repeat(chosen, slots)
        smaller = Program(self.rows[active])
        smaller.add((np.concatenate([[0], np.cumsum(slots[chosen])]), number[rows[at]], copies[at]))
        each = np.arange(len(active) + 1)
        smaller.add((each, each[:-1].astype(np.int32), np.ones(len(active), np.int32)))
        return smaller

    def solve(self, demand: NDArray[np.int64], method: str, seconds: float = math.inf) -> Optimum:
        """The optimum for so many sequences of each size.

        Args:
            demand: int64 (sizes,).
            method: `primal` or `dual`, the simplex method from where it stopped, best after patterns were added or
                after demand has changed; `interior`, from scratch, faster on thousands of rows, but not a corner;
                `corner`, from scratch to a corner, where no more patterns than sizes are used.
            seconds: it may take.

        Raises:
            OutOfTimeError: it took longer.
        """
        highs = self._highs
        highs.setOptionValue("solver", "simplex" if method in ("primal", "dual") else "ipm")
        highs.setOptionValue("simplex_strategy", 1 if method == "dual" else 4)
        highs.setOptionValue("run_crossover", "off" if method == "interior" else "on")
        lower = demand.astype(np.float64)
        highs.changeRowsBounds(self._rows, np.arange(self._rows, dtype=np.int32), lower, np.full(self._rows, self._inf))
        highs.setOptionValue("time_limit", highs.getRunTime() + max(seconds, 0.0))
        highs.run()
        if highs.getModelStatus() == self._out_of_time:
            raise OutOfTimeError
        if highs.getModelStatus() != self._solved:  # not seen; numbers that trouble one start may not trouble another
            highs.clearSolver()
            highs.setOptionValue("solver", "simplex")
            highs.run()
        if highs.getModelStatus() != self._solved:
            status = highs.modelStatusToString(highs.getModelStatus())
            raise RuntimeError(f"HiGHS did not solve the program of {self._rows} rows: {status}")
        solution = highs.getSolution()
        duals = np.maximum.accumulate(np.maximum(np.array(solution.row_dual), 0.0))
        packs = np.maximum(np.array(solution.col_value)[self._rows - 1 :], 0.0)
        return Optimum(packs, duals, highs.getInfo().objective_function_value)


@cache
def solver() -> tuple[Any, Any]:
    """The module of HiGHS and the class of a solver that is silent from the start."""
    try:
        import highspy
    except ImportError:
        raise OptionError("strategy 'optimal' needs highspy: pip install 'packsort[optimal]'") from None

    class Quiet(highspy.Highs):
        def enableCallbacks(self) -> None:  # noqa: N802 - highspy's name
            """Does nothing: nobody is called back, and this would print a banner on stdout."""

    return highspy, Quiet
