"""Order packs over ranks and steps so that ranks do not wait for each other.

    shuffle the packs and cut them into windows of `window` steps
    for each window:
        sort its packs by cost and cut them into runs of one pack per rank
        shuffle the runs
        a step takes `accumulation` runs; of each run, the dearest pack goes to the rank with the least cost so far
        keep the shuffled order instead if that is better

Neighbours in sorted order cost nearly the same, so the ranks of a step finish together. The assignment within a step
is longest processing time first (Graham, 1969, "Bounds on multiprocessing timing anomalies"). Cost: a sort of the
packs. The core does the work; this module computes costs, checks options and holds the result.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from packsort import _checks, _core
from packsort._options.choices import Attention, Tail
from packsort.balance.costs import LLAMA_3_8B, CostModel
from packsort.errors import OptionError
from packsort.planning.plan import Plan

MOST_PACKS_A_STEP = 2**24
WINDOW = 64
"""Default number of steps within which packs trade places."""
_CHUNK = 1 << 18  # packs whose lengths are in memory at a time


@dataclass(frozen=True, eq=False, repr=False)
class Schedule:
    """Packs of each step and rank. `packsort.schedule` returns it.

    Attributes:
        order: Pack numbers: int64 (num_steps, world_size, accumulation), read-only. `order[:, rank]` is what one rank
            trains on.
        costs: Cost of each pack of the plan: float64 (num_packs,), read-only, in the unit of the cost model.
            `costs[order].sum(2)` is the work of each rank at each step.
        utilization: Mean over steps of (mean cost / highest cost over ranks): the share of time in which ranks work
            rather than wait. 0 to 1; 1.0 without steps.
        utilization_before: Utilization of the shuffled order, cut into steps without balancing.
        speedup: Time of all steps before balancing / after, where a step takes as long as its most loaded rank.
        repeated: Packs that are trained on once more to fill the last step: int64, read-only.
        dropped: Packs that are left out: int64, read-only.
        window: Most steps of a window.
    """

    order: NDArray[np.int64]
    costs: NDArray[np.float64]
    utilization: float
    utilization_before: float
    speedup: float
    repeated: NDArray[np.int64]
    dropped: NDArray[np.int64]
    window: int

    @property
    def num_steps(self) -> int:
        """Steps of an epoch, the same for every rank."""
        return int(self.order.shape[0])

    @property
    def world_size(self) -> int:
        """Number of ranks."""
        return int(self.order.shape[1])

    @property
    def accumulation(self) -> int:
        """Packs that a rank trains on in one step."""
        return int(self.order.shape[2])

    @property
    def window_starts(self) -> NDArray[np.int64]:
        """First step of each window, and the number of steps at the end: int64 (windows + 1,).

        Windows are as even as possible, and none is longer than `window`.
        """
        windows = -(-self.num_steps // self.window)
        return np.array([w * self.num_steps // max(windows, 1) for w in range(windows + 1)], np.int64)

    def packs(self, rank: int, step: int) -> NDArray[np.int64]:
        """Return the packs that `rank` trains on at `step`: int64 (accumulation,), read-only.

        Raises:
            IndexError: There is no such rank or step.
        """
        for name, index, end in (("rank", rank, self.world_size), ("step", step, self.num_steps)):
            if not 0 <= index < end:
                raise IndexError(f"{name} {index} is not in the schedule, which has {end}")
        packs: NDArray[np.int64] = self.order[step, rank]
        return packs

    def __len__(self) -> int:
        return self.num_steps

    def __iter__(self) -> Iterator[NDArray[np.int64]]:
        """Iterate over the steps: int64 (world_size, accumulation) each."""
        return iter(self.order)

    def __repr__(self) -> str:
        each = f" x {self.accumulation}" if self.accumulation > 1 else ""
        tails = (("repeated", self.repeated), ("dropped", self.dropped))
        tail = "".join(f", {len(packs):,} {name}" for name, packs in tails if len(packs))
        return (
            f"Schedule({len(self.costs):,} packs -> {self.num_steps:,} steps of {self.world_size:,} ranks{each}, "
            f"utilization {100 * self.utilization_before:.2f} -> {100 * self.utilization:.2f} %{tail})"
        )


def schedule(
    plan: Plan,
    world_size: int,
    *,
    cost: CostModel = LLAMA_3_8B,
    attention: Attention = "document",
    accumulation: int = 1,
    window: int = WINDOW,
    tail: Tail = "pad",
    seed: int | None = 0,
) -> Schedule:
    """Order packs so that the packs of one step cost alike and no rank waits for another.

    Packs with equally many tokens are not equal work, because attention costs the square of a sequence's length. Packs
    stay as they are; only their order changes. They are shuffled and cut into windows of `window` steps. Within each
    window they are sorted by cost, cut into runs of one pack per rank, and the runs are shuffled. With `accumulation`,
    a step takes several runs, and the dearest pack of each goes to the rank with the least cost so far. Ranks are then
    level at every pack, as FSDP and ZeRO need it, and more so over the step. A window that this would make worse keeps
    its shuffled order.

    The window trades balance for shuffling. What ranks still wait falls about as 1 / window. In return, the packs of a
    step are alike: one step has long documents, the next one chats. Which packs meet in a window is left to chance, so
    gradients see the usual mix over a window, and `accumulation` mixes runs within a step. On mixes of chats and
    documents, utilization is above 0.98 with a window of 16 up to 32 K tokens, of 32 up to 128 K tokens over 8 ranks,
    and of 64, the default, over 64 ranks (`benches/schedule.py`). Where the cost is all quadratic, 8 ranks need 256. A
    window of 1 moves nothing between steps; without `accumulation` it changes nothing.

    Args:
        plan: Plan whose packs are ordered.
        world_size: Ranks that train on different packs (data-parallel ranks).
        cost: Cost of a sequence. The default counts the operations of Llama 3 8B; `CostModel.from_config` counts those
            of another model.
        attention: `document` where a token attends to its own sequence, as in packsort's batches; `pack` where it
            attends to the whole pack.
        accumulation: Packs that a rank trains on in one step: gradient accumulation x packs of a batch.
        window: Steps within which packs trade places, at least 1.
        tail: Treatment of packs that do not fill the last step. `pad` repeats the first packs of the shuffled order, as
            PyTorch's `DistributedSampler` does. `drop` leaves out the last ones. Every rank has the same number of
            steps either way.
        seed: Seed that shuffles the packs, and the runs of a window. None keeps the plan's order as the one that is cut
            into windows, for plans that a seed has shuffled already.

    Returns:
        The schedule, the same at any number of threads.

    Raises:
        OptionError: An option has a value that is not allowed, or `tail` is `drop` and the plan has fewer packs than a
            step takes.

    Example:
        Two documents of 900 tokens, and chats of 100. Unbalanced, one rank has a document while the other has chats.

        >>> import packsort
        >>> plan = packsort.plan([900, 900] + [100] * 22, max_length=1000)
        >>> schedule = packsort.schedule(plan, 2, cost=packsort.CostModel(0.0, 1.0))
        >>> schedule
        Schedule(4 packs -> 2 steps of 2 ranks, utilization 56.10 -> 100.00 %)
        >>> schedule.packs(rank=0, step=1)
        array([0])
    """
    if not isinstance(plan, Plan):
        raise OptionError(f"plan must be a Plan, got {type(plan).__name__}")
    if not isinstance(cost, CostModel):
        raise OptionError(f"cost must be a CostModel, got {cost!r}")
    _checks.one_of("attention", attention, get_args(Attention))
    options = schedule_options(world_size, accumulation, window, tail, seed)
    return schedule_costs(pack_costs(plan, cost, attention), **options)


def pack_costs(plan: Plan, cost: CostModel, attention: str = "document") -> NDArray[np.float64]:
    """Compute the cost of each pack.

    Args:
        plan: The plan.
        cost: Cost of a sequence.
        attention: `document` or `pack`, as for `schedule`.

    Returns:
        float64 (num_packs,).
    """
    costs = np.empty(plan.num_packs)
    for start in range(0, plan.num_packs, _CHUNK):
        stop = min(start + _CHUNK, plan.num_packs)
        offsets, lengths = plan.list_packs(start, stop)[0], plan.list_lengths(start, stop)
        costs[start:stop] = _core.pack_costs(offsets, lengths, cost.linear, cost.quadratic, attention == "pack")
    return costs


def schedule_options(world_size: Any, accumulation: Any, window: Any, tail: Any, seed: Any) -> dict[str, Any]:
    """Check the options of `schedule_costs`.

    Raises:
        OptionError: A value is not allowed.
    """
    ranks = _checks.integer("world_size", world_size, 1)
    each = _checks.integer("accumulation", accumulation, 1)
    if ranks * each > MOST_PACKS_A_STEP:
        raise OptionError(
            f"world_size x accumulation must be at most {MOST_PACKS_A_STEP} packs per step, got {ranks} x {each}"
        )
    return {
        "world_size": ranks,
        "accumulation": each,
        "window": _checks.integer("window", window, 1),
        "tail": _checks.one_of("tail", tail, get_args(Tail)),
        "seed": None if seed is None else _checks.seed("seed", seed),
    }


def schedule_costs(
    costs: NDArray[np.float64], world_size: int, accumulation: int, window: int, tail: str, seed: int | None
) -> Schedule:
    """Order packs by their costs.

    Args:
        costs: Cost of each pack, at least 0: float64 (num_packs,).
        world_size: Number of ranks, checked by `schedule_options` like all that follow.
        accumulation: Packs of one rank in a step.
        window: Steps within which packs trade places.
        tail: `pad` or `drop`.
        seed: Seed of the shuffle, or None.

    Raises:
        OptionError: `tail` is `drop` and there are fewer packs than a step takes.
    """
    packs, step = len(costs), world_size * accumulation
    if tail == "drop" and 0 < packs < step:
        raise OptionError(
            f"tail='drop' needs at least one full step, {step} packs (world_size {world_size} x accumulation "
            f"{accumulation}), got {packs}: pass tail='pad'"
        )
    window = min(window, max(packs, 1))
    order, rest, (before, time_before), (after, time) = _core.schedule(
        costs, world_size, accumulation, window, tail, seed
    )
    steps = len(order) // step
    for array in (order, costs, rest):
        array.flags.writeable = False
    return Schedule(
        order=order.reshape(steps, world_size, accumulation),
        costs=costs,
        utilization=after / steps if steps else 1.0,
        utilization_before=before / steps if steps else 1.0,
        speedup=time_before / time if time else 1.0,
        repeated=rest if tail == "pad" else rest[:0],
        dropped=rest if tail == "drop" else rest[:0],
        window=window,
    )
