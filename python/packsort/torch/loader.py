"""`PackedLoader`: batches for a training loop, on every rank, in any epoch, from any step on."""

from __future__ import annotations

import inspect
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from itertools import islice
from typing import Any, Self, Unpack

import torch
from torch.utils.data import IterableDataset

from packsort import _checks
from packsort._options.choices import Layout, Seed, Tail, Verify
from packsort._options.keywords import LayoutOptions, LoaderOptions, names
from packsort._options.layout import LayoutConfig, layout_config
from packsort._pickles import restoring
from packsort.balance.costs import CostModel
from packsort.errors import DamagedError, OptionError
from packsort.planning.plan import Plan
from packsort.schema import SEQ_LENGTHS, SEQUENCE_IDS
from packsort.shards.reader import Shards
from packsort.torch._checkpoint import Identity, Position, find_worker
from packsort.torch._device import DeviceMover, choose_device, find_device
from packsort.torch._epoch_order import BalanceConfig, EpochOrder, Ranks, check_current, find_balance, find_ranks
from packsort.torch._loss_arguments import MODEL_LAYOUTS, warn_of_loss_arguments
from packsort.torch._outer_loop import check_batched_once, check_shared_out_once
from packsort.torch._packs.directory import DirectoryPacks
from packsort.torch._packs.open_packs import open_packs
from packsort.torch._packs.packing_options import PACK_NAMES, PackingOptions
from packsort.torch._packs.protocol import EpochPacks, PackArrays, Packs
from packsort.torch._prefetch import Prefetcher
from packsort.torch.layouts import Batcher, megatron
from packsort.torch.layouts.columns import other_columns

Batch = dict[str, Any]

_MIN_STEP_SECONDS = 1e-3  # the shortest step for which a thread pays
_LAYOUT_NAMES = names(LayoutOptions) - {
    "max_sequences",
    "max_fillers",
    "keep",
}  # the packs and `static_shapes` set them


