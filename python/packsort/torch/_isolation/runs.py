"""Logits of a model for a batch, and how two of them differ at each token."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

import torch

from packsort.errors import OptionError
from packsort.torch._isolation.preserve import in_mode, seed_all, unwrapped
from packsort.torch._isolation.segments import TOKENS
from packsort.torch._tensor_walk import map_tensors

Forward = Callable[[Any, dict[str, Any]], torch.Tensor]
"""Called with a model and a batch; returns logits (rows, tokens, vocabulary)."""

_LABELS = ("labels", "shift_labels", "loss_weights", "loss_mask", "num_items_in_batch")
_AT_ONCE = 1 << 24  # logits that are compared at once: a whole batch of a large vocabulary is gigabytes
_TF32: Final = 2.0**-11


class Runs:
    """Runs of one model, each with the same random numbers.

    Args:
        model: The model; a compiled one runs as it was before it was compiled.
        batch: The batch as a loader gives it.
        forward: How to call the model; None calls `model(**batch)` with what it takes.

    Attributes:
        batch: The tensors that the model takes, without labels, on its device.
        not_taken: Names of the batch that the model does not take.
        tokens: Name of the tensor of tokens.
        parameters: Names that the model's `forward` has.
        calls_by_name: Whether the model is called as `model(**batch)`.

    Raises:
        OptionError: The model takes no tokens by the name of this batch.
    """

    def __init__(self, model: torch.nn.Module, batch: dict[str, Any], forward: Forward | None) -> None:
        self.model: torch.nn.Module = getattr(model, "_orig_mod", model)
        self.inner = unwrapped(model)
        self._forward = forward
        self.tokens = next(name for name in TOKENS if name in batch)
        signature = inspect.signature(self.inner.forward).parameters
        self.parameters = frozenset(name for name, one in signature.items() if one.kind is not one.VAR_KEYWORD)
        self.calls_by_name = forward is None
        takes_any = forward is not None or len(self.parameters) < len(signature)
        if forward is None and self.tokens != "input_ids" and self.tokens not in self.parameters:
            raise OptionError(
                f"{type(self.inner).__name__} takes no `{self.tokens}`: pass a batch of layout='flat' or 'rows', or "
                "`forward`, a function that calls the model"
            )
        named = {name: value for name, value in batch.items() if name not in _LABELS}
        self.not_taken = () if takes_any else tuple(name for name in named if name not in self.parameters)
        device = next((one.device for one in self.inner.parameters() if one.device.type != "meta"), None)
        taken = {name: value for name, value in named.items() if name not in self.not_taken}
        self.batch: dict[str, Any] = taken if device is None else map_tensors(taken, lambda tensor: tensor.to(device))

    def logits(self, batch: dict[str, Any], *, training: bool = True) -> torch.Tensor:
        """Run the model and return its logits, (rows, tokens, vocabulary), in the model's own type.

        Raises:
            OptionError: The model returns nothing for each token, or numbers that are not finite.
        """
        with in_mode(self.model, training):
            seed_all()
            if self._forward is not None:
                found: Any = self._forward(self.model, batch)
            else:
                found = self.model(**batch)
        for name in ("logits", "last_hidden_state"):
            if getattr(found, name, None) is not None:
                found = getattr(found, name)
                break
        while isinstance(found, tuple | list):
            found = found[0]
        tokens = batch[self.tokens]
        if not isinstance(found, torch.Tensor) or found.ndim < 3 or found.shape[:2] != tokens.shape:
            shape = tuple(found.shape) if isinstance(found, torch.Tensor) else type(found).__name__
            raise OptionError(
                f"{type(self.inner).__name__} must return logits of shape (rows, tokens, vocabulary) for tokens of "
                f"shape {tuple(tokens.shape)}, got {shape}: pass `forward`, a function that returns them"
            )
        return found.flatten(2)

    def measured(self, batch: dict[str, Any]) -> tuple[torch.Tensor, float]:
        """Run the model; return its logits and the relative precision of the coarsest type that it computes in."""
        types: set[torch.dtype] = set()

        def note(module: Any, args: Any, output: Any) -> None:
            if isinstance(output, torch.Tensor) and output.is_floating_point():
                types.add(output.dtype)

        with _hooked(self.inner, note):
            logits = self.logits(batch)
        coarsest = max(torch.finfo(one).eps for one in types | {logits.dtype})
        coarse = logits.is_cuda and torch.get_float32_matmul_precision() != "highest"
        return logits, max(coarsest, _TF32) if coarse else coarsest


def differences(one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """Return the largest difference at each token, float32 (rows, tokens)."""
    rows, tokens, width = one.shape
    step = max(1, _AT_ONCE // (rows * width))
    found = torch.empty((rows, tokens), device=one.device)
    for start in range(0, tokens, step):
        here = slice(start, start + step)
        a, b = one[:, here].float(), other[:, here].float()
        apart = torch.where(a == b, 0.0, (a - b).abs())  # infinite logits of the same sign are equal
        found[:, here] = apart.nan_to_num(nan=torch.inf).amax(-1)
    return found


def magnitude(logits: torch.Tensor) -> float:
    """Return the median over tokens of the largest finite logit."""
    step = max(1, _AT_ONCE // (logits.shape[0] * logits.shape[2]))
    parts = [part.float().abs().nan_to_num(0, 0, 0).amax(-1) for part in torch.split(logits, step, dim=1)]
    return float(torch.cat(parts, dim=1).median())


@contextmanager
def _hooked(model: torch.nn.Module, hook: Callable[..., None]) -> Iterator[None]:
    handles = [module.register_forward_hook(hook) for module in model.modules()]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
