"""Fewest packs of a plan, one group after another."""

from __future__ import annotations

import time
from typing import Any

from packsort import _core
from packsort.planning.optimal.search import Progress, solve


def fewest_packs(
    planned: _core.Plan,
    *,
    max_sequences: int | None,
    gap: float | None = None,
    max_iterations: int | None = None,
    max_seconds: float | None = None,
    on_progress: Progress | None = None,
) -> _core.Plan:
    """Pack the sequences of a plan into the fewest packs, never into more than before.

    Groups with the largest gap come first.

    Args:
        planned: Plan with strategy `optimal`, packed by first-fit decreasing so far.
        max_sequences: Most sequences of a pack; None is any number.
        gap: Stop when packs are at most this fraction above the bound; None as for `solve`.
        max_iterations: Stop a group after solving this many linear programs.
        max_seconds: Stop after this time.
        on_progress: Called whenever packs or the bound improve.
    """
    deadline = None if max_seconds is None else time.monotonic() + max_seconds
    sizes = [planned.sizes(group) for group in range(planned.num_groups)]
    packs = planned.num_packs
    bound = sum(planned.group_packs(group) if known is None else known[3] for group, known in enumerate(sizes))
    found: list[Any] = [None] * len(sizes)

    def report(more_packs: int, more_bound: int) -> None:
        if on_progress is not None:
            now, least = packs + more_packs, bound + more_bound
            on_progress(now, least, (now - least) / least if least else 0.0)

    def gain(group: int) -> int:
        known = sizes[group]
        return 0 if known is None else known[2] - known[3]

    report(0, 0)
    for group in sorted(range(len(sizes)), key=gain, reverse=True):
        known = sizes[group]
        if known is None or packs - bound <= (gap or 0.0) * bound:
            break
        left = None if deadline is None else deadline - time.monotonic()
        if left is not None and left <= 0:
            break
        distinct, counts, greedy, least = known
        solution = solve(
            distinct,
            counts,
            planned.capacity,
            max_sequences=max_sequences,
            lower_bound=least,
            gap=gap,
            max_iterations=max_iterations,
            seconds=left,
            on_progress=lambda now, proven, _, greedy=greedy, least=least: report(now - greedy, proven - least),  # type: ignore[misc]
        )
        bound += solution.bound - least
        if solution.packs < greedy:
            packs += solution.packs - greedy
            found[group] = solution.offsets, solution.items, solution.copies, solution.repeats
        report(0, 0)
    return planned.with_packs(found, bound)
