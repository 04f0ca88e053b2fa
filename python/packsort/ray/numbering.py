"""Numbers of the sequences of each stretch: the counts of lengths before it, and the fingerprint of the plan."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from packsort.planning.counted import CountedPlan
from packsort.planning.length_counts import CountsOfLengths
from packsort.ray.remote import one_thread, task


def summed(counts: Sequence[CountsOfLengths]) -> CountsOfLengths:
    """Add up counts of lengths."""
    lengths = np.concatenate([one[0] for one in counts])
    numbers = np.concatenate([one[1] for one in counts])
    found, places = np.unique(lengths, return_inverse=True)
    total = np.zeros(len(found), np.uint64)
    np.add.at(total, places, numbers)
    return found, total


def counts_before(counts: Sequence[CountsOfLengths], limit: int, *, truncates: bool) -> Iterator[CountsOfLengths]:
    """Yield for each stretch how many sequences of its lengths precede it.

    Args:
        counts: Counts of each stretch.
        limit: Most tokens of a sequence.
        truncates: Whether longer sequences keep that many tokens, so that they count as having them. If not, they are
            left out.
    """
    kept = [_planned(*one, np.uint64(limit), truncates) for one in counts]
    known = np.unique(np.concatenate([lengths for lengths, _ in kept]))
    running = np.zeros(len(known), np.uint64)
    for lengths, numbers in kept:
        places = np.searchsorted(known, lengths)
        yield lengths, running[places]
        running[places] += numbers


def _planned(
    lengths: NDArray[np.uint64], numbers: NDArray[np.uint64], limit: np.uint64, truncates: bool
) -> CountsOfLengths:
    if truncates:
        return summed([(np.minimum(lengths, limit), numbers)])
    short = lengths <= limit
    return lengths[short], numbers[short]


def lengths_of(stored: NDArray[np.uint8], rows: int) -> NDArray[np.int64]:
    """Return the lengths of a stretch, as its survey keeps them."""
    return stored[: 8 * rows].view(np.int64)


def _fingerprint(
    plan: CountedPlan,
    before: Sequence[CountsOfLengths],
    rows: Sequence[int],
    ids_a_pass: int,
    *lengths: NDArray[np.uint8],
) -> str:
    """Return the fingerprint of the plan of all lengths.

    It is a digest over the row of each sequence in the order of their numbers. Rows are found some numbers at a time,
    at 8 bytes each. The lengths, 8 bytes a sequence as well, are in shared memory.

    Args:
        plan: The plan of the counts.
        before: Counts of the sequences before each stretch.
        rows: Rows of each stretch.
        ids_a_pass: The most numbers at a time.
        *lengths: Lengths of each stretch, as its survey keeps them.
    """
    one_thread()
    kind = np.uint32 if plan.num_rows < 2**32 else np.int64

    def chunks() -> Iterator[NDArray[Any]]:
        for start in range(0, plan.num_sequences, ids_a_pass):
            ids = np.empty(min(ids_a_pass, plan.num_sequences - start), kind)
            first = 0
            for stored, counts, count in zip(lengths, before, rows, strict=True):
                numbers = plan.numbers_after(lengths_of(stored, count), counts) - start
                inside = np.flatnonzero((numbers >= 0) & (numbers < len(ids)))
                ids[numbers[inside]] = inside + first
                first += count
            yield ids

    return plan.fingerprint_of_rows(chunks(), kind)


fingerprint = task(_fingerprint)
