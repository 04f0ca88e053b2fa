"""Checkpoints of a loader: its place as a few numbers, and the facts that must agree to resume from it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from torch.utils.data import IterableDataset, get_worker_info
from torch.utils.data._utils.worker import WorkerInfo

from packsort import _checks
from packsort.balance.costs import CostModel
from packsort.errors import OptionError
from packsort.torch._epoch_order import BalanceConfig, Ranks
from packsort.torch._packs.protocol import Packs
from packsort.torch._state_checks import LARGEST, integer, mapping, text, wrong

VERSION = 1
_KEYS = ("version", "epoch", "packs", "packs_a_step", "tail", "seed", "plan", "data", "balance")
_WORKER_KEYS = ("worker", "num_workers")
_BALANCE = ("linear", "quadratic", "attention", "world_size", "batch_size")


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

    @property
    def next_epoch(self) -> int:
        """The epoch that follows; 0 after the largest."""
        return self.epoch + 1 if self.epoch < LARGEST else 0

    def check_types(self) -> None:
        """Check a position that was pickled.

        Raises:
            OptionError: An attribute has a value that no position has.
        """
        integer("epoch", self.epoch)
        integer("batches", self.batches)
        if self.worker is not None:
            worker, workers = self.worker
            integer("worker", worker, 0, integer("num_workers", workers, 1) - 1)


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
        facts = mapping("it", state, _KEYS, _WORKER_KEYS)
        if (version := integer("version", facts["version"])) != VERSION:
            raise OptionError(f"state has version {version}, but this packsort reads version {VERSION}")
        packs, seed = integer("packs", facts["packs"]), facts["seed"]
        epoch = integer("epoch", facts["epoch"])
        facts["packs_a_step"] = integer("packs_a_step", facts["packs_a_step"], 1)
        facts["seed"] = None if seed is None else integer("seed", seed)
        for name in ("plan", "data", "tail"):
            text(name, facts[name])
        worker = None
        if any(name in facts for name in _WORKER_KEYS):
            workers = integer("num_workers", facts.get("num_workers"), 1)
            worker = integer("worker", facts.get("worker"), 0, workers - 1), workers
        balance = _read_balance(facts["balance"], self.ranks)
        self._compare(facts, balance)
        if packs % self.ranks.packs_per_round:
            ranks = self.ranks
            raise OptionError(
                f"state is {packs} packs into the epoch, inside a step: world_size {ranks.world_size} x batch_size "
                f"{ranks.batch_size} resumes at multiples of {ranks.packs_per_round}, use the ranks that saved it"
            )
        position = Position(epoch, packs // self.ranks.packs_per_round, worker)
        self.check(position)
        if worker is not None:
            _compare_worker(*worker)
        return position, balance

    def check(self, position: Position) -> None:
        """Check that an epoch has a place.

        Raises:
            OptionError: It has not.
        """
        ahead = 0 if position.worker is None else position.worker[1] - 1  # a worker's next batch may be past the end
        last = self.ranks.num_batches(len(self.packs)) + ahead
        if not 0 <= position.batches <= last:
            a_round = self.ranks.packs_per_round
            raise OptionError(
                f"state must be 0 to {last * a_round} packs into an epoch, got {position.batches * a_round}"
            )

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


def _read_balance(saved: Any, ranks: Ranks) -> BalanceConfig | None:
    """Return the options of a balanced order; the ranks that saved them have the steps of these ranks."""
    if saved is None:
        return None
    if not isinstance(saved, (list, tuple)) or len(saved) != len(_BALANCE):
        raise wrong(f"balance must be None or {', '.join(_BALANCE)}, got {_checks.shown(saved)}")
    linear, quadratic, attention, world_size, batch_size = saved
    if not all(type(cost) in (int, float) for cost in (linear, quadratic)):
        raise wrong(f"balance must begin with two numbers, got {_checks.shown(saved)}")
    step = ranks.packs_per_step
    world_size = integer("world_size of balance", world_size, 1, step)
    batch_size = integer("batch_size of balance", batch_size, 1, step)
    if step % (world_size * batch_size):
        raise wrong(f"balance has {world_size} ranks with batches of {batch_size}, which do not fill {step} packs")
    try:
        cost = CostModel(linear, quadratic)
    except OptionError as error:
        raise wrong(f"balance has costs that none has: {error}") from None
    return BalanceConfig(cost, text("attention of balance", attention), world_size, batch_size)


def _described(balance: BalanceConfig | None) -> str:
    return "balance=False" if balance is None else f"balance={balance.cost!r} and attention={balance.attention!r}"
