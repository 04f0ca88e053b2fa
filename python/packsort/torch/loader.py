"""Batches of PyTorch tensors for a training loop: on every rank, in any epoch, from any step on."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from torch.utils.data import IterableDataset

from packsort.balance.costs import CostModel
from packsort.errors import DamagedError, OptionError
from packsort.planning.plan import Plan
from packsort.shards.reader import Shards
from packsort.torch._packs import PLAN_OPTIONS, DirectoryPacks, EpochPacks, Pack, Packs, open_packs
from packsort.torch._prefetch import Mover, Prefetcher, find_device
from packsort.torch._state import Identity, Position, find_worker
from packsort.torch._steps import Steps, check_alone, find_balance, find_world
from packsort.torch.layouts import Batcher

Batch = dict[str, Any]

_WORTH = 1e-3  # seconds of a step from which a thread pays that makes batches ahead


class PackedLoader(IterableDataset[Batch]):
    """Batches of a packed directory, or of token columns that are packed on the fly.

    A batch is a dict for `model(**batch)`. What is in it is said by the module of its layout, see `Batcher`;
    `layout="flat"` is what transformers calls padding-free. There is no `attention_mask`: flash attention takes the
    sequences from `cu_seq_lens_*`, and SDPA and eager attention find them in `position_ids`. The latter they do only
    without a key-value cache, so train with `model.config.use_cache = False`, as `transformers.Trainer` does; with a
    cache, sequences see each other.

    **Epochs.** A pass over the loader is an epoch. After a whole pass the next one is the next epoch; `set_epoch` says
    which it is, and a pass that was left early starts anew. On the fly, `seed` and the epoch choose which sequences
    of a length go into which pack; a packed directory keeps its packs. Both choose the order. All epochs have as many
    batches. Parquet shards are read one after another in another order, with the packs of each shuffled.

    **Ranks.** A global step takes world_size x batch_size x accumulation packs. Every rank has the same number of
    batches, and no pack comes twice or not at all in an epoch but for `tail`. A loader shares out packs by itself: do
    not shard it again. `accelerator.prepare` leaves it as it is.

    **Going on.** `state_dict` is a few numbers: where the batch that was received last ends. A loader of the same packs
    goes on from there, batch for batch, also with other ranks if the packs of a global step are as many.
    `StatefulDataLoader(loader, batch_size=None)` and `accelerator.register_for_checkpointing(loader)` keep it.

    Batches are made ahead on a thread where steps take long enough for that, so `DataLoader` workers are not needed;
    `DataLoader(loader, batch_size=None)` works with any number of them, which share the batches out. Workers start each
    pass with the loader as it is in the main process: call `set_epoch` there, and keep the place with
    `StatefulDataLoader`; persistent workers count epochs by themselves. Loaders can be pickled, and used in forked and
    spawned processes.

    Args:
        source: a packed directory (its path, or what `packsort.open_shards` opened); or sequences to pack on the fly,
            with nothing written: a path, paths, folder or glob of Parquet or Arrow files, a `pyarrow.Table`, a
            `datasets.Dataset`, a polars DataFrame, with `input_ids` and other list columns that have a value a token.
            Arrow files are mapped, and open at once where a column `length` has the lengths; Parquet files are decoded
            into memory first.
        max_length: the most tokens a pack may hold. A packed directory knows it; another number is refused.
        batch_size: packs of a batch.
        layout: how a batch's tensors are shaped and named.
        rank: which of the packs of a step are this process's; None asks `torch.distributed`, and is 0 without it.
        world_size: processes that train on different packs; None asks `torch.distributed`, and is 1 without it. Ranks
            that share their data (tensor or context parallel) get the same `rank` here.
        seed: orders packs and sequences; None keeps a packed directory's order in every epoch, and packs on the fly
            unshuffled in epoch 0.
        tail: what becomes of packs that do not fill the last global step: `pad` repeats the epoch's first packs, `drop`
            leaves them out until the next epoch.
        balance: order packs within 64 steps so that no rank waits for a dearer pack, see `packsort.schedule`; True
            counts operations of Llama 3 8B, a `CostModel` those of another model.
        accumulation: batches that a rank trains on in one global step.
        device: where batches go; None is CPU. To CUDA they go from pinned memory on a stream of their own, while the
            step before them runs.
        prefetch: batches made ahead on a thread, which starts where a step takes a millisecond or longer: less is not
            worth handing batches over; 0 makes them when they are asked for.
        static_shapes: pads `flat` and `megatron` batches to max_length tokens and max_sequences sequences a pack, as
            CUDA graphs need it; the packs must be made with `max_sequences`.
        plan: the plan of the source's sequences, or the file that `Plan.save` wrote, in the place of `max_length` and
            the options of a plan; its own seed shuffles. None to plan here. Ranks have to share one where it was made
            by `strategy="optimal"`, whose search calculates with floating-point numbers.
        **options: those of `packsort.plan` (`strategy`, `overlong`, `groups` and `alone`, also as column names, ...),
            where packs are made on the fly; and those of the layout (`labels`, `attention`, `loss_weights`, `seq_idx`,
            ...), see `Batcher`. Loss weights are over the global step, of all ranks and `accumulation`.

    Raises:
        OptionError: an option has a value that is not allowed, or two clash.
        SourceError: `source` is nothing of the above, or its columns are wrong; tokens are checked as they are read.
        SourceNotFoundError: there is no such directory or file.
        LengthError: a sequence is longer than `max_length`.
        DamagedError: the directory is unfinished or damaged, or, while iterating, changed.

    Example:
        >>> import pyarrow as pa
        >>> from packsort.torch import PackedLoader
        >>> table = pa.table({"input_ids": [[1, 2, 3], [4, 5, 6, 7], [8]]})
        >>> loader = PackedLoader(table, max_length=5, seed=None)
        >>> batch = next(iter(loader))
        >>> batch["input_ids"], batch["labels"]
        (tensor([[4, 5, 6, 7, 8]]), tensor([[-100,    5,    6,    7, -100]]))
        >>> batch["position_ids"], batch["cu_seq_lens_q"], batch["max_length_q"]
        (tensor([[0, 1, 2, 3, 0]]), tensor([0, 4, 5], dtype=torch.int32), 4)
        >>> state = loader.state_dict()  # one of two batches received
        >>> again = PackedLoader(table, max_length=5, seed=None)
        >>> again.load_state_dict(state)
        >>> [batch["input_ids"] for batch in again]
        [tensor([[1, 2, 3]])]
    """

    def __init__(
        self,
        source: Any,
        *,
        max_length: int | None = None,
        batch_size: int = 1,
        layout: str = "flat",
        rank: int | None = None,
        world_size: int | None = None,
        seed: int | None = 0,
        tail: str = "pad",
        balance: bool | CostModel = False,
        accumulation: int = 1,
        device: Any = None,
        prefetch: int = 2,
        static_shapes: bool = False,
        plan: Plan | str | os.PathLike[str] | None = None,
        **options: Any,
    ) -> None:
        plan_options = {name: options.pop(name) for name in list(options) if name in PLAN_OPTIONS}
        self.prefetch = _natural("prefetch", prefetch)
        self.layout = layout
        self.device = find_device(device)
        if plan is None and plan_options.get("strategy") == "optimal":
            check_alone(world_size)
        seed = None if seed is None else _natural("seed", seed)
        packs = open_packs(source, max_length, seed, plan_options, plan)
        if static_shapes:
            if packs.max_sequences is None:
                raise OptionError(f"static_shapes is True, allowed is that where {packs.name} has max_sequences")
            options["max_sequences"] = packs.max_sequences
        self._batcher = Batcher(layout, max_length=packs.max_length, **options)
        world = find_world(rank, world_size, batch_size, accumulation, tail, len(packs), packs.name)
        level = find_balance(balance, str(options.get("attention", "document")), world)
        self._identity = Identity(packs, world, seed, level)
        self._balance = level
        self._position = Position()
        self._resume = False  # whether the next pass starts at the position, not at its epoch's first batch
        self._steps: tuple[int, Steps] | None = None

    @property
    def max_length(self) -> int:
        """The most tokens a pack may hold."""
        return self._identity.packs.max_length

    @property
    def batch_size(self) -> int:
        """Packs of a batch."""
        return self._identity.world.batch_size

    @property
    def rank(self) -> int:
        """Which of the ranks this is."""
        return self._identity.world.rank

    @property
    def world_size(self) -> int:
        """Ranks that train on different packs."""
        return self._identity.world.world_size

    @property
    def num_packs(self) -> int:
        """Packs of an epoch, of all ranks."""
        return len(self._identity.packs)

    @property
    def epoch(self) -> int:
        """The epoch of the current pass, or, between passes, of the next."""
        return self._position.epoch

    @property
    def shards(self) -> Shards | None:
        """The packed directory; None where packs are made on the fly."""
        packs = self._identity.packs
        return packs.shards if isinstance(packs, DirectoryPacks) else None

    def packs_of(self, index: int) -> list[int]:
        """Numbers of the packs in this rank's batch `index` of the current epoch.

        Pack `i` of a packed directory is `loader.shards[i]`.

        Raises:
            IndexError: there is no such batch.
        """
        if not 0 <= index < len(self):
            raise IndexError(f"batch {index} is not in the epoch, which has {len(self)}")
        return self._steps_of(self.epoch, self._identity.packs.in_epoch(self.epoch)).batch(index)

    def set_epoch(self, epoch: int) -> None:
        """Says which epoch the next pass is.

        The epoch that it is already changes nothing: after `load_state_dict`, the pass goes on where the state was.

        Raises:
            OptionError: `epoch` is no integer, or negative.
        """
        if _natural("epoch", epoch) != self._position.epoch:
            self._position, self._resume = Position(int(epoch)), False

    def state_dict(self) -> dict[str, Any]:
        """Where the loader is, after the batch that was received last: a few numbers and strings.

        Batches that are made ahead do not count. All ranks have the same state.
        """
        return self._identity_now().save(self._position)

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Lets the next pass go on where a state was taken; one at the end of an epoch has no batches left.

        Raises:
            OptionError: the state is of other packs, in another order, or of global steps of another size. It says what
                the state has and what this loader has.
        """
        self._position, self._balance = self._identity.load(state_dict)
        self._resume, self._steps = True, None

    def __len__(self) -> int:
        """Batches of an epoch on this rank, the same on every rank."""
        return self._identity.world.num_batches(self.num_packs)

    def __iter__(self) -> Iterator[Batch]:
        return _Pass(self)

    def __repr__(self) -> str:
        world = self._identity.world
        packs = f"{self.num_packs:,} packs of {self.max_length:,}"
        return (
            f"PackedLoader({self._identity.packs.name}: {packs} -> {len(self):,} batches of "
            f"{world.batch_size:,}, rank {world.rank} of {world.world_size}, layout {self.layout!r})"
        )

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_steps": None}

    def _identity_now(self) -> Identity:
        own = self._identity
        return own if own.balance is self._balance else Identity(own.packs, own.world, own.seed, self._balance)

    def _steps_of(self, epoch: int, packs: EpochPacks) -> Steps:
        if self._steps is None or self._steps[0] != epoch:
            self._steps = epoch, Steps(packs, self.num_packs, self._identity.world, self._balance)
        return self._steps[1]


