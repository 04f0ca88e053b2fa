"""Figures of a method, counted on its packs."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from packsort.balance.schedule import WINDOW, schedule_costs
from packsort.comparison.histograms import Histogram, count_histogram
from packsort.comparison.models import ComparedModel
from packsort.comparison.packs import Packs
from packsort.comparison.results import Method, Spread, StepCosts, Work

_STEPS_SHOWN = 60
_FILL_BINS = 20


def count_method(
    name: str, packs: Packs, limit: int, batch_size: int, world_size: int, model: ComparedModel, base: float | None
) -> Method:
    """Count the figures of a method.

    Args:
        name: Name of the method.
        packs: Its packs.
        limit: `max_length`.
        batch_size: Packs of one rank in a step.
        world_size: Number of ranks.
        model: Costs of a token.
        base: Cost that relative times refer to; None is the cost of these packs with document masks.
    """
    costs = np.asarray(model.linear * packs.width + model.quadratic * packs.squares, np.float64)
    starts = np.arange(0, len(costs), batch_size) if packs.batches is None else packs.batches
    masked = count_steps(costs, starts, world_size, base)
    base = masked.cost if base is None else base
    scheduled = _scheduled(costs, batch_size, world_size, base) if packs.balanced else None
    width = packs.full_width.astype(np.float64 if limit > 2**24 else np.int64)
    pairs = width * width
    whole = count_steps(np.asarray(model.linear * width + model.quadratic * pairs), starts, world_size, base)
    count, tokens, room = len(packs.tokens), int(packs.tokens.sum()), int(packs.room.sum())
    bins = np.minimum(packs.tokens * _FILL_BINS // limit, _FILL_BINS - 1)
    by_share = np.bincount(bins, minlength=_FILL_BINS)
    pieces = packs.pieces
    moved = packs.moved or (None, None)
    return Method(
        name=name,
        rows=count,
        steps=-(-len(starts) // world_size),
        tokens=tokens,
        padding_tokens=room - tokens,
        efficiency=tokens / room,
        lower_bound=packs.lower_bound,
        above_lower_bound=count / packs.lower_bound - 1,
        split=packs.split,
        truncated=packs.truncated,
        dropped=packs.dropped,
        tokens_lost=packs.tokens_lost,
        broken=packs.broken,
        samples=Spread(float(pieces.mean()), float(pieces.std()), int(pieces.min()), int(pieces.max())),
        with_masks=Work(**vars(masked), attention=int(packs.squares.sum()), scheduled=scheduled),
        without_masks=Work(**vars(whole), attention=int(pairs.sum()), scheduled=None),
        fill=Histogram(tuple(i / _FILL_BINS for i in range(_FILL_BINS + 1)), tuple(by_share.tolist())),
        samples_counts=count_histogram(pieces),
        max_displacement=moved[0],
        mean_displacement=moved[1],
    )


def count_steps(
    costs: NDArray[np.float64], batches: NDArray[np.int64], world_size: int, base: float | None
) -> StepCosts:
    """Sum the cost of the steps.

    Args:
        costs: Cost of each pack in training order, (packs,).
        batches: First pack of each batch, as for `step_costs`.
        world_size: Number of ranks.
        base: Cost that the relative time refers to; None is the cost of these steps.
    """
    mean, slowest = step_costs(costs, batches, world_size)
    # A last step in which ranks have no batch says nothing about the others.
    shown = min(_STEPS_SHOWN, max(1, len(batches) // world_size))
    cost = float(slowest.sum())
    return StepCosts(
        cost=cost,
        relative_time=cost / (base or cost) if cost else 1.0,
        utilization=float(mean.sum()) / cost if cost else 1.0,
        mean_costs=tuple(mean[:shown].tolist()),
        slowest_costs=tuple(slowest[:shown].tolist()),
    )


def step_costs(
    costs: NDArray[np.float64], batches: NDArray[np.int64], world_size: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Compute the cost of each step.

    Args:
        costs: Cost of each pack, (packs,).
        batches: First pack of each batch, (batches,). A step takes one batch for rank 0, the next for rank 1, and so
            on.
        world_size: Number of ranks. Ranks for which the last step has no batch cost nothing in it.

    Returns:
        (mean over ranks (steps,), cost of the slowest rank (steps,)).

    Example:
        >>> step_costs(np.array([1.0, 3.0, 2.0, 2.0, 4.0]), np.array([0, 1, 2, 4]), world_size=2)
        (array([2., 4.]), array([3., 4.]))
    """
    ranks = np.add.reduceat(costs, batches)
    firsts = np.arange(0, len(ranks), world_size)
    return np.add.reduceat(ranks, firsts) / world_size, np.maximum.reduceat(ranks, firsts)


def _scheduled(costs: NDArray[np.float64], batch_size: int, world_size: int, base: float) -> StepCosts:
    """Sum the cost of the balanced steps.

    Places of the last step without a pack cost nothing, as they do before balancing, so that the two compare.
    """
    step = batch_size * world_size
    places = np.zeros(-(-len(costs) // step) * step)
    places[: len(costs)] = costs
    # The packs are shuffled already. Without a seed, the schedule balances these very steps.
    balanced = schedule_costs(places, world_size, batch_size, WINDOW, "pad", None)
    return count_steps(places[balanced.order.ravel()], np.arange(0, len(places), batch_size), world_size, base)
