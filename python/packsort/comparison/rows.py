"""Rows that padding, random packing and greedy packing make, as arrays: what `packsort.compare` counts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from packsort.planning.plan import Plan

Numbers = NDArray[np.int64] | NDArray[np.float64]


@dataclass(frozen=True)
class Rows:
    """Training rows of one method, in the order in which steps take them.

    Attributes:
        tokens: tokens of each row without padding, (rows,).
        pieces: sequences, or parts of such, in each row, (rows,).
        squares: sum of the squares of the pieces' lengths, (rows,): pairs of tokens under document masks.
        width: what is computed of each row, padding with it, (rows,), where sequences do not see each other.
        full_width: the same where a row is one sequence to attention, (rows,).
        room: tokens of each row plus padding, as efficiency counts it, (rows,).
        packed: whether rows are packs, which can be put into another order by their cost.
        lower_bound: rows that are needed at least, by what the method may do.
        split: sequences that lie in more than one row.
        truncated: sequences of which the end is left out.
        dropped: sequences that are left out.
        tokens_lost: tokens left out with them.
        broken: multi-turn conversations split or truncated; None where turns are not known.
    """

    tokens: NDArray[np.int64]
    pieces: NDArray[np.int64]
    squares: Numbers
    width: NDArray[np.int64]
    full_width: NDArray[np.int64]
    room: NDArray[np.int64]
    packed: bool
    lower_bound: int
    split: int = 0
    truncated: int = 0
    dropped: int = 0
    tokens_lost: int = 0
    broken: int | None = None


def padded_rows(
    lengths: NDArray[np.int64], planned: Plan, batch_size: int, multi_turn: NDArray[np.bool_] | None
) -> tuple[Rows, Rows]:
    """One sequence a row, cut at the limit; padded to the longest of each batch, and to the limit.

    Args:
        lengths: of all sequences in training order, (n,), those that are dropped left out.
        planned: the greedy plan of the same sequences: what is cut and the lower bound are the same.
        batch_size: consecutive rows that are padded together.
        multi_turn: which of `lengths` are multi-turn, (n,).
    """
    limit = planned.max_length
    kept = np.minimum(lengths, limit)
    firsts = np.arange(0, len(kept), batch_size)
    longest = np.maximum.reduceat(kept, firsts)
    width = np.repeat(longest, np.diff(firsts, append=len(kept)))
    fixed = np.full_like(kept, limit)
    squares = _squares(kept, limit)
    facts: dict[str, Any] = {
        "tokens": kept,
        "pieces": np.ones_like(kept),
        "packed": False,
        "squares": squares,
        "lower_bound": planned.lower_bound,
        "truncated": planned.num_truncated,
        "dropped": planned.num_dropped,
        "tokens_lost": planned.tokens_lost,
        "broken": None if multi_turn is None else int((multi_turn & (lengths > limit)).sum()),
    }
    return (
        Rows(**facts, width=width, full_width=width, room=width),
        Rows(**facts, width=fixed, full_width=fixed, room=fixed),
    )


def random_rows(lengths: NDArray[np.int64], planned: Plan, multi_turn: NDArray[np.bool_] | None) -> Rows:
    """Sequences one after another, cut into rows of exactly the limit; the last row is what is left.

    Nothing is truncated, for a sequence longer than the limit goes on in the next row.

    Args:
        lengths: in training order, (n,), those that are dropped left out.
        planned: the greedy plan, which knows the limit and what was dropped.
        multi_turn: which of `lengths` are multi-turn, (n,).
    """
    limit = planned.max_length
    ends = np.cumsum(lengths)
    cuts = np.arange(limit, int(ends[-1]), limit)
    at = np.searchsorted(ends, cuts)  # the sequence that holds the token before each cut
    within = ends[at] != cuts
    # Every cut is the end of a piece: of a sequence's last where it falls between two, of an extra one elsewhere.
    piece_ends = np.insert(ends, at[within], cuts[within])
    last_of_row = at + np.cumsum(within) - within
    starts = np.concatenate([np.zeros(1, np.int64), last_of_row + 1])
    pieces = np.diff(piece_ends, prepend=0)
    held = at[within]
    split = held[np.diff(held, prepend=-1) > 0]
    tokens = np.diff(np.concatenate([np.zeros(1, np.int64), cuts, ends[-1:]]))
    room = np.full_like(tokens, limit)
    return Rows(
        tokens=tokens,
        pieces=np.diff(starts, append=len(piece_ends)),
        squares=np.add.reduceat(_squares(pieces, limit), starts),
        width=tokens,
        full_width=room,
        room=room,
        packed=True,
        lower_bound=-(-int(ends[-1]) // limit),
        split=len(split),
        dropped=planned.num_dropped,
        tokens_lost=planned.tokens_lost if planned.num_dropped else 0,
        broken=None if multi_turn is None else int(multi_turn[split].sum()),
    )


def greedy_rows(planned: Plan, lengths: NDArray[np.int64], multi_turn: NDArray[np.bool_] | None) -> Rows:
    """Packs of whole sequences, in the order of the plan."""
    limit = planned.max_length
    starts = planned.pack_offsets[:-1]
    pieces = planned.piece_lengths.astype(np.int64)
    tokens = np.add.reduceat(pieces, starts)
    room = np.full_like(tokens, limit)
    return Rows(
        tokens=tokens,
        pieces=np.diff(planned.pack_offsets),
        squares=np.add.reduceat(_squares(pieces, limit), starts),
        width=tokens,
        full_width=room,
        room=room,
        packed=True,
        lower_bound=planned.lower_bound,
        truncated=planned.num_truncated,
        dropped=planned.num_dropped,
        tokens_lost=planned.tokens_lost,
        broken=None if multi_turn is None else int((multi_turn & (lengths > limit)).sum()),
    )


def _squares(lengths: NDArray[np.int64], limit: int) -> Numbers:
    """Squares that can be summed: as integers where no sum is beyond 64 bits."""
    if limit * int(lengths.sum()) < 2**62:
        return lengths * lengths
    return np.square(lengths.astype(np.float64))
