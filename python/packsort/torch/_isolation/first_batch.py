"""The first batches of a loader, without moving the place of the loader."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from itertools import islice
from typing import Any

import torch

from packsort.errors import OptionError
from packsort.torch._isolation.segments import number_segments

_BATCHES = 8  # batches of a loader to look through for one with two sequences
_SHORT = 1000  # items of a list that is put back
# Where loaders, samplers and data sets keep each other.
_INNER = (
    "dataset",
    "sampler",
    "batch_sampler",
    "base_dataloader",
    "loader",
    "_dataloader",
    "source",
    "_source",
    "gradient_state",
)


def first_batch(batches: Mapping[str, Any] | Iterable[Mapping[str, Any]]) -> tuple[dict[str, Any], torch.Tensor]:
    """Return the first batch with two sequences, and the segment of each of its tokens.

    Args:
        batches: A batch, or a loader, whose place and random numbers are as before afterwards.

    Returns:
        The batch, and int64 (rows, tokens).

    Raises:
        OptionError: No batch has two sequences, or the loader is an iterator, which would lose its batches.
    """
    if isinstance(batches, Mapping):
        if (found := _with_two([batches])) is None:
            raise OptionError("batch has one sequence, so there is nothing to keep apart: pass one of several")
        return found
    parts = list(_parts(batches, {}).values())
    if isinstance(batches, Iterator) or any(isinstance(part, Iterator) for part in parts):
        raise OptionError(
            "batches come from an iterator, which would lose what the check takes: pass one batch, as in "
            "check_isolation(model, batch)"
        )
    with _kept(parts):
        found = _with_two(islice(iter(batches), _BATCHES))
    if found is None:
        raise OptionError(
            f"the first {_BATCHES} batches have one sequence each, so there is nothing to keep apart: "
            "pass a loader of packs of several sequences"
        )
    return found


def _with_two(batches: Iterable[Mapping[str, Any]]) -> tuple[dict[str, Any], torch.Tensor] | None:
    for batch in batches:
        segments = number_segments(batch)
        if int(segments.max()) > 0:
            return dict(batch), segments
    return None


@contextmanager
def _kept(objects: list[Any]) -> Iterator[None]:
    """Put the attributes of loaders, and of what they hold, back after a pass.

    A pass replaces attributes (a place, an iterator), adds to short lists (Accelerate's list of active loaders), and
    draws from generators.
    """
    attributes = [(one, dict(vars(one))) for one in objects]
    values = [value for _, named in attributes for value in named.values()]
    lists = [(value, list(value)) for value in values if isinstance(value, list) and len(value) < _SHORT]
    generators = [(value, value.get_state()) for value in values if isinstance(value, torch.Generator)]
    try:
        yield
    finally:
        for one, named in attributes:
            for name in vars(one).keys() - named.keys():
                del vars(one)[name]
            vars(one).update(named)
        for short, items in lists:
            short[:] = items
        for generator, state in generators:
            generator.set_state(state)


def _parts(one: Any, found: dict[int, Any]) -> dict[int, Any]:
    """Return an object and the loaders, samplers and data sets within it, by their ids."""
    if id(one) not in found and hasattr(one, "__dict__") and not isinstance(one, type | torch.nn.Module):
        found[id(one)] = one
        for name in _INNER:
            if name in vars(one):
                _parts(vars(one)[name], found)
    return found
