"""Lengths, interleaved timing and tables for the benchmarks."""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

MAX_LENGTH = 8192


@dataclass(frozen=True)
class Figure:
    """One way of doing a case's work.

    Attributes:
        case: such as `plan/1e6/lognormal`.
        way: who does it.
        milliseconds: the median.
        fastest: the shortest, in milliseconds.
        per_second: millions of units of work (sequences, tokens) a second, by the median.
        ratio: how many times as long as ours, by the medians; below 1 is faster than ours.
        required: what the ratio has to be at least.
        allowed: what it may be at most.
        note: what else was seen.
    """

    case: str
    way: str
    milliseconds: float
    fastest: float
    per_second: float
    ratio: float
    required: float | None = None
    allowed: float | None = None
    note: str = ""

    @property
    def met(self) -> bool:
        """Whether the requirement holds."""
        return (self.required or 0) <= self.ratio <= (self.allowed or float("inf"))


@dataclass(frozen=True)
class Way:
    """One way of doing a case's work; the first of a case is the one that the others are compared with."""

    name: str
    run: Callable[[], Any]
    required: float | None = None
    note: str = ""
    allowed: float | None = None


def lognormal(count: int, median: float, seed: int = 0) -> NDArray[np.int32]:
    """Lengths as chats have them: lognormal with sigma 1, 1 to 8192: int32 (count,)."""
    normal = np.random.default_rng(seed).standard_normal(count, np.float32)
    return np.clip(np.exp(normal) * np.float32(median), 1, MAX_LENGTH).astype(np.int32)


def measure(case: str, work: int, ways: list[Way], rounds: int, seconds: float = 0.1) -> list[Figure]:
    """Times ways in turn, so that what else the machine does meets all of them.

    In its turn a way runs for `seconds`, once at least. Results are freed untimed; the first round warms up.
    """
    times: list[list[float]] = [[] for _ in ways]
    for number in range(rounds + 1):
        for way, found in zip(ways, times, strict=True):
            turn: list[float] = []
            while not turn or sum(turn) < seconds:
                start = time.perf_counter()
                result = way.run()
                turn.append(time.perf_counter() - start)
                del result
            if number:
                found += [1e3 * seconds for seconds in turn]
    medians = [statistics.median(found) for found in times]
    return [
        Figure(
            case=case,
            way=way.name,
            milliseconds=median,
            fastest=min(found),
            per_second=work / median / 1e3,
            ratio=median / medians[0],
            required=way.required,
            allowed=way.allowed,
            note=way.note,
        )
        for way, found, median in zip(ways, times, medians, strict=True)
    ]


def show(figures: list[Figure], unit: str) -> None:
    """Prints a table."""
    table = Table("case", "way")
    for name in ("median ms", "fastest ms", f"M {unit}/s", "x ours", "required"):
        table.add_column(name, justify="right")
    table.add_column("")
    for f in figures:
        limits = [f"{sign} {limit:g}" for sign, limit in ((">=", f.required), ("<=", f.allowed)) if limit is not None]
        needed = f"{' '.join(limits)} {'yes' if f.met else 'NO'}" if limits else ""
        numbers = (f"{f.milliseconds:,.2f}", f"{f.fastest:,.2f}", f"{f.per_second:,.1f}", f"{f.ratio:.2f}")
        table.add_row(f.case, f.way, *numbers, needed, f.note)
    Console(width=140).print(table)


def arguments(description: str | None) -> argparse.ArgumentParser:
    """A command line with what all benchmarks take."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    parser.add_argument("--rounds", type=int, help="how often each way is timed")
    return parser


def write_json(figures: list[Figure], path: Path | None) -> None:
    """Writes figures as a list of objects."""
    if path is not None:
        path.write_text(json.dumps([asdict(figure) | {"met": figure.met} for figure in figures], indent=1) + "\n")
