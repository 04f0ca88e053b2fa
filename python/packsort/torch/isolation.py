"""Check that the sequences of a batch do not see each other in a model.

Models tell packed sequences apart by different means: `position_ids`, `cu_seq_lens_*`, `seq_idx`, a mask, or not at
all. The check does not ask how. It changes the tokens of some segments and looks at the logits of the others: they may
not change. It then runs single sequences alone: their logits in the pack must be the same, which finds wrong positions.

Every second segment is changed at once, then the others, so the check takes six runs of the model, whatever the number
of segments.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any

import torch

from packsort.errors import OptionError
from packsort.torch._segments import PADDING_SEGMENT, TOKENS, number_segments

Forward = Callable[[Any, dict[str, Any]], torch.Tensor]
"""Called with the model and a batch; returns logits (rows, tokens, vocabulary)."""

_LABELS = ("labels", "shift_labels", "loss_weights", "loss_mask")
_BATCHES = 8  # batches of a loader to look through for one with two sequences
_ALONE = 2  # sequences that are run alone
# Grouping tokens by expert rounds differently when other tokens change, so equality is not exact in every model.
# The share of the largest logit that this may make is given in units of the type's precision.
_ROUNDING = 64
_ALONE_TOLERANCE = 20  # times the tolerance of leaks: kernels of other shapes add in another order


@dataclass(frozen=True)
class Leak:
    """One pair of segments of which the second sees the first.

    Attributes:
        source: Number of the segment whose tokens were changed.
        target: Number of the segment whose logits changed.
        difference: Largest change of a logit.
    """

    source: int
    target: int
    difference: float


@dataclass(frozen=True)
class Isolation:
    """Result of `check_isolation`; it is false if sequences see each other or have wrong positions.

    Attributes:
        model: Class of the model, and its attention.
        segments: Number of segments of the batch, padding not counted.
        noise: Largest difference of a logit between two equal runs.
        leaks: Pairs of segments that see each other: the first found for each way of changing segments.
        misplaced: Largest difference of a logit between a sequence in the pack and alone, where it is too large; 0.0
            otherwise.
        not_taken: Keys of the batch that the model does not take.
        advice: What to change, or an empty text.
    """

    model: str
    segments: int
    noise: float
    leaks: tuple[Leak, ...] = ()
    misplaced: float = 0.0
    not_taken: tuple[str, ...] = field(default=())
    advice: str = ""

    def __bool__(self) -> bool:
        return not self.leaks and not self.misplaced

    def __str__(self) -> str:
        if self:
            return f"ok: {self.segments:,} sequences of a batch do not see each other in {self.model}"
        way_out = f": {self.advice}" if self.advice else ""
        if self.leaks:
            leak = self.leaks[0]
            return (
                f"sequences see each other in {self.model}: other tokens in sequence {leak.source} change logits of "
                f"sequence {leak.target} by {leak.difference:.2g}, equal runs differ by {self.noise:.2g}{way_out}"
            )
        return (
            f"sequences have other positions in a pack than alone in {self.model}: logits differ by "
            f"{self.misplaced:.2g}{way_out}"
        )


def check_isolation(
    model: torch.nn.Module, batches: Mapping[str, Any] | Iterable[Mapping[str, Any]], *, forward: Forward | None = None
) -> Isolation:
    """Check that the sequences of a batch do not see each other in a model.

    The tokens of some segments are changed, and the logits of all others compared with those of the unchanged batch.
    They must be equal, up to the difference of two equal runs. Two sequences are also run alone, which finds wrong
    positions. The model gets the batch as a training loop passes it, without labels; it runs in evaluation mode and
    without gradients, and is as it was afterwards.

    Args:
        model: The model, on the device and in the type in which it is trained.
        batches: A batch of any layout, or a loader, whose first batch with two sequences is taken.
        forward: Called with the model and a batch for models that are not called as `model(**batch)`; returns logits
            (rows, tokens, vocabulary).

    Returns:
        An `Isolation`, which is false if something is wrong, and says what to change.

    Raises:
        OptionError: There is no batch with two sequences, or a batch has no tokens.

    Example:
        >>> import pyarrow as pa
        >>> from packsort.torch import PackedLoader, check_isolation
        >>> from transformers import LlamaConfig, LlamaForCausalLM
        >>> size = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
        >>> model = LlamaForCausalLM(LlamaConfig(vocab_size=32, use_cache=False, **size))
        >>> table = pa.table({"input_ids": [[1, 2, 3], [4, 5, 6, 7], [8]]})
        >>> print(check_isolation(model, PackedLoader(table, 8)))
        ok: 3 sequences of a batch do not see each other in LlamaForCausalLM (sdpa)
    """
    device = next((parameter.device for parameter in model.parameters()), torch.device("cpu"))
    batch, segments = _find_batch(batches)
    batch = {name: _moved(value, device) for name, value in batch.items() if name not in _LABELS}
    probe = _Probe(model, batch, segments.to(device), forward)
    with _evaluating(model), torch.no_grad():
        return probe.check()


class _Probe:
    """One model and one batch."""

    def __init__(
        self, model: torch.nn.Module, batch: dict[str, Any], segments: torch.Tensor, forward: Forward | None
    ) -> None:
        self._model, self._segments = model, segments
        self._forward = forward
        self._tokens = next(name for name in TOKENS if name in batch)
        taken = _taken(model) if forward is None else None
        self._not_taken = () if taken is None else tuple(name for name in batch if name not in taken)
        self._batch = {name: value for name, value in batch.items() if name not in self._not_taken}
        self._real = segments != PADDING_SEGMENT
        types = {parameter.dtype for parameter in model.parameters() if parameter.is_floating_point()}
        self._rounding = max((torch.finfo(kind).eps for kind in types), default=torch.finfo(torch.float32).eps)
        self._rounding *= _ROUNDING if self._rounding < 1e-5 else 4

    def check(self) -> Isolation:
        """Run the model, and compare."""
        base = self._logits(self._batch)
        noise = _largest(base - self._logits(self._batch))
        tolerance = max(10 * noise, self._rounding * _largest(base[base.isfinite()]))
        leaks = self._leaks(self._batch, base, tolerance)
        found = Isolation(
            model=_described(self._model),
            segments=int(self._segments.max()) + 1,
            noise=noise,
            leaks=leaks,
            not_taken=self._not_taken,
        )
        if leaks:
            return replace(found, advice=self._advice(tolerance))
        misplaced = 0.0 if self._forward is not None else self._misplaced(base, tolerance * _ALONE_TOLERANCE)
        return replace(found, misplaced=misplaced, advice=_PLACES if misplaced else "")

    def _logits(self, batch: dict[str, Any]) -> torch.Tensor:
        if self._forward is not None:
            return self._forward(self._model, batch).float()
        found = self._model(**batch)
        logits = getattr(found, "logits", found)
        logits = logits[0] if isinstance(logits, tuple) else logits
        return logits.float()  # type: ignore[no-any-return]

    def _leaks(self, batch: dict[str, Any], base: torch.Tensor, tolerance: float) -> tuple[Leak, ...]:
        """Change every second segment, then the others; find the first pair that sees each other in each case."""
        found = []
        for parity in (0, 1):
            changed = self._real & (self._segments % 2 == parity)
            difference = self._differences(self._logits(self._changed(batch, changed)), base)
            watched = self._real & ~changed & (difference > tolerance)
            if watched.any():
                target = int(self._segments[watched][0])
                found.append(self._source_of(batch, base, target, tolerance))
        return tuple(found)

    def _source_of(self, batch: dict[str, Any], base: torch.Tensor, target: int, tolerance: float) -> Leak:
        """Find a neighbour whose tokens change the logits of a segment."""
        here = self._segments == target
        best = Leak(-1, target, 0.0)
        for source in (target - 1, target + 1, target - 3, 0):
            changed = self._segments == source
            if source == target or not changed.any():
                continue
            difference = _largest(self._differences(self._logits(self._changed(batch, changed)), base)[here])
            if difference > max(best.difference, tolerance):
                best = Leak(source, target, difference)
        return best

    def _changed(self, batch: dict[str, Any], where: torch.Tensor) -> dict[str, Any]:
        """Replace tokens by other tokens of the batch, so that each is one that the model knows."""
        tokens = batch[self._tokens]
        known = torch.unique(tokens[self._real])
        following = known.roll(-1) if len(known) > 1 else known.bitwise_xor(1)
        other = following[torch.searchsorted(known, tokens.clamp(int(known[0]), int(known[-1])))]
        return batch | {self._tokens: torch.where(where, other, tokens)}

    def _differences(self, one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
        """Return the largest difference at each token, (rows, tokens)."""
        return (one - other).abs().nan_to_num(nan=torch.inf).amax(-1).view(self._segments.shape)

    def _misplaced(self, base: torch.Tensor, tolerance: float) -> float:
        """Run sequences alone; return the largest difference from their logits in the pack if it is too large."""
        tokens, logits = self._batch[self._tokens], base.view(*self._segments.shape, -1)
        worst = 0.0
        last = int(self._segments.max())
        for segment in sorted({min(1, last), last})[:_ALONE]:
            here = self._segments == segment
            alone = self._logits({self._tokens: tokens[here][None]})
            worst = max(worst, _largest(alone[0] - logits[here]))
        return worst if worst > tolerance else 0.0

    def _advice(self, tolerance: float) -> str:
        """Try what could keep sequences apart, and name the first that does."""
        for more, advice in self._remedies():
            batch = {name: value for name, value in (self._batch | more).items() if value is not None}
            try:
                apart = not self._leaks(batch, self._logits(batch), tolerance)
            except (TypeError, ValueError, RuntimeError, NotImplementedError):
                continue  # the model does not take it
            if apart:
                return advice
        if self._not_taken:
            names = ", ".join(f"`{name}`" for name in self._not_taken)
            return f"the model does not take {names}, so it cannot tell sequences apart; train it without packing"
        return "nothing in the batch keeps sequences apart in this model; train it without packing"

    def _remedies(self) -> Iterator[tuple[dict[str, Any], str]]:
        cache = {"use_cache": False} if "use_cache" in inspect.signature(self._model.forward).parameters else {}
        if cache and "use_cache" not in self._batch:
            yield cache, "set `model.config.use_cache = False`, because a key-value cache drops the boundaries"
        if self._batch.get("attention_mask") is not None:
            yield cache | {"attention_mask": None}, "leave `attention_mask` out of the batch"
        if "seq_idx" not in self._batch:
            yield cache | {"seq_idx": self._segments.to(torch.int32)}, "pass `seq_idx=True`"


_PLACES = "the model counts positions in its own way and not from the batch's `position_ids`; train it without packing"


def _find_batch(batches: Any) -> tuple[dict[str, Any], torch.Tensor]:
    """Return the first batch with two sequences, and the segment of each of its tokens."""
    # A pass moves the place of its loader, so a copy of the loader makes it.
    given = [batches] if isinstance(batches, Mapping) else islice(iter(copy.copy(batches)), _BATCHES)
    for batch in given:
        segments = number_segments(batch)
        if int(segments.max()) > 0:
            return dict(batch), segments
    what = "the batch holds" if isinstance(batches, Mapping) else f"the first {_BATCHES} batches hold"
    raise OptionError(f"{what} one sequence each, and there is nothing to keep apart: pass packs of several sequences")


def _taken(model: torch.nn.Module) -> frozenset[str] | None:
    """Return the names that a model's `forward` takes, or None if it takes any."""
    parameters = inspect.signature(model.forward).parameters
    if any(one.kind is one.VAR_KEYWORD for one in parameters.values()):
        return None
    return frozenset(parameters)


def _moved(value: Any, device: torch.device) -> Any:
    return value.to(device) if hasattr(value, "to") else value


def _described(model: torch.nn.Module) -> str:
    attention = getattr(getattr(model, "config", None), "_attn_implementation", None)
    name = type(model).__name__
    return f"{name} ({attention})" if attention else name


@contextmanager
def _evaluating(model: torch.nn.Module) -> Iterator[None]:
    """Put a model into evaluation mode, and each of its modules back afterwards."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


def _largest(values: torch.Tensor) -> float:
    return float(values.abs().max()) if values.numel() else 0.0
