"""Linear program of packing, solved by HiGHS.

Each pattern is a column, each size a row:

    minimise    packs of all patterns, in fractions
    such that   the patterns have a place for every sequence of each size

A place may also serve a sequence of the next shorter size. These exchanges are columns that cost nothing. They are the
dual-optimal inequalities of Valério de Carvalho (2005), "Using extra dual cuts to accelerate column generation": they
leave the optimum unchanged and halve the number of rounds.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from packsort._install import pip_install
from packsort.errors import OptionError

_NEARLY = 0.02  # a smaller program leaves out patterns whose worth is this much below one pack

Patterns = tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.int32]]
"""Offsets (patterns + 1,), item of each slot (slots,), copies of it (slots,)."""


@dataclass(frozen=True)
class Optimum:
    """Solution of the program.

    Attributes:
        packs: Packs of each pattern, in fractions: float64 (patterns,).
        duals: Worth of a sequence of each size: float64 (rows,). It never falls with the size, because a longer place
            serves a shorter sequence.
        value: Packs of all patterns.
    """

    packs: NDArray[np.float64]
    duals: NDArray[np.float64]
    value: float


class OutOfTimeError(Exception):
    """A program took longer than it may."""


class Program:
    """Linear program to which patterns are added.

    Args:
        items: Index of the size of each row, (rows,). Patterns number the rows.
    """

    def __init__(self, items: NDArray[np.intp]) -> None:
        highspy, quiet = solver()
        self.items = items
        self._num_rows = rows = len(items)
        self._parts: list[Patterns] = []
        self._inf = highspy.kHighsInf
        self._solved = highspy.HighsModelStatus.kOptimal
        self._out_of_time = highspy.HighsModelStatus.kTimeLimit
        self._highs = highs = quiet()
        # One thread gives the same answers everywhere. The number of threads cannot be set instead: it belongs to the
        # process, and HiGHS refuses another one than the first.
        for option, value in (("output_flag", False), ("parallel", "off"), ("random_seed", 0)):
            highs.setOptionValue(option, value)
        empty = np.zeros(0)
        zeros = np.zeros(rows)
        highs.addRows(rows, zeros, zeros + self._inf, 0, np.zeros(rows, np.int32), empty.astype(np.int32), empty)
        shorter = np.arange(rows - 1, dtype=np.int32)
        exchanged = np.stack([shorter, shorter + 1], 1).ravel()
        self._add_columns(0.0, 2 * shorter, exchanged, np.tile([1.0, -1.0], rows - 1))

    def add(self, patterns: Patterns) -> None:
        """Add patterns."""
        offsets, rows, copies = patterns
        self._add_columns(1.0, offsets[:-1], rows, copies)
        self._parts.append(patterns)

    def patterns(self) -> Patterns:
        """Return all patterns added so far."""
        if len(self._parts) > 1:
            starts = np.cumsum([0] + [part[0][-1] for part in self._parts])
            offsets = [part[0][1:] + start for part, start in zip(self._parts, starts, strict=False)]
            rows = np.concatenate([part[1] for part in self._parts])
            copies = np.concatenate([part[2] for part in self._parts])
            self._parts = [(np.concatenate([np.zeros(1, np.int64), *offsets]), rows, copies)]
        return self._parts[0]

    def restricted(self, left: NDArray[np.int64], duals: NDArray[np.float64]) -> Program:
        """Build a smaller program for the sequences that are left.

        It has the rows that still have sequences, one pattern for each of them alone, and the patterns that these
        sequences suffice for and whose worth is nearly one pack.

        Args:
            left: Sequences left of each row: int64 (rows,).
            duals: Their worth: float64 (rows,).
        """
        offsets, rows, copies = self.patterns()
        worth = np.add.reduceat(duals[rows] * copies, offsets[:-1])
        lacking = np.add.reduceat(left[rows] < copies, offsets[:-1])
        chosen = (worth > 1 - _NEARLY) & (lacking == 0)
        active = np.nonzero(left)[0]
        row = np.zeros(self._num_rows, np.int32)
        row[active] = np.arange(len(active))
        slots = np.diff(offsets)
        at = np.repeat(chosen, slots)
        smaller = Program(self.items[active])
        smaller.add((np.concatenate([[0], np.cumsum(slots[chosen])]), row[rows[at]], copies[at]))
        each = np.arange(len(active) + 1)
        smaller.add((each, each[:-1].astype(np.int32), np.ones(len(active), np.int32)))
        return smaller

    def solve(self, demand: NDArray[np.int64], method: str, seconds: float = math.inf) -> Optimum:
        """Solve the program.

        Args:
            demand: Sequences of each row: int64 (rows,).
            method: `primal` or `dual`: the simplex method from where it stopped, best after patterns were added or
                after the demand has changed. `interior`: from scratch, faster on thousands of rows, but not a corner.
                `corner`: from scratch to a corner, which uses no more patterns than there are sizes.
            seconds: Most seconds that it may take.

        Raises:
            OutOfTimeError: It took longer.
        """
        highs = self._highs
        highs.setOptionValue("solver", "simplex" if method in ("primal", "dual") else "ipm")
        highs.setOptionValue("simplex_strategy", 1 if method == "dual" else 4)
        highs.setOptionValue("run_crossover", "off" if method == "interior" else "on")
        rows = np.arange(self._num_rows, dtype=np.int32)
        highs.changeRowsBounds(self._num_rows, rows, demand.astype(np.float64), np.full(self._num_rows, self._inf))
        highs.setOptionValue("time_limit", highs.getRunTime() + max(seconds, 0.0))
        highs.run()
        if highs.getModelStatus() == self._out_of_time:
            raise OutOfTimeError
        if highs.getModelStatus() != self._solved:
            # Never seen. Numbers that trouble a warm start may not trouble a cold one.
            highs.clearSolver()
            highs.setOptionValue("solver", "simplex")
            highs.run()
        if highs.getModelStatus() != self._solved:
            status = highs.modelStatusToString(highs.getModelStatus())
            raise RuntimeError(f"HiGHS did not solve the program of {self._num_rows} rows: {status}")
        solution = highs.getSolution()
        duals = np.maximum.accumulate(np.maximum(np.array(solution.row_dual), 0.0))
        packs = np.maximum(np.array(solution.col_value)[self._num_rows - 1 :], 0.0)  # after the exchanges
        return Optimum(packs, duals, highs.getInfo().objective_function_value)

    def _add_columns(self, cost: float, starts: Any, rows: Any, values: Any) -> None:
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


@cache
def solver() -> tuple[Any, Any]:
    """Import HiGHS.

    Returns:
        (module `highspy`, class of a solver that prints nothing).

    Raises:
        OptionError: `highspy` is not installed.
    """
    try:
        import highspy
    except ImportError:
        raise OptionError(f"strategy='optimal' needs highspy: {pip_install('packsort[optimal]')}") from None

    class Quiet(highspy.Highs):
        def enableCallbacks(self) -> None:  # noqa: N802 - highspy's name
            """Do nothing: there are no callbacks, and enabling them would print a banner on stdout."""

    return highspy, Quiet
