"""Walk over all tensors of a batch, however deep they lie."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType
from typing import Any, Final

import torch

_LEAVES: Final = (str, bytes, int, float, type(None), type, ModuleType, FunctionType, BuiltinFunctionType, MethodType)


def map_tensors(value: Any, function: Callable[[torch.Tensor], torch.Tensor]) -> Any:
    """Return a nested value with a function applied to each of its tensors.

    The walk goes through dicts, lists, tuples and the attributes of objects: dataclasses, a `BlockMask`, the object
    that is its `mask_mod`. Functions are left as they are, with what their closures hold. A tensor or object that lies
    in several places is walked once, so it stays one. What holds no tensor that changes is not copied.

    Args:
        value: A batch, or any part of one.
        function: Called once with each tensor.

    Example:
        >>> import torch
        >>> map_tensors({"lengths": [torch.tensor(3)], "layout": "flat"}, lambda tensor: tensor + 1)
        {'lengths': [tensor(4)], 'layout': 'flat'}
    """
    return _Walk(function).map(value)


class _Walk:
    def __init__(self, function: Callable[[torch.Tensor], torch.Tensor]) -> None:
        self._function = function
        self._done: dict[int, Any] = {}  # by id; the value that is walked keeps every id in use

    def map(self, value: Any) -> Any:
        if isinstance(value, _LEAVES):
            return value
        if id(value) not in self._done:
            self._done[id(value)] = value  # an object that holds itself is met again here
            self._done[id(value)] = self._function(value) if isinstance(value, torch.Tensor) else self._inside(value)
        return self._done[id(value)]

    def _inside(self, value: Any) -> Any:
        if isinstance(value, tuple):
            items = [self.map(one) for one in value]
            if all(one is other for one, other in zip(items, value, strict=True)):
                return value
            return type(value)(*items) if hasattr(value, "_fields") else type(value)(items)
        made = value
        for name, held, put in _held(value):
            mapped = self.map(held)
            if mapped is not held:
                made = copy.copy(value) if made is value else made
                put(made, name, mapped)
        return made


_Put = Callable[[Any, Any, Any], None]


def _held(value: Any) -> Iterator[tuple[Any, Any, _Put]]:
    """Yield what a container or object holds: its key, its value, and the function that puts another in its place."""
    if isinstance(value, (dict, list)):
        pairs = list(value.items()) if isinstance(value, dict) else list(enumerate(value))
        yield from ((key, held, type(value).__setitem__) for key, held in pairs)
    slots = [name for kind in type(value).__mro__ for name in getattr(kind, "__slots__", ()) if hasattr(value, name)]
    for name in {**getattr(value, "__dict__", {}), **dict.fromkeys(slots)}:
        yield name, getattr(value, name), object.__setattr__