class PackedLoader(IterableDataset[Batch]):
    """Batches of a packed directory, or of token columns that are packed on the fly.

    ```python
    model.config.use_cache = False
    loader = PackedLoader("packed/", batch_size=1)
    model.to(loader.device)
    for batch in loader:
        loss = model(**batch).loss
    ```

    A batch is a dict for `model(**batch)`. The module of its layout lists the tensors, see `packsort.torch.layouts`;
    the default `layout="flat"` is what transformers calls padding-free. It has no `attention_mask`: SDPA and eager
    attention derive the sequences from `position_ids`, but only while the model makes no key-value cache. Set
    `model.config.use_cache = False`, as `transformers.Trainer` does, or sequences attend to each other.

    **Epochs.** A pass over the loader is an epoch, and a pass whose last batch was received advances to the next epoch.
    `set_epoch` chooses the epoch; a pass that was left early starts again. `seed` and epoch choose the order of the
    packs, and on the fly also which sequences of a length share a pack. All epochs have the same number of batches.
    Parquet shards are read one after another, in another order each epoch, with the packs of each shuffled.

    **Ranks.** A step takes world_size x batch_size x accumulation packs. Every rank has the same number of batches.
    Every pack comes once in an epoch, except for the packs that `tail` repeats or drops. The loader shares out packs
    itself, so do not shard it again; `accelerator.prepare` leaves it as it is.

    **Checkpoints.** `state_dict` is a few numbers: the end of the last batch that was received. A loader of the same
    packs resumes there, batch for batch, also with other ranks if a step has as many packs.
    `StatefulDataLoader(loader, batch_size=None)` and `accelerator.register_for_checkpointing(loader)` save it.

    **Workers.** A thread prefetches batches, so `DataLoader` workers are not needed.
    `DataLoader(loader, batch_size=None)` works with any number of workers, which share the batches. Workers start each
    pass with the loader of the main process: call `set_epoch` there, and use `StatefulDataLoader` to save the place.
    Persistent workers count epochs by themselves. Loaders can be pickled, and work in forked and spawned processes.

    The arguments by topic: source and packing (`source`, `max_length`, `tokenizer`, `plan`, `verify`, options of
    packing), batches (`batch_size`, `layout`, `static_shapes`, options of the layout), order (`seed`, `tail`,
    `balance`), ranks (`rank`, `world_size`, `accumulation`), device (`device`, `prefetch`).

    Args:
        source: A packed directory: its path, or the result of `packsort.open_shards`. Or token columns to pack on the
            fly: a path, paths, folder or glob pattern, a name on the Hub, a `pyarrow.Table`, a `datasets.Dataset`, a
            polars DataFrame. They have `input_ids`, and may have other list columns with a value for each token. Arrow
            files are mapped, and open at once where a column `length` has the lengths; Parquet files are decoded into
            memory first. With a tokenizer, rows have `messages`, `prompt` and `completion`, or `text`.
        max_length: Most tokens of a pack. `None` for a packed directory or a `plan`, which know it.
        tokenizer: A `transformers` tokenizer, its folder or its Hub name, for rows that hold no tokens. They are
            tokenized when the loader is made, into memory, on every rank: for large data run `packsort pack` once. The
            tokens go along when the loader is pickled, as to spawned workers. Notes about them are warnings.
        plan: Plan of the source's sequences, or the file that `Plan.save` wrote, in place of `max_length` and the
            options of packing; it is shuffled by its own seed. `None` makes a plan. Ranks must share a plan made with
            `strategy="optimal"`, because its search computes with floating-point numbers.
        batch_size: Packs of a batch.
        layout: Shapes and names of the tensors: `"flat"`, `"rows"`, `"megatron"` or `"torchtune"`.
        static_shapes: Whether to pad `flat` and `megatron` batches to `max_length` tokens and `max_sequences`
            sequences a pack, as CUDA graphs need. The packs must be made with `max_sequences`; separators and padding
            between sequences have room beside them.
        seed: Seed of the order of packs and sequences. `None` keeps the order of a packed directory in every epoch, and
            leaves packs on the fly unshuffled in epoch 0. `auto` is 0; where packs are in input order
            (`strategy="in_order"`, also of a packed directory) it is `None`, and they keep it in every epoch.
        tail: Packs that do not fill the last step: `"pad"` repeats the first packs of the epoch, `"drop"` leaves them
            out until the next epoch.
        balance: Whether to order packs within 64 steps so that no rank waits for a more expensive pack, see
            `packsort.schedule`. True counts the operations of Llama 3 8B, a `CostModel` those of another model.
        rank: This process's rank among those that train on different packs. `None` asks `torch.distributed`, and is 0
            without it. Ranks that share their data (tensor or context parallel) pass the same number.
        world_size: Number of ranks that train on different packs. `None` asks `torch.distributed`, and is 1 without it.
        accumulation: Batches of one rank in a step.
        device: Device of the batches. `"auto"` is the current accelerator of the process that iterates, such as the GPU
            of its local rank; it is the CPU where there is none, and in a `DataLoader`, which moves batches itself.
            `None` is the CPU. To a GPU batches are copied from pinned memory on a stream of their own, during the
            previous step.
        prefetch: Number of batches to prefetch on a thread; 0 makes each on request. The thread starts once a step
            lasts a millisecond, because handing a batch over costs more than prefetching saves in a shorter step.
        verify: Time at which each shard of a packed directory is compared with its checksum. `"first"`, the default, is
            when one of its packs is first used: no pack of a damaged shard reaches the loop. The thread that prefetches
            reads the shard once, at the speed of memory or of the disk, so the first steps of a run may wait for it.
            With `balance`, it is the start of the first pass. Forked and pickled copies of the loader share what was
            compared; ranks do not. `"open"` compares all shards when the loader is made. `"never"` trusts the files.
        **options: Options of packing on the fly, as for `packsort.pack` (`strategy`, `overlong`, `groups` and `alone`,
            also as column names, `keep`, ...), and options of the layout, as for `Batcher` (`labels`, `attention`,
            `loss_weights`, `weight_column`, `seq_idx`, `drop_columns`, ...). Loss weights are normalized over the step,
            all ranks and `accumulation` included. `pad_token_id` is the token of all padding, in packs and in rows.
            `keep` names columns with one value for each sequence; of a packed directory, those to read of the columns
            that it keeps, all by default. Without it, a warning says which of them a model's loss fails on.

    Raises:
        TypeError: A keyword argument is unknown.
        OptionError: A value is not allowed, or two options contradict each other. A pass raises it if a `DataLoader`
            batches the batches again, or shares them out among ranks again.
        TokenizerError: The tokenizer cannot be loaded, or lacks something that the rows need.
        SourceError: The source is none of the above, or its columns are wrong; tokens are checked as they are read.
        SourceNotFoundError: There is no such directory or file.
        LengthError: A sequence is longer than `max_length`.
        DamagedError: The directory is unfinished or damaged, or changes during a pass. A pass raises it before the
            first batch of a damaged shard.

    Example:
        >>> import pyarrow as pa
        >>> from packsort.torch import PackedLoader
        >>> table = pa.table({"input_ids": [[1, 2, 3], [4, 5, 6, 7], [8]]})
        >>> loader = PackedLoader(table, 5, seed=None)
        >>> batch = next(iter(loader))
        >>> batch["input_ids"], batch["labels"]
        (tensor([[4, 5, 6, 7, 8]]), tensor([[-100,    5,    6,    7, -100]]))
        >>> batch["position_ids"], batch["cu_seq_lens_q"], batch["max_length_q"]
        (tensor([[0, 1, 2, 3, 0]]), tensor([0, 4, 5], dtype=torch.int32), 4)
        >>> state = loader.state_dict()  # one of two batches received
        >>> again = PackedLoader(table, 5, seed=None)
        >>> again.load_state_dict(state)
        >>> [batch["input_ids"] for batch in again]
        [tensor([[1, 2, 3]])]
    """

    def __init__(
        self,
        source: Any,
        max_length: int | None = None,
        *,
        tokenizer: Any = None,
        plan: Plan | str | os.PathLike[str] | None = None,
        batch_size: int = 1,
        layout: Layout = "flat",
        static_shapes: bool = False,
        seed: Seed = "auto",
        tail: Tail = "pad",
        balance: bool | CostModel = False,
        rank: int | None = None,
        world_size: int | None = None,
        accumulation: int = 1,
        device: Any = "auto",
        prefetch: int = 2,
        verify: Verify | None = None,
        **options: Unpack[LoaderOptions],
    ) -> None:
        _checks.keywords(
            "PackedLoader", options, names(LoaderOptions) | set(inspect.signature(PackedLoader).parameters)
        )
        packing = PackingOptions.check("PackedLoader", max_length, _chosen(options, PACK_NAMES), seed, tokenizer)
        config = _layout_config(layout, packing, options, static_shapes)
        ranks = find_ranks(rank, world_size, batch_size, accumulation, tail)
        balanced = find_balance(balance, config.attention, ranks)
        self.prefetch = _checks.integer("prefetch", prefetch, 0)
        self.layout = config.layout
        self._device = find_device(device)
        if plan is None and packing.config.strategy == "optimal":
            _check_one_rank(ranks)
        if static_shapes or config.layout in ("rows", "torchtune") or config.pad_batch_to_multiple_of > 1:
            # These pad written packs, too.
            packing = replace(packing, given=tuple(name for name in packing.given if name != "pad_token_id"))
        packs = open_packs(source, packing, plan, verify)
        ranks.check_packs(len(packs), packs.name)
        if balanced is not None and packs.in_order:
            raise _checks.clash(
                "balance",
                "packs in input order",
                "it orders packs by cost: pass balance=False, or a seed, which shuffles packs",
            )
        if static_shapes and packs.max_sequences is None:
            raise OptionError(
                f"static_shapes=True needs the most sequences of a pack: pack {packs.name} with max_sequences"
            )
        config = replace(config, max_length=packs.max_length, keep=packs.kept)
        if static_shapes:
            fillers = packs.max_fillers if config.layout == "flat" else None
            config = replace(config, max_sequences=packs.max_sequences, max_fillers=fillers)
        if config.layout == "megatron":
            megatron.check_multiple(config, packs.pad_to_multiple_of)
        self._batcher = Batcher.from_config(config)
        self._batcher.check_columns(packs.columns)
        if "keep" not in options and config.layout in MODEL_LAYOUTS:
            columns = other_columns(packs.columns, config.drop_columns)
            warn_of_loss_arguments(columns, packs.kept, "`kept = {name: batch.pop(name) for name in loader.kept}`")
        self._identity = Identity(packs, ranks, packs.seed, balanced)
        self._balance = balanced
        self._asks_ranks = rank is None and world_size is None
        self._position = Position()
        self._resume = False  # whether the next pass starts at the position, not at its epoch's first batch
        self._order: tuple[int, EpochOrder] | None = None  # of the epoch that was asked for last

    @property
    def max_length(self) -> int:
        """Most tokens of a pack."""
        return self._identity.packs.max_length

    @property
    def batch_size(self) -> int:
        """Packs of a batch."""
        return self._identity.ranks.batch_size

    @property
    def rank(self) -> int:
        """This process's rank."""
        return self._identity.ranks.rank

    @property
    def world_size(self) -> int:
        """Number of ranks that train on different packs."""
        return self._identity.ranks.world_size

    @property
    def device(self) -> torch.device:
        """Device of the batches of a pass that starts in this process now."""
        return choose_device(self._device) or torch.device("cpu")

    @property
    def sampler(self) -> Self:
        """This loader, for Lightning, which calls `set_epoch` of the samplers of loaders."""
        return self

    @property
    def num_packs(self) -> int:
        """Number of packs in an epoch, over all ranks."""
        return len(self._identity.packs)

    @property
    def epoch(self) -> int:
        """Epoch of the current pass or, between passes, of the next."""
        return self._position.epoch

    @property
    def kept(self) -> tuple[str, ...]:
        """Columns of batches with one value for each segment: those of `keep`, `seq_lengths` and `sequence_ids`."""
        own = tuple(name for name in self._identity.packs.kept if name not in self._batcher.config.drop_columns)
        return (*own, SEQ_LENGTHS, SEQUENCE_IDS) if own else ()

    @property
    def dictionaries(self) -> dict[str, tuple[str, ...]]:
        """Texts of each column of codes: the text of code `i` is the `i`-th. Separators and padding have code -1."""
        return dict(self._identity.packs.dictionaries)

    @property
    def shards(self) -> Shards | None:
        """The packed directory, or None where packs are made on the fly."""
        packs = self._identity.packs
        return packs.shards if isinstance(packs, DirectoryPacks) else None

    def packs_of(self, index: int) -> list[int]:
        """Return the numbers of the packs in this rank's batch `index` of the current epoch.

        Pack `i` of a packed directory is `loader.shards[i]`.

        Raises:
            IndexError: There is no such batch.
        """
        if not 0 <= index < len(self):
            raise IndexError(f"batch {index} is not in the epoch, which has {len(self)} batches")
        return self._order_of(self.epoch, self._identity.packs.in_epoch(self.epoch)).batch_packs(index)

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch of the next pass.

        The epoch that the loader is in already changes nothing: after `load_state_dict` the pass resumes where the
        state was taken.

        Raises:
            OptionError: `epoch` is not an integer from 0 to 2**64 - 1.
        """
        epoch = _checks.seed("epoch", epoch)
        check_shared_out_once("PackedLoader", self.world_size)  # workers of a DataLoader do not see who shares them out
        if epoch != self._position.epoch or (self._is_at_end and not self._resume):
            self._position, self._resume = Position(epoch), False

    def state_dict(self) -> dict[str, Any]:
        """Return the place after the last batch that was received: a few numbers and strings.

        Prefetched batches do not count. All ranks have the same state.
        """
        return self._current_identity().save(self._position)

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Resume the next pass where a state was taken; one taken at the end of an epoch has no batches left.

        Args:
            state_dict: The result of `state_dict` on any rank.

        Raises:
            OptionError: The state is of other packs, another order, or steps of another size, which the message
                compares with this loader; or no loader has returned it.
        """
        self._position, self._balance = self._identity.load(state_dict)
        self._resume, self._order = True, None

    def __len__(self) -> int:
        """Number of batches of an epoch, the same on every rank."""
        return self._identity.ranks.num_batches(self.num_packs)

    def __iter__(self) -> Iterator[Batch]:
        self._check_ranks()
        check_batched_once("PackedLoader")
        return _LoaderPass(self)

    def __repr__(self) -> str:
        ranks = self._identity.ranks
        packs = f"{self.num_packs:,} packs of {self.max_length:,}"
        return (
            f"PackedLoader({self._identity.packs.name}: {packs} -> {len(self):,} batches of "
            f"{ranks.batch_size:,}, rank {ranks.rank} of {ranks.world_size}, layout {self.layout!r})"
        )

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_order": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        with restoring("PackedLoader"):
            for name, kind in _PICKLED.items():
                if not isinstance(state[name], kind):
                    raise TypeError(f"{name} must not be a {type(state[name]).__name__}")
            self.__dict__.update({name: state[name] for name in _PICKLED})
            self._position.check_types()
            self._identity.check(self._position)

    @property
    def _is_at_end(self) -> bool:
        """Whether all batches of the epoch were received, asked for one more or not."""
        return self._position.batches >= len(self)

    def _start(self) -> Position:
        """Return where a new pass starts.

        A loop that counts batches never asks for one more, so a pass is complete with its last batch.
        """
        place = self._position
        if self._resume:
            return place
        return Position(place.next_epoch if self._is_at_end and find_worker() is None else place.epoch)

    def _check_ranks(self) -> None:
        """Refuse a pass that would give ranks the packs of others."""
        check_shared_out_once("PackedLoader", self.world_size)
        if self._asks_ranks and find_worker() is None:
            check_current(self._identity.ranks)

    def _current_identity(self) -> Identity:
        """Return the identity with the balanced order of a state that was loaded."""
        own = self._identity
        return own if own.balance is self._balance else replace(own, balance=self._balance)

    def _order_of(self, epoch: int, packs: EpochPacks) -> EpochOrder:
        if self._order is None or self._order[0] != epoch:
            self._order = epoch, EpochOrder(packs, self.num_packs, self._identity.ranks, self._balance)
        return self._order[1]


