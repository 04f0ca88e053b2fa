"""Refuse what would batch or share out a loader's batches a second time.

A loader gives whole batches, each rank its own. An outer loader that takes them for samples makes batches of batches;
one that takes them for the data of all ranks leaves most of them untrained. Neither asks the loader, so the loader
looks at who iterates it: at the frames that call it. Only frames of PyTorch, Accelerate and transformers are looked at.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Iterator
from types import FrameType
from typing import Any

import torch
from torch.utils.data import default_collate, get_worker_info
from torch.utils.data._utils.fetch import _BaseDatasetFetcher

from packsort.errors import OptionError

_PACKAGE = __name__.partition(".")[0]
_COLLATING = {"torch", "torchdata", "transformers", "trl", _PACKAGE}  # their collators take samples, not batches
_SHARING = {  # module and class of what shares out the batches of an iterable data set
    ("accelerate.data_loader", "IterableDatasetShard"),
    ("accelerate.data_loader", "DataLoaderDispatcher"),
    ("transformers.trainer_pt_utils", "IterableDatasetShard"),
}
_TRAINER = (
    "pass `Trainer(..., train_dataset=PackedDataset(...), data_collator=PackedCollator(...))` with "
    "`remove_unused_columns=False`"
)


def in_dataloader() -> bool:
    """Return whether a `DataLoader` iterates the caller, in this process or as its worker."""
    return _fetcher() is not None


def in_default_collator() -> bool:
    """Return whether a `DataLoader` without a collator asks the caller for a sample."""
    fetcher = _fetcher()
    return fetcher is not None and fetcher.auto_collation and fetcher.collate_fn is default_collate


def check_batched_once(name: str) -> None:
    """Raise an OptionError if a `DataLoader` takes batches for samples, or cannot be resumed.

    A collator of the user's own may well take batches apart again, and is left alone.

    Args:
        name: Class of the loader that is iterated.
    """
    fetcher = _fetcher()
    if fetcher is None:
        return
    if _trains_without_epochs():
        raise OptionError(
            f"a `Trainer` does not tell a {name} within a `DataLoader` which epoch begins, so a resumed run would "
            f"train on the first again: {_TRAINER}"
        )
    if not fetcher.auto_collation or _library(fetcher.collate_fn) not in _COLLATING:
        return
    way_out = _TRAINER if _in_trainer() else f"pass `DataLoader(loader, batch_size=None)`, or iterate the {name} itself"
    raise OptionError(f"a {name} gives whole batches, which this `DataLoader` would put into batches again: {way_out}")


def check_shared_out_once(name: str, world_size: int | None) -> None:
    """Raise an OptionError if something else shares out the batches of a loader among ranks.

    Args:
        name: Class of the loader that is iterated.
        world_size: Ranks that the loader shares out its packs among; None for a loader that leaves this to its source.
    """
    for frame in _outside():
        found = _sharing(frame)
        # A loader with all packs on each rank, as `world_size=1` asks for, can be shared out batch by batch;
        # a dispatcher also cuts the tensors of a batch.
        if found is None or (found == "IterableDatasetShard" and world_size == 1):
            continue
        if world_size is None and _dispatches_to_itself(frame):
            continue
        itself = f"iterate the {name} itself, which `accelerator.prepare` leaves as it is"
        way_out = _TRAINER if _in_trainer() else itself
        raise OptionError(
            f"a {name} gives each rank its own batches, and accelerate's {found} would share them out again: {way_out}"
        )


def in_dispatcher() -> bool:
    """Return whether a dispatcher of one process, or one that a worker cannot see, takes the caller's batches."""
    return get_worker_info() is not None or any(_dispatches_to_itself(frame) for frame in _outside())


def uncut(batch: dict[str, Any]) -> dict[str, Any]:
    """Return a batch in an order of its tensors that a dispatcher of one process leaves whole.

    It cuts every tensor to the length of the first one.
    """
    return dict(sorted(batch.items(), key=lambda item: -len(item[1]) if _has_length(item[1]) else 0))


def _has_length(value: Any) -> bool:
    return isinstance(value, torch.Tensor) and value.ndim > 0


def _dispatches_to_itself(frame: FrameType) -> bool:
    if _sharing(frame) != "DataLoaderDispatcher":
        return False
    return bool(frame.f_locals["self"].state.num_processes == 1)


def _outside() -> Iterator[FrameType]:
    """Yield the frames that called packsort, the innermost first."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and _module(frame).partition(".")[0] == _PACKAGE:
        frame = frame.f_back
    while frame is not None:
        yield frame
        frame = frame.f_back


def _module(frame: FrameType) -> str:
    return str(frame.f_globals.get("__name__", ""))


def _fetcher() -> _BaseDatasetFetcher | None:
    """Return the part of a `DataLoader` that iterates the loader; a data set of the user's in between hides it."""
    caller = next(_outside(), None)
    own = caller.f_locals.get("self") if caller is not None and _module(caller).startswith("torch.utils.data") else None
    return own if isinstance(own, _BaseDatasetFetcher) else None


def _sharing(frame: FrameType) -> str | None:
    module = _module(frame)
    if module not in {module for module, _ in _SHARING}:
        return None
    names = {kind.__name__ for kind in type(frame.f_locals.get("self")).__mro__}
    return next((name for where, name in sorted(_SHARING) if where == module and name in names), None)


def _trains_without_epochs() -> bool:
    """Return whether a `Trainer` trains on a `DataLoader` that hands no epoch on; PyTorch's own hand none on."""
    for frame in _outside():
        if _module(frame) == "transformers.trainer":
            return frame.f_code.co_name != "evaluation_loop"
        if hasattr(frame.f_locals.get("self"), "set_epoch"):
            return False
    return False


def _in_trainer() -> bool:
    return any(_module(frame) == "transformers.trainer" for frame in _outside())


def _library(function: Any) -> str:
    """Return the top-level package of a callable."""
    while isinstance(function, functools.partial):
        function = function.func
    module = getattr(function, "__module__", None) if hasattr(function, "__qualname__") else type(function).__module__
    return str(module).partition(".")[0]
