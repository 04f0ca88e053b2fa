"""Where a loader is, as a few numbers, and whether it may go on from where another was."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from torch.utils.data import IterableDataset, get_worker_info
from torch.utils.data._utils.worker import WorkerInfo

from packsort.balance.costs import CostModel
from packsort.errors import OptionError
from packsort.torch._packs import Packs
from packsort.torch._steps import Balance, World

VERSION = 1


@dataclass
class Position:
    """Where a loader is.

    Attributes:
        epoch: that it is in, or that comes next.
        batches: the next of this rank's batches.
        worker: the `DataLoader` worker, and the number of them, whose next batch that is; None where it is the next of
            all.
    """

    epoch: int = 0
    batches: int = 0
    worker: tuple[int, int] | None = None


@dataclass(frozen=True)
class Identity:
    """What has to be the same for a run to go on.

    Attributes:
        packs: where packs come from.
        world: who trains on them.
        seed: that orders them.
        balance: what steps are balanced for.
    """

    packs: Packs
    world: World
    seed: int | None
    balance: Balance | None

    def save(self, position: Position) -> dict[str, Any]:
        """The state of a loader at a position: numbers and strings."""
        state: dict[str, Any] = {
            "version": VERSION,
            "epoch": position.epoch,
            "packs": position.batches * self.world.packs_a_round,
            "packs_a_step": self.world.packs_a_step,
            "tail": self.world.tail,
            "seed": self.seed,
            "plan": self.packs.plan,
            "data": self.packs.data,
            "balance": None,
        }
        if self.balance is not None:
            b = self.balance
            state["balance"] = [b.cost.linear, b.cost.quadratic, b.attention, b.world_size, b.batch_size]
        if position.worker is not None:
            state["worker"], state["num_workers"] = position.worker
        return state

    def load(self, state: Mapping[str, Any]) -> tuple[Position, Balance | None]:
        """Where to go on, and what steps are balanced for.

        Raises:
            OptionError: the state is none of a loader, or of one with other packs, in another order, or with other
                global steps.
        """
        try:
            version, epoch, packs = state["version"], int(state["epoch"]), int(state["packs"])
            balance = _as_balance(state["balance"])
            facts = {name: state[name] for name in ("plan", "data", "seed", "tail", "packs_a_step")}
            worker = (int(state["worker"]), int(state["num_workers"])) if "worker" in state else None
        except (KeyError, TypeError, ValueError) as error:
            raise OptionError(f"state is not one that `state_dict` gave: {error!r} is missing or wrong") from None
        if version != VERSION:
            raise OptionError(f"state has version {version}, allowed is {VERSION}")
        self._compare(facts, balance)
        a_round = self.world.packs_a_round
        if packs % a_round:
            raise OptionError(
                f"state is {packs} packs into the epoch, amid a global step, allowed is a multiple of world_size "
                f"{self.world.world_size} x batch_size {self.world.batch_size}"
            )
        batches = packs // a_round
        ahead = 0 if worker is None else worker[1] - 1  # a worker's next batch may be past the end
        last = self.world.num_batches(len(self.packs)) + ahead
        if epoch < 0 or not 0 <= batches <= last:
            raise OptionError(f"state is {packs} packs into epoch {epoch}, allowed is 0 to {last * a_round}")
        if worker is not None:
            _compare_worker(*worker)
        return Position(epoch, batches, worker), balance

    def _compare(self, state: dict[str, Any], balance: Balance | None) -> None:
        fingerprints = (("plan", self.packs.plan, "another plan"), ("data", self.packs.data, "other data"))
        for name, own, what in fingerprints:
            if state[name] != own:
                raise OptionError(
                    f"state is of {what}: its {name} has the fingerprint {state[name]}, "
                    f"that of {self.packs.name} is {own}"
                )
        for name, value in (("seed", self.seed), ("tail", self.world.tail)):
            if state[name] != value:
                raise OptionError(f"state is of a loader with {name} {state[name]!r}, this one has {value!r}")
        if state["packs_a_step"] != self.world.packs_a_step:
            raise OptionError(
                f"state is of global steps of {state['packs_a_step']} packs, but {self.world} is "
                f"{self.world.packs_a_step}: allowed are ranks, batches and accumulation with the same product"
            )
        mine = self.balance
        if balance is not None and mine is not None:  # laid out for other ranks: those of the state are kept
            mine = replace(mine, world_size=balance.world_size, batch_size=balance.batch_size)
        if balance != mine:
            raise OptionError(
                f"state is of a loader with balance {_described(balance)}, this one has {_described(mine)}"
            )


def find_worker() -> WorkerInfo | None:
    """The `DataLoader` worker that this process is, if it iterates; one that indexes has whole loaders in its items."""
    info = get_worker_info()
    return info if info is not None and isinstance(info.dataset, IterableDataset) else None


def _compare_worker(worker: int, num_workers: int) -> None:
    info = find_worker()
    if info is None or (info.id, info.num_workers) != (worker, num_workers):
        found = "no worker" if info is None else f"worker {info.id} of {info.num_workers}"
        raise OptionError(f"state is of DataLoader worker {worker} of {num_workers}, but this is {found}")


def _as_balance(saved: list[Any] | None) -> Balance | None:
    if saved is None:
        return None
    linear, quadratic, attention, world_size, batch_size = saved
    return Balance(CostModel(linear, quadratic), attention, world_size, batch_size)


def _described(balance: Balance | None) -> str:
    return "False" if balance is None else f"{balance.cost!r}, attention {balance.attention!r}"
