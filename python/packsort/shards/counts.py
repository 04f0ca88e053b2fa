"""What became of sequences, by reason, in all and by file of the source."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from packsort.planning.plan import Plan
from packsort.shards.manifest import Counts
from packsort.sources.tokens import Tokens

REASONS = ("dropped", "truncated", "split", "tokens_lost", "turns_left_out")


def count(planned: Plan, tokens: Tokens) -> tuple[Counts, list[dict[str, int]]]:
    """Counts of a plan, and of each file of its source those of `REASONS`.

    Args:
        planned: the plan.
        tokens: what was planned.
    """
    lengths = np.asarray(tokens.lengths.to_numpy(), np.int64)
    limit = planned.max_length // planned.pad_to_multiple_of * planned.pad_to_multiple_of
    split = planned.split_rows
    lost = np.zeros(len(lengths), np.int64)
    over = np.zeros(0, np.int64)
    if tokens.piece_starts is not None:
        over = np.flatnonzero(lengths == 0)
    elif planned.num_dropped or planned.num_truncated:
        over = np.setdiff1d(np.flatnonzero(lengths > limit), split, assume_unique=True)
        lost[over] = lengths[over] - (limit if planned.num_truncated else 0)
    ends = np.cumsum([file.rows for file in tokens.source.files])
    none = np.zeros(len(ends), np.int64)
    found = {
        "dropped": _by_file(over, ends) if planned.num_dropped else none,
        "truncated": _by_file(over, ends) if planned.num_truncated else none,
        "split": _by_file(split, ends),
        "tokens_lost": np.add.reduceat(lost, np.concatenate([[0], ends[:-1]])) if len(over) else none,
        "turns_left_out": none,
    }
    for index, file in enumerate(tokens.by_file):
        found["tokens_lost"] = found["tokens_lost"].copy()
        found["turns_left_out"] = found["turns_left_out"].copy()
        found["tokens_lost"][index] += file["tokens_left_out"]
        found["turns_left_out"][index] += file["turns_left_out"]
    by_file = [{name: int(numbers[index]) for name, numbers in found.items()} for index in range(len(ends))]
    counts = Counts(
        rows=planned.num_rows,
        sequences=planned.num_sequences,
        tokens=planned.num_tokens,
        packs=planned.num_packs,
        lower_bound=planned.lower_bound,
        gap=planned.gap,
        separators=planned.num_separators,
        padding=planned.num_padding,
        **{name: int(numbers.sum()) for name, numbers in found.items()},
    )
    return counts, by_file


def _by_file(rows: NDArray[np.int64], ends: NDArray[Any]) -> NDArray[np.int64]:
    """How many of the rows are in each file, (files,)."""
    return np.bincount(np.searchsorted(ends, rows, side="right"), minlength=len(ends)).astype(np.int64)
