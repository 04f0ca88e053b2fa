"""The module in which sequences first see each other."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from typing import Any

import torch

from packsort.torch._isolation.result import Cause

_FIRST = 8  # tokens of the sequence that are looked at; a leak shows at its start
_STATE = re.compile(r"mamba|ssm|mixer|conv|recurr|rwkv|lstm|linear|delta|lightning|lru|kda|retention", re.IGNORECASE)
_ATTENTION = re.compile(r"att(entio)?n", re.IGNORECASE)

Sketch = list[tuple[str, torch.Tensor | None, torch.Tensor | None]]
"""Name, input and output of each call of a module, in the order in which the calls end."""


def find_place(
    model: torch.nn.Module,
    run: Callable[[dict[str, Any]], Any],
    batch: dict[str, Any],
    changed: dict[str, Any],
    tokens: torch.Tensor,
) -> tuple[str, str, Cause]:
    """Find the innermost module whose input is the same in two runs, and whose output is not.

    Args:
        model: The model.
        run: Runs the model on a batch.
        batch: A batch.
        changed: The batch with other tokens in another sequence.
        tokens: Places of the tokens of the sequence that sees the other, in the rows one after another: int64.

    Returns:
        The name and class of the module, empty if no module is found, and what it does.
    """
    tokens = tokens[:_FIRST]
    shape = next(value.shape for value in batch.values() if isinstance(value, torch.Tensor) and value.ndim == 2)
    one, other = (_sketch(model, partial(run, given), shape, tokens) for given in (batch, changed))
    classes = dict(model.named_modules())
    for (name, taken, given), (_, taken_again, given_again) in zip(one, other, strict=False):
        if _same(taken, taken_again) and given is not None and not _same(given, given_again):
            kind = type(classes[name]).__name__
            return name, kind, _cause(f"{name} {kind}")
    return "", "", "other"


def _sketch(model: torch.nn.Module, run: Callable[[], Any], shape: torch.Size, tokens: torch.Tensor) -> Sketch:
    """Run a model and keep what its modules take and give at some tokens."""
    found: Sketch = []

    def at_tokens(values: Any) -> torch.Tensor | None:
        for value in values:
            value = value[0] if isinstance(value, tuple | list) and value else value
            if isinstance(value, torch.Tensor) and value.ndim > 2 and value.shape[:2] == shape:
                return value.flatten(0, 1)[tokens.to(value.device)].clone()
        return None

    def hook_of(name: str) -> Callable[..., None]:
        def hook(module: Any, args: Any, kwargs: Any, output: Any) -> None:
            outputs = output if isinstance(output, tuple | list) else (output,)
            found.append((name, at_tokens((*args, *kwargs.values())), at_tokens(outputs)))

        return hook

    handles = [
        module.register_forward_hook(hook_of(name), with_kwargs=True) for name, module in model.named_modules() if name
    ]
    try:
        run()
    finally:
        for handle in handles:
            handle.remove()
    return found


def _same(one: torch.Tensor | None, other: torch.Tensor | None) -> bool:
    return one is not None and other is not None and torch.equal(one, other)


def _cause(name: str) -> Cause:
    """Say what a module does, by its name and class: `layers.0.mixer MambaMixer` carries state."""
    *_, last = name.replace(" ", ".").split(".")
    inner = " ".join(name.replace(" ", ".").split(".")[-2:])
    if _STATE.search(last):
        return "state"
    if _ATTENTION.search(inner):
        return "attention"
    return "state" if _STATE.search(inner) else "other"
