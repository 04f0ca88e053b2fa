"""Count what happened to the sequences of a source, in total and by file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from packsort._arrow import to_numpy
from packsort.planning.plan import Plan
from packsort.shards.manifest import Counts, SourceFileInfo
from packsort.sources.source import Source
from packsort.sources.tokens.rows import TokenRows


def count_sequences(planned: Plan, tokens: TokenRows) -> tuple[Counts, tuple[SourceFileInfo, ...]]:
    """Count the sequences of a plan that were dropped, truncated and split, and the padding that was left out.

    Those without loss are not counted, because lengths do not tell them.

    Args:
        planned: The plan.
        tokens: The sequences that were planned.

    Returns:
        The counts of the whole source, and the record of each of its files.
    """
    return count_rows(
        planned,
        tokens.source,
        to_numpy(tokens.lengths).astype(np.int64),
        padding=tokens.uses.padding,
        by_file=tokens.by_file,
        split_turns=tokens.piece_starts is not None,
    )


def count_rows(
    planned: Plan,
    source: Source,
    lengths: NDArray[np.int64],
    *,
    padding: NDArray[np.int64] | None,
    without_loss: tuple[int, int] = (0, 0),
    by_file: Sequence[Mapping[str, int]] = (),
    split_turns: bool = False,
) -> tuple[Counts, tuple[SourceFileInfo, ...]]:
    """Count as `count_sequences`, where no tokens are at hand.

    Args:
        planned: The plan.
        source: The rows that were planned.
        lengths: Tokens of each: int64 (rows,).
        padding: Tokens of padding left out of each row: int64 (rows,); None where there are none.
        without_loss: Sequences in packs, and packs, in which no token carries loss.
        by_file: For each file, what cutting between turns left out.
        split_turns: Whether conversations were cut between turns.

    Returns:
        The counts of the whole source, and the record of each of its files.
    """
    limit = planned.max_length // planned.pad_to_multiple_of * planned.pad_to_multiple_of
    split = planned.split_rows
    lost = np.zeros(len(lengths), np.int64)
    overlong = np.zeros(0, np.int64)  # rows that were dropped or truncated
    if split_turns:
        overlong = np.flatnonzero(lengths == 0)  # conversations that lost all turns
    elif planned.num_dropped or planned.num_truncated:
        overlong = np.setdiff1d(np.flatnonzero(lengths > limit), split, assume_unique=True)
        lost[overlong] = lengths[overlong] - (limit if planned.num_truncated else 0)
    ends = np.cumsum([file.rows for file in source.files])
    none = np.zeros(len(ends), np.int64)
    by_reason = {
        "dropped": _per_file(overlong, ends) if planned.num_dropped else none.copy(),
        "truncated": _per_file(overlong, ends) if planned.num_truncated else none,
        "split": _per_file(split, ends),
        "tokens_lost": np.bincount(_files_of(overlong, ends), lost[overlong], len(ends)).astype(np.int64),
        "turns_left_out": none.copy(),
        "empty": _per_file(np.flatnonzero(lengths == 0), ends) if planned.num_empty else none.copy(),
        "padded": none,
        "padding_left_out": none,
    }
    if padding is not None:
        padded = np.flatnonzero(padding)
        by_reason["padded"] = _per_file(padded, ends)
        sums = np.bincount(_files_of(padded, ends), padding[padded], len(ends))
        by_reason["padding_left_out"] = sums.astype(np.int64)
    for index, cut in enumerate(by_file):
        # Of the rows without tokens, those that lost all their turns were too long.
        by_reason["empty"][index] = by_reason["dropped"][index] - cut["rows_left_out"]
        by_reason["dropped"][index] = cut["rows_left_out"]
        by_reason["tokens_lost"][index] += cut["tokens_left_out"]
        by_reason["turns_left_out"][index] += cut["turns_left_out"]
    files = tuple(
        SourceFileInfo(
            path=file.path,
            rows=file.rows,
            bytes=file.bytes,
            of_split=file.split,
            **{reason: int(numbers[index]) for reason, numbers in by_reason.items()},
        )
        for index, file in enumerate(source.files)
    )
    counts = Counts(
        rows=planned.num_rows,
        sequences=planned.num_sequences,
        tokens=planned.num_tokens,
        packs=planned.num_packs,
        lower_bound=planned.lower_bound,
        gap=planned.gap,
        separators=planned.num_separators,
        padding=planned.num_padding,
        without_loss=without_loss[0],
        packs_without_loss=without_loss[1],
        max_displacement=planned.max_displacement if planned.strategy == "in_order" else None,
        mean_displacement=planned.mean_displacement if planned.strategy == "in_order" else None,
        **{reason: int(numbers.sum()) for reason, numbers in by_reason.items()},
    )
    return counts, files


def _per_file(rows: NDArray[np.int64], ends: NDArray[Any]) -> NDArray[np.int64]:
    """Count rows by file, (files,)."""
    return np.bincount(_files_of(rows, ends), minlength=len(ends)).astype(np.int64)


def _files_of(rows: NDArray[np.int64], ends: NDArray[Any]) -> NDArray[np.int64]:
    """Return the index of each row's file, (rows,)."""
    return np.searchsorted(ends, rows, side="right")
