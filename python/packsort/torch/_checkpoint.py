"""Checkpoints of a loader: its place as a few numbers, and the facts that must agree to resume from it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from torch.utils.data import IterableDataset, get_worker_info
from torch.utils.data._utils.worker import WorkerInfo

from packsort.balance.costs import CostModel
from packsort.errors import OptionError
from packsort.torch._epoch_order import BalanceConfig, Ranks
from packsort.torch._packs.protocol import Packs

VERSION = 1


@dataclass
class Position:
    """Place of a loader in its epochs.

    Attributes:
        epoch: The current epoch, or between passes the next one.
        batches: Index of the next batch of this rank.
        worker: The `DataLoader` worker whose next batch that is, and the number of workers; None for a loader that is
            not in a worker.
    """

    epoch: int = 0
    batches: int = 0
    worker: tuple[int, int] | None = None


@dataclass(frozen=True)
class Identity:
    """Facts that must agree for a loader to resume from a state.

    Attributes:
        packs: The packs of the source.
        ranks: The ranks that train on them.
        seed: Seed of their order.
        balance: Options of the balanced order, or None.
    """

    packs: Packs
    ranks: Ranks
    seed: int | None
    balance: BalanceConfig | None

    def save(self, position: Position) -> dict[str, Any]:
        """Return the state of a loader at a position: numbers and strings."""
        state: dict[str, Any] = {
            "version": VERSION,
            "epoch": position.epoch,
            "packs": position.batches * self.ranks.packs_per_round,
            "packs_a_step": self.ranks.packs_per_step,
            "tail": self.ranks.tail,
            "seed": self.seed,
            "plan": self.packs.plan_fingerprint,
            "data": self.packs.data_fingerprint,
            "balance": None,
        }
        if self.balance is not None:
            b = self.balance
            state["balance"] = [b.cost.linear, b.cost.quadratic, b.attention, b.world_size, b.batch_size]
        if position.worker is not None:
            state["worker"], state["num_workers"] = position.worker
        return state

    def load(self, state: Mapping[str, Any]) -> tuple[Position, BalanceConfig | None]:
        """Return the place of a state, and the options of its balanced order.

        Raises:
            OptionError: The state is not one of a loader, or is of other packs, another order or other steps.
        """
        try:
            version, epoch, packs = state["version"], int(state["epoch"]), int(state["packs"])
            balance = _read_balance(state["balance"])
            facts = {name: state[name] for name in ("plan", "data", "seed", "tail", "packs_a_step")}
            worker = (int(state["worker"]), int(state["num_workers"])) if "worker" in state else None
        except (KeyError, TypeError, ValueError) as error:
            raise OptionError(f"state must be one that `state_dict` returned: {error!r} is missing or wrong") from None
        if version != VERSION:
            raise OptionError(f"state has version {version}, but this packsort reads version {VERSION}")
        self._compare(facts, balance)
        ranks = self.ranks
        if packs % ranks.packs_per_round:
            raise OptionError(
                f"state is {packs} packs into the epoch, inside a step: world_size {ranks.world_size} x batch_size "
                f"{ranks.batch_size} resumes at multiples of {ranks.packs_per_round}, use the ranks that saved it"
            )
        batches = packs // ranks.packs_per_round
        ahead = 0 if worker is None else worker[1] - 1  # a worker's next batch may be past the end
        last = (ranks.num_batches(len(self.packs)) + ahead) * ranks.packs_per_round
        if epoch < 0 or not 0 <= packs <= last:
            raise OptionError(
                f"state must be 0 to {last} packs into an epoch from 0 on, got {packs} into epoch {epoch}"
            )
        if worker is not None:
            _compare_worker(*worker)
        return Position(epoch, batches, worker), balance

    def _compare(self, state: dict[str, Any], balance: BalanceConfig | None) -> None:
        fingerprints = (
            ("plan", self.packs.plan_fingerprint, "another plan"),
            ("data", self.packs.data_fingerprint, "other data"),
        )
        for name, own, what in fingerprints:
            if state[name] != own:
                raise OptionError(
                    f"state is of {what}: its {name} has the fingerprint {state[name]}, that of {self.packs.name} "
                    f"is {own}"
                )
        for name, value in (("seed", self.seed), ("tail", self.ranks.tail)):
            if state[name] != value:
                raise OptionError(f"state is of a loader with {name}={state[name]!r}, this one has {name}={value!r}")
        if state["packs_a_step"] != self.ranks.packs_per_step:
            raise OptionError(
                f"state is of steps of {state['packs_a_step']} packs, but {self.ranks} is "
                f"{self.ranks.packs_per_step}: choose ranks, batches and accumulation with the same product"
            )
        own_balance = self.balance
        if balance is not None and own_balance is not None:  # the ranks of the state are kept
            own_balance = replace(own_balance, world_size=balance.world_size, batch_size=balance.batch_size)
        if balance != own_balance:
            raise OptionError(
                f"state is of a loader with {_described(balance)}, this one has {_described(own_balance)}"
            )


def find_worker() -> WorkerInfo | None:
    """Return the `DataLoader` worker that iterates a loader in this process.

    In the worker of a map-style dataset a loader is part of an item, and is iterated as a whole: the result is None.
    """
    info = get_worker_info()
    return info if info is not None and isinstance(info.dataset, IterableDataset) else None


def _compare_worker(worker: int, num_workers: int) -> None:
    info = find_worker()
    if info is None or (info.id, info.num_workers) != (worker, num_workers):
        found = "no worker" if info is None else f"worker {info.id} of {info.num_workers}"
        raise OptionError(f"state is of DataLoader worker {worker} of {num_workers}, but this is {found}")


def _read_balance(saved: list[Any] | None) -> BalanceConfig | None:
    if saved is None:
        return None
    linear, quadratic, attention, world_size, batch_size = saved
    return BalanceConfig(CostModel(linear, quadratic), attention, world_size, batch_size)


def _described(balance: BalanceConfig | None) -> str:
    return "balance=False" if balance is None else f"balance={balance.cost!r} and attention={balance.attention!r}"
