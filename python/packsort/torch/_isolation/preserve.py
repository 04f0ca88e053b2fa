"""A model and the random numbers of a process, put back exactly as they were."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

_SCALARS = (bool, int, float, str, type(None))


@contextmanager
def preserved(model: torch.nn.Module) -> Iterator[None]:
    """Put a model and all random number generators back when the block ends.

    Modules keep their mode, their buffers and their plain attributes: a rotary embedding that scales itself changes
    both. Parameters and gradients are not touched by runs without gradients.
    """
    modules = list(model.modules())
    attributes = [
        (module, {name: value for name, value in vars(module).items() if isinstance(value, _SCALARS)})
        for module in modules
    ]
    buffers = [
        (module, name, buffer, None if buffer is None else buffer.clone())
        for module in modules
        for name, buffer in module._buffers.items()
    ]
    cuda = sorted({tensor.device.index for tensor in model.parameters() if tensor.device.type == "cuda"})
    numbers = random.getstate(), np.random.get_state()
    try:
        with torch.random.fork_rng(devices=cuda):
            yield
    finally:
        random.setstate(numbers[0])
        np.random.set_state(numbers[1])
        for module, values in attributes:
            vars(module).update(values)
        for module, name, buffer, copy in buffers:
            module._buffers[name] = buffer
            if copy is not None and buffer is not None:
                buffer.copy_(copy)


def seed_all() -> None:
    """Start every generator that a model may draw from at the same place, so that equal runs drop the same values."""
    torch.manual_seed(0)
    random.seed(0)
    np.random.seed(0)


@contextmanager
def in_mode(model: torch.nn.Module, training: bool) -> Iterator[None]:
    """Put every module of a model into one mode, and back into its own."""
    modes = [(module, module.training) for module in model.modules()]
    model.train(training)
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode


def unwrapped(model: torch.nn.Module) -> torch.nn.Module:
    """Return the model within wrappers of compilation and of parallel training."""
    inner: Any = model
    while (module := getattr(inner, "_orig_mod", None) or _module_of(inner)) is not None:
        inner = module
    return inner  # type: ignore[no-any-return]


def _module_of(model: Any) -> torch.nn.Module | None:
    """Return what DistributedDataParallel, FullyShardedDataParallel or DeepSpeed wrap, or None."""
    if isinstance(model, torch.nn.parallel.DistributedDataParallel | torch.nn.DataParallel):
        return model.module  # type: ignore[no-any-return]
    if type(model).__name__ in ("FullyShardedDataParallel", "DeepSpeedEngine", "FSDP"):
        return model.module  # type: ignore[no-any-return]
    return None
