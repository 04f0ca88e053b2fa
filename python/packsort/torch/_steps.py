"""Which packs are trained on at which step by which rank.

The packs of an epoch are in one line, cut into global steps, cut into batches. Batch `k` of rank `r` is batch
`k * world_size + r` of the line, so a run that goes on with other ranks or another accumulation reads the same line.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch.distributed as dist
from numpy.typing import NDArray

from packsort.balance.costs import LLAMA_3_8B, CostModel
from packsort.balance.schedule import check_layout, schedule_costs
from packsort.errors import OptionError
from packsort.torch._packs import EpochPacks

TAILS = ("pad", "drop")
_WINDOW = 64  # steps; what `packsort.schedule` recommends


@dataclass(frozen=True)
class World:
    """How a global step is cut.

    Attributes:
        rank: this process.
        world_size: processes that train together on different packs.
        batch_size: packs of a batch.
        accumulation: batches a rank trains on in one global step.
        tail: `pad` or `drop`.
    """

    rank: int
    world_size: int
    batch_size: int
    accumulation: int
    tail: str

    @property
    def packs_a_round(self) -> int:
        """Packs of one batch of every rank."""
        return self.world_size * self.batch_size

    @property
    def packs_a_step(self) -> int:
        """Packs of a global step."""
        return self.packs_a_round * self.accumulation

    def num_steps(self, packs: int) -> int:
        """Global steps of an epoch."""
        return packs // self.packs_a_step if self.tail == "drop" else -(-packs // self.packs_a_step)

    def num_batches(self, packs: int) -> int:
        """Batches of an epoch: the same for every rank."""
        return self.num_steps(packs) * self.accumulation

    def __str__(self) -> str:
        return f"world_size {self.world_size} x batch_size {self.batch_size} x accumulation {self.accumulation}"


@dataclass(frozen=True)
class Balance:
    """What an epoch is balanced for; kept by a run that goes on with other ranks.

    Attributes:
        cost: of a sequence.
        attention: `document` or `pack`.
        world_size: ranks whose costs are levelled.
        batch_size: packs of a batch.
    """

    cost: CostModel
    attention: str
    world_size: int
    batch_size: int


def find_world(
    rank: int | None, world_size: int | None, batch_size: int, accumulation: int, tail: str, packs: int, name: str
) -> World:
    """The world, checked; ranks come from `torch.distributed` where it is initialised.

    Args:
        rank: or None.
        world_size: or None.
        batch_size: packs of a batch.
        accumulation: batches of a step.
        tail: `pad` or `drop`.
        packs: how many there are.
        name: of where they are, for messages.

    Raises:
        OptionError: one has a value that is not allowed, or they clash.
    """
    known = dist.is_available() and dist.is_initialized()
    if world_size is None:
        world_size = dist.get_world_size() if known else 1
    if rank is None:
        rank = dist.get_rank() if known else 0
    if not _is_integer(batch_size) or not 1 <= batch_size <= packs:
        raise OptionError(f"batch_size is {batch_size!r}, allowed is 1 to {packs}, the number of packs in {name}")
    for option, value in (("world_size", world_size), ("accumulation", accumulation)):
        if not _is_integer(value) or value < 1:
            raise OptionError(f"{option} is {value!r}, allowed is 1 and more")
    if not _is_integer(rank) or not 0 <= rank < world_size:
        raise OptionError(f"rank is {rank!r}, allowed is 0 to {world_size - 1}, as world_size is {world_size}")
    if tail not in TAILS:
        raise OptionError(f"tail is {tail!r}, allowed are {', '.join(map(repr, TAILS))}")
    world = World(int(rank), int(world_size), int(batch_size), int(accumulation), tail)
    if not world.num_steps(packs):
        raise OptionError(
            f"tail is 'drop' and the {packs} packs in {name} do not fill one step of {world}, allowed are "
            f"{world.packs_a_step} packs and more, or tail 'pad'"
        )
    return world


def check_alone(world_size: int | None) -> None:
    """Raises an OptionError where several ranks would each search for the fewest packs."""
    if world_size is None and dist.is_available() and dist.is_initialized():
        world_size = dist.get_world_size()
    if world_size is not None and world_size != 1:
        raise OptionError(
            f"strategy 'optimal' and world_size {world_size} clash: its search calculates with floating-point numbers, "
            "so ranks on different machines could plan differently; plan once, save that, and give each rank "
            "`plan=`, the file"
        )


def find_balance(balance: bool | CostModel, attention: str, world: World) -> Balance | None:
    """What to balance for; None for nothing.

    Raises:
        OptionError: `balance` is neither a bool nor a CostModel.
    """
    if balance is False:
        return None
    cost = LLAMA_3_8B if balance is True else balance
    if not isinstance(cost, CostModel):
        raise OptionError(f"balance is {balance!r}, allowed are True, False and a CostModel")
    return Balance(cost, attention, world.world_size, world.batch_size)


class Steps:
    """The packs of an epoch, in line.

    Attributes:
        line: pack numbers in order: int64 (num_steps * packs a step,).
        world: how it is cut.
    """

    def __init__(self, packs: EpochPacks, count: int, world: World, balance: Balance | None) -> None:
        self.world = world
        places = world.num_steps(count) * world.packs_a_step
        order = packs.order()
        order = np.arange(count, dtype=np.int64) if order is None else order
        if balance is None:
            self.line: NDArray[np.int64] = np.resize(order, places)
        else:
            self.line = _balanced(packs, order, world, balance)
        assert len(self.line) == places

    def __len__(self) -> int:
        """Batches of each rank."""
        return len(self.line) // self.world.packs_a_round

    def batch(self, index: int) -> list[int]:
        """Packs of this rank's batch `index`."""
        size = self.world.batch_size
        first = (index * self.world.world_size + self.world.rank) * size
        packs: list[int] = self.line[first : first + size].tolist()
        return packs

    def step(self, index: int) -> list[int]:
        """Packs of all ranks in the global step that batch `index` is in."""
        size = self.world.packs_a_step
        first = index // self.world.accumulation * size
        packs: list[int] = self.line[first : first + size].tolist()
        return packs


def _balanced(packs: EpochPacks, order: NDArray[np.int64], world: World, balance: Balance) -> NDArray[np.int64]:
    """The line of `packsort.schedule`, laid out for the ranks and batches of `balance`."""
    ranks, size = balance.world_size, balance.batch_size
    costs = packs.costs(balance.cost, balance.attention)[order]
    options: dict[str, Any] = check_layout(ranks, world.packs_a_step // ranks, _WINDOW, world.tail, None)
    made = schedule_costs(costs, **options).order  # (steps, ranks, packs a rank)
    batches = made.reshape(len(made), ranks, -1, size).transpose(0, 2, 1, 3)  # (steps, batches, ranks, size)
    return order[batches.reshape(-1)]


def _is_integer(value: Any) -> bool:
    return hasattr(value, "__index__") and not isinstance(value, (bool, np.bool_))
