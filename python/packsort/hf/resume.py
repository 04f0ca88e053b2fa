"""`ResumeCallback`: a `Trainer` that resumes inside an epoch sees the batches of the run before it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch.utils.data import IterableDataset, Sampler
from transformers import TrainerCallback

from packsort import _checks
from packsort.errors import OptionError


class ResumeCallback(TrainerCallback):  # type: ignore[misc]
    """Callback that keeps the order of a `Trainer`'s training set the same after a resume.

    A `Trainer` that resumes inside an epoch has to shuffle as the run before it did in that epoch. It does so with
    current versions and default options. It does not with transformers 4.57 and accelerate before 1.15, which shuffle
    as in epoch 0, nor with `accelerator_config={"use_seedable_sampler": False}` or
    `train_sampling_strategy="group_by_length"`, which draw from the generator of the process: packs are then trained on
    twice or never, without a word. This callback tells the sampler its epoch whatever the loop does, and gives a
    sampler without a seed that of `TrainingArguments`.

    It goes with every map-style training set: `PackedDataset`, what `packsort.hf.pack_dataset` returns, or any other.
    Use it in the first run too, so that both runs are alike. A training set without a length, such as a stream, has no
    sampler. A `Trainer` does not know where a pass over it ends, and resumes it in its first pass only; this callback
    refuses the others.

    Example:
        >>> from packsort.hf import ResumeCallback
        >>> callbacks = [ResumeCallback()]  # Trainer(..., callbacks=callbacks)
    """

    def __init__(self) -> None:
        self._sampler: _EpochSampler | None = None

    def on_train_begin(self, args: Any, state: Any, control: Any, train_dataloader: Any = None, **_: Any) -> None:
        """Put a sampler that knows its epoch in the place of the loader's.

        Raises:
            OptionError: The run is resumed in a later pass over a training set without a length, or its
                `trainer_state.json` holds no epoch and step.
        """
        begun = 0.0 if state.epoch is None else _checks.number("epoch of the trainer's state", state.epoch)
        _checks.integer("global_step of the trainer's state", state.global_step, 0, 2**62)
        if begun >= 1 and not _has_length(train_dataloader):
            raise OptionError(
                f"a `Trainer` cannot resume in pass {int(begun)} over a training set without a length: it takes "
                "all steps for one pass; give it the passes as one, `dataset.repeat(n)`, or train on "
                "`packsort.torch.PackedStream` in a loop of your own"
            )
        # accelerate's batch sampler of one process refers to the sampler as well.
        holders = [batches for batches in _batch_samplers(train_dataloader) if hasattr(batches, "sampler")]
        self._sampler = None
        if holders and not isinstance(train_dataloader.dataset, IterableDataset):
            self._sampler = _EpochSampler(holders[-1].sampler, args.seed if args.data_seed is None else args.data_seed)
            for batches in holders:
                batches.sampler = self._sampler

    def on_epoch_begin(self, args: Any, state: Any, control: Any, train_dataloader: Any = None, **_: Any) -> None:
        """Tell the samplers the epoch that begins."""
        if self._sampler is None:
            return
        steps = -(-len(train_dataloader) // args.gradient_accumulation_steps)
        epoch = state.global_step // max(steps, 1)
        self._sampler.epoch = epoch
        for batches in _batch_samplers(train_dataloader):
            if hasattr(batches, "set_epoch"):
                batches.set_epoch(epoch)


class _EpochSampler(Sampler[int]):
    """Sampler whose order depends on its epoch and on nothing that was drawn before.

    It has no `set_epoch`: accelerate calls it with wrong epochs.

    Args:
        sampler: The sampler of the loop.
        seed: Seed of the order of a sampler that has no epoch.

    Attributes:
        epoch: Epoch of the next pass.
    """

    def __init__(self, sampler: Any, seed: int) -> None:
        self._sampler = sampler
        self._seed = seed
        self.epoch = 0

    def __iter__(self) -> Iterator[int]:
        if hasattr(self._sampler, "set_epoch"):
            self._sampler.set_epoch(self.epoch)
        elif hasattr(self._sampler, "generator"):
            self._sampler.generator = torch.Generator().manual_seed(self._seed + self.epoch)
        return iter(self._sampler)

    def __len__(self) -> int:
        return len(self._sampler)


def _has_length(loader: Any) -> bool:
    try:
        len(loader)
    except TypeError:
        return False
    return True


def _batch_samplers(loader: Any) -> Iterator[Any]:
    """Yield a loader's batch sampler and those that it wraps."""
    batches = getattr(loader, "batch_sampler", None)
    while batches is not None:
        yield batches
        batches = getattr(batches, "batch_sampler", None)
