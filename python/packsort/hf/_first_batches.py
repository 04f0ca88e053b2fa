"""The first batches that a trainer's data loader makes, looked at without moving anything."""

from __future__ import annotations

import copy
import random
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
import torch
from torch.utils.data import IterableDataset, Sampler

Row = Mapping[str, Any]


@dataclass(frozen=True)
class FirstBatch:
    """One batch, and what it was made of.

    Attributes:
        batch: The batch as the loader's collator makes it, on the CPU.
        rows: The rows of it with all columns of the dataset, or None where the dataset yields batches itself.
        given: The rows as the collator gets them, or None as for `rows`.
    """

    batch: dict[str, Any]
    rows: list[Row] | None
    given: list[Row] | None


def first_batches(loader: Any, dataset: Any, count: int) -> Generator[FirstBatch]:
    """Make the first batches of an epoch of this rank, in this process.

    Rows are drawn by a copy of the loader's sampler, and random generators are put back afterwards: the loader, its
    workers and the random numbers of the run stay where they are. Close the generator to put them back.

    Args:
        loader: A `DataLoader`, also one that accelerate has prepared, or another iterable of batches.
        dataset: The dataset with all of its columns. A loader's own may lack those that the trainer removes.
        count: Most batches to make.
    """
    with random_numbers_kept():
        collate = getattr(loader, "collate_fn", None)
        if collate is None or getattr(loader, "batch_size", 1) is None is getattr(loader, "batch_sampler", None):
            for batch in islice(iter(copy.copy(loader) if collate is None else loader.dataset), count):
                yield FirstBatch(dict(batch), None, None)
            return
        own = loader.dataset
        if isinstance(own, IterableDataset):
            rows = iter(copy.copy(own))
            for _ in range(count):
                if drawn := list(islice(rows, loader.batch_size)):
                    yield FirstBatch(dict(collate(drawn)), drawn, drawn)
            return
        complete = dataset if _has_the_rows_of(dataset, own) else own
        for numbers in islice(_copied(loader.batch_sampler), count):
            given = _take(own, numbers)
            yield FirstBatch(dict(collate(given)), _take(complete, numbers), given)


def _has_the_rows_of(dataset: Any, own: Any) -> bool:
    return hasattr(dataset, "__getitem__") and hasattr(dataset, "__len__") and len(dataset) == len(own)


def _take(dataset: Any, numbers: Sequence[int]) -> list[Row]:
    fetch = getattr(dataset, "__getitems__", None)
    return list(fetch(list(numbers))) if fetch else [dataset[number] for number in numbers]


def _copied(sampler: Any) -> Any:
    """Copy a sampler, the samplers inside, and their generators; the dataset stays the same."""
    made = copy.copy(sampler)
    for name, inner in vars(made).items():
        if isinstance(inner, torch.Generator):
            setattr(made, name, inner.clone_state())
        elif isinstance(inner, Sampler):
            setattr(made, name, _copied(inner))
    return made


@contextmanager
def random_numbers_kept() -> Iterator[None]:
    """Put the generators of Python, NumPy and PyTorch back when the block ends."""
    ours, arrays = random.getstate(), np.random.get_state()
    # Of all devices PyTorch would warn.
    used = torch.cuda.is_initialized()  # type: ignore[no-untyped-call]
    devices = [torch.cuda.current_device()] if used else []
    try:
        with torch.random.fork_rng(devices):
            yield
    finally:
        random.setstate(ours)
        np.random.set_state(arrays)
