"""Order of the packs of an epoch over steps, ranks and batches.

The packs of an epoch form one line, which is cut into steps and these into batches. Batch `k` of rank `r` is batch
`k * world_size + r` of the line. A run that resumes with other ranks or another accumulation therefore reads the same
line.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, get_args

import numpy as np
import torch.distributed as dist
from numpy.typing import NDArray

from packsort import _checks
from packsort._options.choices import Tail
from packsort.balance.costs import LLAMA_3_8B, CostModel
from packsort.balance.schedule import WINDOW, schedule_costs, schedule_options
from packsort.errors import OptionError, SourceError
from packsort.torch._packs.protocol import EpochPacks


@dataclass(frozen=True)
class Ranks:
    """Ranks that train together, and the packs that each gets in a step.

    Attributes:
        rank: This process.
        world_size: Processes that train on different packs.
        batch_size: Packs of a batch.
        accumulation: Batches of one rank in a step.
        tail: `pad` or `drop`: treatment of packs that do not fill the last step.
    """

    rank: int
    world_size: int
    batch_size: int
    accumulation: int
    tail: Tail

    @property
    def packs_per_round(self) -> int:
        """Packs in one batch of every rank."""
        return self.world_size * self.batch_size

    @property
    def packs_per_step(self) -> int:
        """Packs in a step."""
        return self.packs_per_round * self.accumulation

    def num_steps(self, packs: int) -> int:
        """Return the steps of an epoch with so many packs."""
        return packs // self.packs_per_step if self.tail == "drop" else -(-packs // self.packs_per_step)

    def num_batches(self, packs: int) -> int:
        """Return the batches of an epoch, the same for every rank."""
        return self.num_steps(packs) * self.accumulation

    def check_packs(self, packs: int, name: str) -> None:
        """Raise an OptionError if there are too few packs.

        Args:
            packs: Number of packs.
            name: The source, for messages.
        """
        if not packs:
            raise SourceError(f"{name} has no packs: no sequence is left to pack")
        if self.batch_size > packs:
            raise OptionError(
                f"batch_size must be at most {packs}, the number of packs in {name}, got {self.batch_size}"
            )
        if not self.num_steps(packs):
            raise OptionError(
                f"tail='drop' leaves no step: {name} has {packs} packs, and a step of {self} takes "
                f"{self.packs_per_step}; use tail='pad' or smaller steps"
            )

    def __str__(self) -> str:
        return f"world_size {self.world_size} x batch_size {self.batch_size} x accumulation {self.accumulation}"


@dataclass(frozen=True)
class BalanceConfig:
    """Options that the order of an epoch was balanced with; a run that resumes with other ranks keeps them.

    Attributes:
        cost: Cost of a sequence.
        attention: `document` or `pack`.
        world_size: Ranks whose costs are balanced.
        batch_size: Packs of a batch.
    """

    cost: CostModel
    attention: str
    world_size: int
    batch_size: int


def find_ranks(rank: Any, world_size: Any, batch_size: Any, accumulation: Any, tail: Any) -> Ranks:
    """Check the options of ranks; `torch.distributed` fills in what is None.

    Raises:
        OptionError: A value is not allowed.
    """
    known = dist.is_available() and dist.is_initialized()
    if world_size is None:
        world_size = dist.get_world_size() if known else 1
    if rank is None:
        rank = dist.get_rank() if known else 0
    world_size = _checks.integer("world_size", world_size, 1)
    rank = _checks.integer("rank", rank)
    if not 0 <= rank < world_size:
        raise OptionError(f"rank must be between 0 and {world_size - 1} (world_size is {world_size}), got {rank}")
    return Ranks(
        rank,
        world_size,
        _checks.integer("batch_size", batch_size, 1),
        _checks.integer("accumulation", accumulation, 1),
        _checks.one_of("tail", tail, get_args(Tail)),
    )


def check_current(ranks: Ranks) -> None:
    """Raise an OptionError if ranks that `torch.distributed` was asked for have become others."""
    if dist.is_available() and dist.is_initialized():
        found = dist.get_rank(), dist.get_world_size()
        if found != (ranks.rank, ranks.world_size):
            raise OptionError(
                f"ranks must not change after a loader is made, but it was made as rank {ranks.rank} of "
                f"{ranks.world_size} and `torch.distributed` now says {found[0]} of {found[1]}: make it once the "
                "processes know each other (in Lightning in `train_dataloader`), or pass rank and world_size"
            )


def find_balance(balance: Any, attention: str, ranks: Ranks) -> BalanceConfig | None:
    """Check the option `balance`; None balances nothing.

    Raises:
        OptionError: `balance` is neither a boolean nor a CostModel.
    """
    if _checks.is_boolean(balance):
        if not balance:
            return None
        balance = LLAMA_3_8B
    if not isinstance(balance, CostModel):
        raise OptionError(f"balance must be True, False or a CostModel, got {balance!r}")
    return BalanceConfig(balance, attention, ranks.world_size, ranks.batch_size)


class EpochOrder:
    """The packs of an epoch in line, cut into steps and batches.

    Args:
        packs: The packs of the epoch.
        count: Their number.
        ranks: The ranks that the line is cut for.
        balance: Options of the balanced order, or None for the order of `packs`.

    Attributes:
        line: Pack numbers in order, int64 (num_steps * packs_per_step,).
    """

    def __init__(self, packs: EpochPacks, count: int, ranks: Ranks, balance: BalanceConfig | None) -> None:
        self._ranks = ranks
        places = ranks.num_steps(count) * ranks.packs_per_step
        order = packs.pack_order()
        order = np.arange(count, dtype=np.int64) if order is None else order
        if balance is None:
            self.line: NDArray[np.int64] = np.resize(order, places)
        else:
            self.line = _balanced_line(packs, order, ranks, balance)
        assert len(self.line) == places

    def __len__(self) -> int:
        """Batches of each rank."""
        return len(self.line) // self._ranks.packs_per_round

    def batch_packs(self, index: int) -> list[int]:
        """Return the packs of this rank's batch `index`."""
        size = self._ranks.batch_size
        first = (index * self._ranks.world_size + self._ranks.rank) * size
        packs: list[int] = self.line[first : first + size].tolist()
        return packs

    def step_packs(self, index: int) -> list[int]:
        """Return the packs of all ranks in the step of batch `index`."""
        size = self._ranks.packs_per_step
        first = index // self._ranks.accumulation * size
        packs: list[int] = self.line[first : first + size].tolist()
        return packs


def _balanced_line(
    packs: EpochPacks, order: NDArray[np.int64], ranks: Ranks, balance: BalanceConfig
) -> NDArray[np.int64]:
    """Return the line of `packsort.schedule`, for the ranks and batches of `balance`."""
    world_size, size = balance.world_size, balance.batch_size
    costs = packs.costs(balance.cost, balance.attention)[order]
    options: dict[str, Any] = schedule_options(world_size, ranks.packs_per_step // world_size, WINDOW, ranks.tail, None)
    scheduled = schedule_costs(costs, **options).order  # (steps, ranks, packs of a rank)
    batches = scheduled.reshape(len(scheduled), world_size, -1, size)
    line: NDArray[np.int64] = batches.transpose(0, 2, 1, 3).reshape(-1)  # (steps, batches, ranks, size)
    return order[line]