class _Pass(Iterator[Batch]):
    """One pass over a loader's batches; it tells the loader which have been received."""

    def __init__(self, loader: PackedLoader) -> None:
        identity = loader._identity
        identity.packs.check()
        start = loader._position if loader._resume else Position(loader._position.epoch)
        epoch, first, stride, worker = start.epoch, start.batches, 1, None
        if (info := find_worker()) is not None:
            worker, stride = (info.id, info.num_workers), info.num_workers
            first += info.id if start.worker is None else 0
        loader._position, loader._resume = Position(epoch, first, worker), False
        self._loader, self._position, self._stride = loader, loader._position, stride
        packs = identity.packs.in_epoch(epoch)
        steps = loader._steps_of(epoch, packs)
        self._mover = Mover(loader.device) if loader.device is not None else None
        filler = _Filler(identity.packs, packs, steps, loader._batcher, self._mover)
        self._batches = Prefetcher(filler.batches(range(first, len(steps), stride)), loader.prefetch, _WORTH)

    def __next__(self) -> Batch:
        try:
            made = next(self._batches)
        except StopIteration:
            if self._loader._position is self._position:
                self._loader._position = Position(self._position.epoch + 1)
            raise
        self._position.batches += self._stride
        return made if self._mover is None else self._mover.finish(made)


