"""A method's figures, from its rows."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from packsort.balance.schedule import WINDOW, schedule_costs
from packsort.comparison.histograms import Histogram, count_histogram
from packsort.comparison.models import Model
from packsort.comparison.results import Method, Spread, Steps, Work
from packsort.comparison.rows import Rows

_STEPS_SHOWN = 60
_FILL_BINS = 20


def method_of(
    name: str, rows: Rows, limit: int, batch_size: int, world_size: int, model: Model, base: float | None
) -> Method:
    """Counts what a method's rows come to.

    Args:
        name: the method's.
        rows: what it makes.
        limit: max_length.
        batch_size: rows on one rank in a step.
        world_size: ranks.
        model: what tokens cost.
        base: cost that relative times are shares of; None for the cost of these rows with document masks.
    """
    costs = np.asarray(model.linear * rows.width + model.quadratic * rows.squares, np.float64)
    masked = steps_of(costs, batch_size, world_size, base)
    base = masked.cost if base is None else base
    scheduled = _scheduled(costs, batch_size, world_size, base) if rows.packed else None
    width = rows.full_width.astype(np.float64 if limit > 2**24 else np.int64)
    pairs = width * width
    whole = steps_of(np.asarray(model.linear * width + model.quadratic * pairs), batch_size, world_size, base)
    count, tokens, room = len(rows.tokens), int(rows.tokens.sum()), int(rows.room.sum())
    filled = np.minimum(rows.tokens * _FILL_BINS // limit, _FILL_BINS - 1)
    fill = np.bincount(filled, minlength=_FILL_BINS)
    return Method(
        name=name,
        rows=count,
        steps=-(-count // (batch_size * world_size)),
        tokens=tokens,
        padding_tokens=room - tokens,
        efficiency=tokens / room,
        lower_bound=rows.lower_bound,
        above_lower_bound=count / rows.lower_bound - 1,
        split=rows.split,
        truncated=rows.truncated,
        dropped=rows.dropped,
        tokens_lost=rows.tokens_lost,
        broken=rows.broken,
        samples=Spread(
            float(rows.pieces.mean()), float(rows.pieces.std()), int(rows.pieces.min()), int(rows.pieces.max())
        ),
        with_masks=Work(**vars(masked), attention=int(rows.squares.sum()), scheduled=scheduled),
        without_masks=Work(**vars(whole), attention=int(pairs.sum()), scheduled=None),
        fill=Histogram(tuple(i / _FILL_BINS for i in range(_FILL_BINS + 1)), tuple(fill.tolist())),
        samples_counts=count_histogram(rows.pieces),
    )


def steps_of(costs: NDArray[np.float64], batch_size: int, world_size: int, base: float | None) -> Steps:
    """What steps cost.

    Args:
        costs: of each row, (rows,), in the order in which steps take them, as `step_costs` does.
        batch_size: rows on one rank.
        world_size: ranks.
        base: cost that the relative time is a share of; None for their own.
    """
    mean, slowest = step_costs(costs, batch_size, world_size)
    # The last step, which is hardly ever full, says nothing about the others.
    shown = min(_STEPS_SHOWN, max(1, len(costs) // (batch_size * world_size)))
    cost = float(slowest.sum())
    return Steps(
        cost=cost,
        relative_time=cost / (base or cost) if cost else 1.0,
        utilization=float(mean.sum()) / cost if cost else 1.0,
        mean_costs=tuple(mean[:shown].tolist()),
        slowest_costs=tuple(slowest[:shown].tolist()),
    )


def step_costs(
    costs: NDArray[np.float64], batch_size: int, world_size: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Cost of each step: the mean over ranks, and the slowest rank's.

    Args:
        costs: of each row, (rows,); a step takes `batch_size` consecutive rows for rank 0, then for rank 1, and so on.
        batch_size: rows on one rank.
        world_size: ranks; those for which the last step has no row cost nothing in it.

    Returns:
        (mean (steps,), slowest (steps,)).

    Example:
        >>> step_costs(np.array([1.0, 3.0, 2.0, 2.0, 4.0]), batch_size=1, world_size=2)
        (array([2., 2., 2.]), array([3., 2., 4.]))
    """
    ranks = np.add.reduceat(costs, np.arange(0, len(costs), batch_size))
    firsts = np.arange(0, len(ranks), world_size)
    return np.add.reduceat(ranks, firsts) / world_size, np.maximum.reduceat(ranks, firsts)


def _scheduled(costs: NDArray[np.float64], batch_size: int, world_size: int, base: float) -> Steps:
    """Steps after balancing. Where the last step has no row it costs nothing, as before it, so the two compare."""
    step = batch_size * world_size
    places = np.zeros(-(-len(costs) // step) * step)
    places[: len(costs)] = costs
    # Rows are shuffled already: without a seed these very steps are balanced.
    options: dict[str, Any] = {"window": WINDOW, "tail": "pad", "seed": None}
    made = schedule_costs(places, world_size, batch_size, **options)
    return steps_of(places[made.order.ravel()], batch_size, world_size, base)