_PICKLED: dict[str, Any] = {
    "prefetch": int,
    "layout": str,
    "_device": object,
    "_batcher": Batcher,
    "_identity": Identity,
    "_balance": BalanceConfig | None,
    "_asks_ranks": bool,
    "_position": Position,
    "_resume": bool,
    "_order": type(None),
}
"""Type of each attribute of a pickled loader."""


def _chosen(options: Mapping[str, Any], wanted: frozenset[str]) -> dict[str, Any]:
    return {name: value for name, value in options.items() if name in wanted}


def _layout_config(
    layout: Any, packing: PackingOptions, options: Mapping[str, Any], static_shapes: Any
) -> LayoutConfig:
    """Check the options of the layout; the packs add `max_length` and `max_sequences` later."""
    chosen = _chosen(options, _LAYOUT_NAMES)
    if chosen.get("pad_token_id") is None:
        chosen["pad_token_id"] = packing.fillers.padding  # the tokenizer's, or 0
    config = layout_config("PackedLoader", layout, packing.config.max_length, chosen)
    if _checks.boolean("static_shapes", static_shapes) and config.layout not in ("flat", "megatron"):
        raise _checks.clash("static_shapes", f"layout={layout!r}", "its shapes are fixed without it")
    return config


def _check_one_rank(ranks: Ranks) -> None:
    """Refuse a search for the fewest packs on each of several ranks."""
    if ranks.world_size != 1:
        raise _checks.clash(
            "strategy='optimal'",
            f"world_size={ranks.world_size}",
            "its search computes with floating-point numbers, so ranks on different machines could plan differently; "
            "plan once, save the plan, and pass the file to each rank as `plan`",
        )