class _Filler:
    """Makes the batches of one epoch; it holds nothing of the loader, so that an abandoned pass ends."""

    def __init__(self, source: Packs, packs: EpochPacks, steps: Steps, batcher: Batcher, mover: Mover | None) -> None:
        self._source = source
        self._packs = packs
        self._steps = steps
        self._batcher = batcher
        self._mover = mover
        self._pin = mover is not None and mover.device.type == "cuda"
        self._step: tuple[list[int], list[Pack]] | None = None

    def batches(self, indices: Iterable[int]) -> Iterator[Any]:
        """Batches by their index in the epoch."""
        for index in indices:
            numbers = self._steps.batch(index)
            try:
                packs = self._packs.take(numbers)
                step = self._step_packs(index) if self._batcher.needs_step else None
                batch = self._batcher(packs, step_packs=step, pin_memory=self._pin)
            except DamagedError as error:
                named = ", ".join(map(str, numbers[:8])) + (", ..." if len(numbers) > 8 else "")
                raise DamagedError(f"batch {index}, packs {named} of {self._source.name}: {error}") from error
            yield batch if self._mover is None else self._mover.start(batch)

    def _step_packs(self, index: int) -> list[Pack]:
        """The packs of the global step that a batch is in; kept, as the next batch may be of the same step."""
        numbers = self._steps.step(index)
        if self._step is None or self._step[0] != numbers:
            self._step = numbers, self._packs.take(numbers)
        return self._step[1]


def _natural(name: str, value: Any) -> int:
    if isinstance(value, bool) or not hasattr(value, "__index__") or not 0 <= value < 2**64:
        raise OptionError(f"{name} is {value!r}, allowed is 0 to 2**64 - 1")
    return int(value)
