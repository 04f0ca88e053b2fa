"""Figures of the steps of a run, and what they come to."""

from __future__ import annotations

from dataclasses import astuple, dataclass, field
from math import comb
from typing import Any

import numpy as np
from numpy.typing import NDArray

RANKS = 8
POINTS = 25
"""Entries of a curve."""


@dataclass(frozen=True)
class Step:
    """Figures of one step.

    Attributes:
        seconds: Time, the making of its batch included.
        samples: Conversations, or pieces of them.
        real_tokens: Tokens that are not padding.
        tokens: Tokens computed.
        loss: Loss before the step; None where no token of the batch carries loss.
        cost: Cost of the batch, in the unit of `packsort.CostModel`.
    """

    seconds: float
    samples: int
    real_tokens: int
    tokens: int
    loss: float | None
    cost: float


@dataclass
class Steps:
    """Steps of a run so far."""

    done: list[Step] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.done)

    def to_list(self) -> list[tuple[Any, ...]]:
        """Return the figures as plain numbers, for a checkpoint."""
        return [astuple(step) for step in self.done]

    @classmethod
    def from_list(cls, figures: list[tuple[Any, ...]]) -> Steps:
        """Return the steps of `to_list`."""
        return cls([Step(*one) for one in figures])

    def total(self, name: str) -> float:
        """Return the sum of a figure over all steps."""
        return float(sum(getattr(step, name) for step in self.done))

    def seconds(self) -> float:
        """Return the time of all steps. The first, which also sets up the device, counts as the mean of the others."""
        times = [step.seconds for step in self.done]
        return sum(times[1:]) / (len(times) - 1) * len(times) if len(times) > 1 else sum(times)

    def without_loss(self) -> int:
        """Return the number of steps that trained on nothing."""
        return sum(step.loss is None for step in self.done)

    def curve(self) -> list[tuple[int, float | None]]:
        """Return the loss by real tokens seen: the mean loss of each of some stretches of equally many steps.

        Steps without loss do not count; a stretch of such steps has None.
        """
        real = np.cumsum([step.real_tokens for step in self.done])
        found: list[tuple[int, float | None]] = []
        for steps in np.array_split(np.arange(len(self.done)), min(POINTS, len(self.done))):
            losses = [loss for at in steps if (loss := self.done[at].loss) is not None]
            found.append((int(real[steps[-1]]), float(np.mean(losses)) if losses else None))
        return found

    def waiting(self) -> float | None:
        """Return how many times longer a step lasts where each of 8 ranks takes one of these batches at random.

        It is the expected highest cost of 8 different batches over the mean cost.
        """
        return None if len(self.done) < RANKS else expected_waiting(np.array([step.cost for step in self.done]))


def expected_waiting(costs: NDArray[np.float64], ranks: int = RANKS) -> float:
    """Return the expected highest of `ranks` different costs over their mean.

    Example:
        >>> expected_waiting(np.array([1.0, 3.0]), ranks=2)
        1.5
    """
    ordered = np.sort(costs)
    ways = [comb(place, ranks - 1) for place in range(len(ordered))]  # of choosing the others among the lower ones
    total = comb(len(ordered), ranks)
    return float(sum(cost * (way / total) for cost, way in zip(ordered, ways, strict=True)) / ordered.mean())