class _LoaderPass(Iterator[Batch]):
    """One pass over a loader's batches; it tells the loader which batches were received.

    It starts with its first batch: Lightning chooses the epoch after it has made the iterator.
    """

    def __init__(self, loader: PackedLoader) -> None:
        loader._identity.packs.check_unchanged()
        self._loader = loader
        self._batches: Prefetcher[Any] | None = None

    def _begin(self) -> Prefetcher[Any]:
        loader = self._loader
        identity = loader._identity
        start = loader._start()
        epoch, first, stride, worker = start.epoch, start.batches, 1, None
        if (info := find_worker()) is not None:
            worker, stride = (info.id, info.num_workers), info.num_workers
            first += info.id if start.worker is None else 0
        loader._position, loader._resume = Position(epoch, first, worker), False
        self._position, self._stride = loader._position, stride
        packs = identity.packs.in_epoch(epoch)
        order = loader._order_of(epoch, packs)
        device = choose_device(loader._device)
        self._mover = None if device is None else DeviceMover(device)
        batches = _EpochBatches(identity.packs, packs, order, loader._batcher, self._mover)
        return Prefetcher(batches.iterate(range(first, len(order), stride)), loader.prefetch, _MIN_STEP_SECONDS)

    def __next__(self) -> Batch:
        if self._batches is None:
            self._batches = self._begin()
        try:
            batch = next(self._batches)
        except StopIteration:
            if self._loader._position is self._position:
                self._loader._position = Position(self._position.next_epoch)
            raise
        self._position.batches += self._stride
        return batch if self._mover is None else self._mover.finish(batch)


