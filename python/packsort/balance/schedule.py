"""Which rank trains on which pack at which step, so that ranks do not wait for each other."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from packsort import _core
from packsort.balance.costs import LLAMA_3_8B, CostModel
from packsort.errors import OptionError
from packsort.planning.plan import Plan

_TAILS = ("pad", "drop")
_ATTENTION = ("document", "pack")
MOST_PACKS_A_STEP = 2**24
WINDOW = 64  # steps within which packs trade places where no number is given
_CHUNK = 1 << 18  # packs whose lengths are listed at a time


@dataclass(frozen=True, eq=False, repr=False)
class Schedule:
    """The packs of each step and rank. Made by `packsort.schedule`.

    Attributes:
        order: packs of the plan: int64 (num_steps, world_size, accumulation), read-only. `order[:, rank]` is what one
            rank trains on.
        costs: cost of each pack of the plan: float64 (num_packs,), read-only, in the cost model's unit.
            `costs[order].sum(2)` is what each rank has to do at each step.
        utilization: mean over steps of (mean / max cost over ranks): the share of time in which ranks work, not wait.
            0 to 1, 1.0 without steps.
        utilization_before: the same of the shuffled order, cut into steps as it is.
        speedup: time of all steps before / after, where a step takes as long as its most loaded rank.
        repeated: packs that are trained on once more, to fill the last step: int64, read-only.
        dropped: packs that are left out: int64, read-only.
        window: packs traded places within so many steps at most.
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
        """Ranks that train together."""
        return int(self.order.shape[1])

    @property
    def accumulation(self) -> int:
        """Packs that a rank trains on in one step."""
        return int(self.order.shape[2])

    @property
    def window_starts(self) -> NDArray[np.int64]:
        """Where windows start: int64 (windows + 1,). Window `w` is steps `window_starts[w]` to `window_starts[w + 1]`.

        Windows are as even as they come, and none is longer than `window`.
        """
        windows = -(-self.num_steps // self.window)
        return np.array([w * self.num_steps // max(windows, 1) for w in range(windows + 1)], np.int64)

    def packs(self, rank: int, step: int) -> NDArray[np.int64]:
        """Packs that `rank` trains on at `step`: int64 (accumulation,).

        Raises:
            IndexError: there is no such rank or step.
        """
        for name, index, end in (("rank", rank, self.world_size), ("step", step, self.num_steps)):
            if not 0 <= index < end:
                raise IndexError(f"{name} {index} is not in the schedule, which has {end}")
        packs: NDArray[np.int64] = self.order[step, rank]
        return packs

    def __len__(self) -> int:
        return self.num_steps

    def __iter__(self) -> Iterator[NDArray[np.int64]]:
        """The steps: int64 (world_size, accumulation) each."""
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
    attention: str = "document",
    accumulation: int = 1,
    window: int = WINDOW,
    tail: str = "pad",
    seed: int | None = 0,
) -> Schedule:
    """Orders packs so that the packs of one step cost alike, and no rank waits for another.

    Packs of equally many tokens are not equal work: attention costs the square of a sequence's length. Packs stay as
    they are; only their order changes. They are shuffled, cut into windows of `window` steps, sorted by cost within
    each, and cut into runs of one pack a rank, so that each run's packs are neighbours by cost. Then the runs of a
    window are shuffled. With `accumulation`, a step takes several runs, and the dearest pack of each goes to the rank
    that has least so far (longest processing time first; Graham, 1969): ranks are level at every pack, as FSDP and ZeRO
    need it, and more so over the step. A window that this would make worse keeps its shuffled order.

    The window trades balance for shuffling. The runs of a window share the spread of its costs, so what ranks still
    wait falls about as 1 / window. The price is that a step's packs are alike: one is of long documents, the next of
    chats. Which packs meet in a window is left to chance, so over a window gradients see the mix they saw before;
    `accumulation` mixes runs within a step. Of mixes of chats and documents up to 32 K tokens, windows of 16 bring
    utilization above 0.98, up to 128 K windows of 32 over 8 ranks and 64, the default, over 64 ranks
    (`benches/schedule.py`). Where cost is all quadratic, 256 do over 8 ranks. A window of 1 moves nothing between
    steps: without `accumulation` it changes nothing.

    Args:
        plan: the plan whose packs are laid out.
        world_size: ranks that train together on different packs (data parallel ones).
        cost: what a sequence costs; operations of Llama 3 8B where it is not given. `CostModel.from_model` counts those
            of another model.
        attention: `document` where a sequence sees itself alone, as in packsort's batches; `pack` where attention runs
            over the whole pack, as without document masks.
        accumulation: packs a rank trains on in one step: gradient accumulation x packs in a batch.
        window: no pack moves further than within a window of so many steps, 1 and more.
        tail: what becomes of packs that do not fill the last step: `pad` repeats the first packs of the shuffled order,
            as PyTorch's `DistributedSampler` does, `drop` leaves out the last ones. Every rank has the same number of
            steps either way.
        seed: shuffles packs, and steps within their window. None keeps the plan's order as what is cut into windows:
            for plans that were made with a seed.

    Returns:
        The schedule; the same at any number of threads.

    Raises:
        OptionError: an option has a value that is not allowed; `tail` is `drop` and there are fewer packs than one step
            takes.

    Example:
        Two documents of 900 tokens and chats of 100. Unbalanced, one rank has a document and the other one chats.

        >>> import packsort
        >>> plan = packsort.plan([900, 900] + [100] * 22, max_length=1000)
        >>> schedule = packsort.schedule(plan, 2, cost=packsort.CostModel(0.0, 1.0), seed=2)
        >>> schedule
        Schedule(4 packs -> 2 steps of 2 ranks, utilization 56.10 -> 100.00 %)
        >>> schedule.packs(rank=0, step=1)
        array([1])
    """
    if not isinstance(plan, Plan):
        raise OptionError(f"plan is a {type(plan).__name__}, allowed is a Plan")
    if not isinstance(cost, CostModel):
        raise OptionError(f"cost is {cost!r}, allowed is a CostModel")
    if attention not in _ATTENTION:
        raise OptionError(f"attention is {attention!r}, allowed are {', '.join(map(repr, _ATTENTION))}")
    options = check_layout(world_size, accumulation, window, tail, seed)
    return schedule_costs(pack_costs(plan, cost, attention), **options)


def pack_costs(plan: Plan, cost: CostModel, attention: str = "document") -> NDArray[np.float64]:
    """The cost of each pack: float64 (num_packs,). For `attention` see `schedule`."""
    costs = np.empty(plan.num_packs)
    for start in range(0, plan.num_packs, _CHUNK):
        stop = min(start + _CHUNK, plan.num_packs)
        offsets, lengths = plan.list_packs(start, stop)[0], plan.list_lengths(start, stop)
        costs[start:stop] = _core.pack_costs(offsets, lengths, cost.linear, cost.quadratic, attention == "pack")
    return costs


def check_layout(world_size: int, accumulation: int, window: int, tail: str, seed: int | None) -> dict[str, Any]:
    """The options of `schedule_costs`, checked."""
    sizes = {"world_size": world_size, "accumulation": accumulation, "window": window}
    checked = {name: _integer(name, value, 1) for name, value in sizes.items()}
    ranks, each = checked["world_size"], checked["accumulation"]
    if ranks * each > MOST_PACKS_A_STEP:
        raise OptionError(
            f"world_size {ranks} x accumulation {each} is {ranks * each} packs a step, allowed are {MOST_PACKS_A_STEP}"
        )
    if tail not in _TAILS:
        raise OptionError(f"tail is {tail!r}, allowed are {', '.join(map(repr, _TAILS))}")
    seed = None if seed is None else _integer("seed", seed, 0)
    if seed is not None and seed >= 2**64:
        raise OptionError(f"seed is {seed}, allowed is 0 to 2**64 - 1")
    return checked | {"tail": tail, "seed": seed}


def schedule_costs(
    costs: NDArray[np.float64], world_size: int, accumulation: int, window: int, tail: str, seed: int | None
) -> Schedule:
    """Lays out packs of given costs, float64 (num_packs,), 0 and more; options are those of `check_layout`."""
    packs, step = len(costs), world_size * accumulation
    if tail == "drop" and 0 < packs < step:
        raise OptionError(
            f"tail is 'drop' and {packs} packs do not fill one step of world_size {world_size} x accumulation "
            f"{accumulation}, allowed are {step} packs and more, or tail 'pad'"
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


def _integer(name: str, value: Any, least: int) -> int:
    if isinstance(value, (bool, np.bool_)) or not hasattr(value, "__index__"):
        raise OptionError(f"{name} is {value!r}, allowed is an integer")
    number = int(value.__index__())
    if number < least:
        raise OptionError(f"{name} is {number}, allowed is {least} and more")
    return number
