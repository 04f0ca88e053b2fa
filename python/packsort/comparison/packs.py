"""Packs of padding, random packing and plans, as arrays that `packsort.compare` counts.

Padding at its best sorts sequences by length, longest first, and cuts them into batches. A batch takes the longest
sequence left, and as many of the next ones as fit a budget of tokens if each is padded to that length. The budget is
that of a batch of packs, `batch_size * max_length`, so both take the same memory. Batches are trained on in shuffled
order. Trainers know this as bucketing, or as a sampler by length with a budget of tokens.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from packsort.planning.plan import Plan


@dataclass(frozen=True)
class Packs:
    """Packs of one method, in training order.

    Attributes:
        tokens: Tokens of each pack without padding, (packs,).
        pieces: Sequences, or pieces of sequences, in each pack, (packs,).
        squares: Sum of the squares of the pieces' lengths, (packs,): pairs of tokens under document masks.
        width: Tokens computed for each pack under document masks, (packs,), padding included where there is some.
        full_width: Tokens computed for each pack that is one sequence to attention, (packs,).
        room: Tokens and padding of each pack, as efficiency counts them, (packs,).
        balanced: Whether `packsort.schedule` can order these packs by cost.
        lower_bound: Packs that the method cannot go below.
        batches: First pack of each batch of a rank, (batches,); None where every batch has the same number.
        split: Sequences in more than one pack.
        truncated: Sequences cut at the limit.
        dropped: Sequences left out.
        tokens_lost: Tokens truncated or dropped.
        broken: Multi-turn conversations split or truncated; None where turns are not known.
        moved: Most and mean places between where a sequence stands in the packs and in the input; None where that
            order is not kept.
    """

    tokens: NDArray[np.int64]
    pieces: NDArray[np.int64]
    squares: NDArray[np.int64] | NDArray[np.float64]
    width: NDArray[np.int64]
    full_width: NDArray[np.int64]
    room: NDArray[np.int64]
    balanced: bool
    lower_bound: int
    batches: NDArray[np.int64] | None = None
    split: int = 0
    truncated: int = 0
    dropped: int = 0
    tokens_lost: int = 0
    broken: int | None = None
    moved: tuple[int, float] | None = None


def padded_packs(
    lengths: NDArray[np.int64], planned: Plan, batch_size: int | None, multi_turn: NDArray[np.bool_] | None
) -> Packs:
    """Put one sequence into each pack, truncated at the limit.

    Args:
        lengths: Tokens of the sequences in training order, (n,), without those that are dropped.
        planned: Greedy plan of the same sequences, which truncates the same ones and has the same lower bound.
        batch_size: Consecutive packs that are padded to the longest of them; None pads all to the limit.
        multi_turn: Whether each of `lengths` is multi-turn, (n,), or None.
    """
    kept = np.minimum(lengths, planned.max_length)
    if batch_size is None:
        width = np.full_like(kept, planned.max_length)
    else:
        firsts = np.arange(0, len(kept), batch_size)
        width = np.repeat(np.maximum.reduceat(kept, firsts), np.diff(firsts, append=len(kept)))
    return _padded(kept, width, _facts(lengths, planned, multi_turn))


def best_padded_packs(
    lengths: NDArray[np.int64], planned: Plan, budget: int, seed: int, multi_turn: NDArray[np.bool_] | None
) -> Packs:
    """Put one sequence into each pack, and sequences of like length into each batch.

    Args:
        lengths: Tokens of the sequences, (n,), without those that are dropped.
        planned: Greedy plan of the same sequences, as for `padded_packs`.
        budget: Most tokens of a batch, padding included; at least the limit.
        seed: Seed that shuffles the batches.
        multi_turn: Whether each of `lengths` is multi-turn, (n,), or None.
    """
    kept = _longest_first(np.minimum(lengths, planned.max_length))
    firsts = like_lengths(kept, budget)
    sizes = np.diff(firsts, append=len(kept))
    order = np.random.default_rng([seed, 1]).permutation(len(firsts))  # another than that of the sequences
    firsts, sizes = firsts[order], sizes[order]
    batches = np.cumsum(sizes) - sizes
    width = np.repeat(kept[firsts], sizes)
    kept = kept[np.arange(len(kept)) + np.repeat(firsts - batches, sizes)]
    return _padded(kept, width, {**_facts(lengths, planned, multi_turn), "batches": batches})


def like_lengths(longest_first: NDArray[np.int64], budget: int) -> NDArray[np.int64]:
    """Cut sequences into batches of like length, each padded to its longest, of at most `budget` tokens.

    Args:
        longest_first: Tokens of the sequences in descending order, (n,).
        budget: Most tokens of a batch, padding included; at least the longest sequence.

    Returns:
        First sequence of each batch, (batches,).

    Example:
        >>> like_lengths(np.array([9, 5, 2, 2, 1]), 10)
        array([0, 1, 3])
    """
    firsts, at = [], 0
    while at < len(longest_first):
        firsts.append(at)
        at += budget // int(longest_first[at])
    return np.array(firsts)


def _longest_first(lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    """Sort lengths, by counting them where that is faster."""
    most = int(lengths.max())
    if most > 2**22:
        return np.sort(lengths)[::-1]
    return np.repeat(np.arange(most, -1, -1), np.bincount(lengths)[::-1])


def _facts(lengths: NDArray[np.int64], planned: Plan, multi_turn: NDArray[np.bool_] | None) -> dict[str, Any]:
    """Count what whole sequences lose at the limit, in a plan and in padding alike."""
    return {
        "lower_bound": planned.lower_bound,
        "truncated": planned.num_truncated,
        "dropped": planned.num_dropped,
        "tokens_lost": planned.tokens_lost,
        "broken": None if multi_turn is None else int((multi_turn & (lengths > planned.max_length)).sum()),
    }


def _padded(kept: NDArray[np.int64], width: NDArray[np.int64], facts: dict[str, Any]) -> Packs:
    return Packs(
        tokens=kept,
        pieces=np.ones_like(kept),
        squares=_squares(kept, int(width.max())),
        width=width,
        full_width=width,
        room=width,
        balanced=False,
        **facts,
    )


def random_packs(lengths: NDArray[np.int64], planned: Plan, multi_turn: NDArray[np.bool_] | None) -> Packs:
    """Concatenate the sequences and cut them into packs of exactly the limit; the last pack has the rest.

    Nothing is truncated: a sequence longer than the limit continues in the next pack.

    Args:
        lengths: Tokens of the sequences in training order, (n,), without those that are dropped.
        planned: Greedy plan, which has the limit and the sequences that are dropped.
        multi_turn: Whether each of `lengths` is multi-turn, (n,), or None.
    """
    limit = planned.max_length
    ends = np.cumsum(lengths)
    cuts = np.arange(limit, int(ends[-1]), limit)
    at = np.searchsorted(ends, cuts)  # the sequence with the token before each cut
    within = ends[at] != cuts
    # A cut between two sequences ends a piece that ends anyway; a cut within a sequence makes one piece more.
    piece_ends = np.insert(ends, at[within], cuts[within])
    last_of_pack = at + np.cumsum(within) - within
    starts = np.concatenate([np.zeros(1, np.int64), last_of_pack + 1])
    pieces = np.diff(piece_ends, prepend=0)
    held = at[within]
    split = held[np.diff(held, prepend=-1) > 0]
    tokens = np.diff(np.concatenate([np.zeros(1, np.int64), cuts, ends[-1:]]))
    room = np.full_like(tokens, limit)
    return Packs(
        tokens=tokens,
        pieces=np.diff(starts, append=len(piece_ends)),
        squares=np.add.reduceat(_squares(pieces, limit), starts),
        width=tokens,
        full_width=room,
        room=room,
        balanced=True,
        lower_bound=-(-int(ends[-1]) // limit),
        split=len(split),
        dropped=planned.num_dropped,
        tokens_lost=planned.tokens_lost if planned.num_dropped else 0,
        broken=None if multi_turn is None else int(multi_turn[split].sum()),
    )


def planned_packs(planned: Plan, lengths: NDArray[np.int64], multi_turn: NDArray[np.bool_] | None) -> Packs:
    """Take the packs of a plan in its order.

    Args:
        planned: The plan.
        lengths: Tokens of the sequences, (n,), without those that are dropped.
        multi_turn: Whether each of `lengths` is multi-turn, (n,), or None.
    """
    limit, in_order = planned.max_length, planned.strategy == "in_order"
    starts = planned.pack_offsets[:-1]
    pieces = planned.piece_lengths.astype(np.int64)
    tokens = np.add.reduceat(pieces, starts)
    room = np.full_like(tokens, limit)
    return Packs(
        tokens=tokens,
        pieces=np.diff(planned.pack_offsets),
        squares=np.add.reduceat(_squares(pieces, limit), starts),
        width=tokens,
        full_width=room,
        room=room,
        balanced=not in_order,  # balancing would give up the order
        split=planned.num_split,
        moved=(planned.max_displacement, planned.mean_displacement) if in_order else None,
        **_facts(lengths, planned, multi_turn),
    )


def _squares(lengths: NDArray[np.int64], limit: int) -> NDArray[np.int64] | NDArray[np.float64]:
    """Square lengths as integers unless a sum of them might exceed 64 bits."""
    if limit * int(lengths.sum()) < 2**62:
        return lengths * lengths
    return np.square(lengths.astype(np.float64))