class _EpochBatches:
    """Batches of one epoch. It does not refer to the loader, so an abandoned pass is garbage collected."""

    def __init__(
        self, source: Packs, packs: EpochPacks, order: EpochOrder, batcher: Batcher, mover: DeviceMover | None
    ) -> None:
        self._source = source
        self._packs = packs
        self._order = order
        self._batcher = batcher
        self._mover = mover
        self._step: tuple[list[int], list[PackArrays]] | None = None  # the packs of the last step

    def iterate(self, indices: Iterable[int]) -> Iterator[Any]:
        """Yield batches by their index in the epoch."""
        pin_memory = self._mover is not None and self._mover.pin_memory
        for index, numbers in self._numbers(indices):
            try:
                packs = self._packs.take(numbers, pieces=True)
                step = self._step_packs(index) if self._batcher.needs_step else None
                batch = self._batcher(packs, step_packs=step, pin_memory=pin_memory)
            except DamagedError as error:
                named = ", ".join(map(str, numbers[:8])) + (", ..." if len(numbers) > 8 else "")
                raise DamagedError(f"batch {index}, packs {named} of {self._source.name}: {error}") from error
            yield batch if self._mover is None else self._mover.start(batch)

    def _numbers(self, indices: Iterable[int]) -> Iterator[tuple[int, list[int]]]:
        """Yield batches by their index, with the numbers of their packs; those of several are looked up at once."""
        together, left = self._packs.together, iter(indices)
        while some := list(islice(left, 1)):
            numbers = [self._order.batch_packs(some[0])]
            if (more := together // len(numbers[0]) - 1) > 0:
                some += islice(left, more)
                numbers += map(self._order.batch_packs, some[1:])
                self._packs.expect([number for batch in numbers for number in batch])
            yield from zip(some, numbers, strict=True)

    def _step_packs(self, index: int) -> list[PackArrays]:
        """Return the packs of a batch's step; they are kept, because the next batch may be of the same step."""
        numbers = self._order.step_packs(index)
        if self._step is None or self._step[0] != numbers:
            self._step = numbers, self._packs.take(numbers, pieces=True)
        return self._step[1]
