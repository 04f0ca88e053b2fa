"""Change the tokens of some segments, and judge what that does to the others.

Every second segment is changed, then the others: a model that mixes neighbours shows it in one of the two runs. A model
may also answer with other roundings: where it groups tokens by expert, a matrix product gets other rows. How large they
are is seen where nothing else can be: changed tokens at the end of a row cannot reach its beginning in a causal model.
Where that changes nothing, no rounding plays a part, and any change is a leak.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch

from packsort.errors import OptionError
from packsort.torch._isolation.levels import Levels
from packsort.torch._isolation.place import find_place
from packsort.torch._isolation.remedies import Trial, remedies
from packsort.torch._isolation.result import Cause, Isolation, Leak
from packsort.torch._isolation.runs import Forward, Runs, differences, magnitude
from packsort.torch._isolation.segments import PADDING_SEGMENT

_ALONE = 2  # sequences that are run alone
_TIMES = 10  # a leak is more than this many times the noise
_SINGLE = 1e-5  # precision below which a type counts as exact
_NOT_OF_A_SEQUENCE = ("position_ids", "input_pos", "segment_ids", "seq_idx", "attention_mask", "mask", "padding_mask")


def probe(
    model: torch.nn.Module,
    batch: dict[str, Any],
    segments: torch.Tensor,
    forward: Forward | None = None,
    *,
    advise: bool = True,
) -> Isolation:
    """Check one batch; see `check_isolation`. Without `advise`, nothing is tried that would keep sequences apart."""
    runs = Runs(model, batch, forward)
    segments = segments.to(runs.batch[runs.tokens].device)
    found = Isolation(
        model=type(runs.inner).__name__,
        attention=getattr(getattr(runs.inner, "config", None), "_attn_implementation", None),
        sequences=int(segments.max()) + 1,
        not_taken=runs.not_taken,
    )
    _check_masks(runs.batch, found)
    try:
        base, precision = runs.measured(runs.batch)
    except OptionError:
        raise
    except (ValueError, NotImplementedError) as error:
        return replace(found, cause="refused", message=_first_line(error))
    judge = _Judge(runs, precision)
    verdict = judge.judge(Trial(runs.batch, segments), base)
    found = replace(found, leak=verdict.leak, misplaced=verdict.misplaced, alone=verdict.alone, noise=verdict.noise)
    if verdict.leak is None and not verdict.misplaced:
        return found
    found = replace(found, cause=verdict.cause)
    if not advise:
        return found
    backward = verdict.leak is not None and verdict.leak.source > verdict.leak.target  # such models see padding, too
    for remedy, trial in remedies(runs, segments):
        if remedy == "one_sequence_a_row" and backward:
            continue
        try:
            again = judge.judge(trial, runs.logits(trial.batch))
        # What is only tried may fail in any way, and then does not help.
        except Exception as error:
            if remedy == "seq_idx":
                found = replace(found, message=_first_line(error))
            continue
        if again.leak is None and not again.misplaced:
            caused: dict[str, Cause] = {"no_cache": "cache", "no_attention_mask": "mask"}
            return replace(found, remedy=remedy, cause=caused.get(remedy, verdict.cause))
    return found


def _check_masks(batch: dict[str, Any], found: Isolation) -> None:
    """Refuse block masks for another attention than FlexAttention, which would end in an error of the attention."""
    mask = batch.get("attention_mask")
    masks = mask.values() if isinstance(mask, dict) else [mask]
    if found.attention not in (None, "flex_attention") and any(hasattr(one, "BLOCK_SIZE") for one in masks):
        raise OptionError(
            f"batch has a block mask, which only FlexAttention takes, and {found.model} attends by {found.attention}: "
            "load it with attn_implementation='flex_attention', or leave `block_mask` out"
        )


@dataclass(frozen=True)
class _Verdict:
    cause: Cause | None
    leak: Leak | None
    misplaced: float
    alone: int
    noise: float


class _Judge:
    def __init__(self, runs: Runs, precision: float) -> None:
        self._runs = runs
        self._precision = precision
        self._rounding = precision * (64 if precision < _SINGLE else 4)

    def judge(self, trial: Trial, base: torch.Tensor) -> _Verdict:
        """Look for a leak and, where there is none, for wrong positions.

        Args:
            trial: The batch.
            base: Its logits.
        """
        if bool(base.isnan().any()):
            raise OptionError(f"{type(self._runs.inner).__name__} must return logits that are numbers, got NaN")
        levels = Levels(trial.segments)
        noise = differences(base, self._runs.logits(trial.batch))
        loudest = float(levels.most(noise).max())
        if (found := self._find_leak(trial, levels, base, noise)) is not None:
            leak, cause = found
            return _Verdict(cause, leak, 0.0, 0, loudest)
        if not self._runs.calls_by_name:
            return _Verdict(None, None, 0.0, 0, loudest)
        misplaced, alone = self._misplaced(trial, levels)
        return _Verdict("positions" if misplaced else None, None, misplaced, alone, loudest)

    def _find_leak(
        self, trial: Trial, levels: Levels, base: torch.Tensor, noise: torch.Tensor
    ) -> tuple[Leak, Cause] | None:
        numbers = torch.arange(levels.count, device=trial.segments.device)
        changes = [self._change(trial, base, numbers % 2 == parity) for parity in (0, 1)]
        watched = [numbers % 2 != parity for parity in (0, 1)]
        loud = [levels.most(change) * others for change, others in zip(changes, watched, strict=True)]
        if not any(bool(one.any()) for one in loud):
            return None
        if not bool(levels.most(noise).any()):
            # Equal runs are equal. What mixes sequences is then the first module that gives something else for the
            # same. If it is one that groups tokens by expert, it may only round differently.
            most = torch.maximum(*loud)
            target = int((most > 0).nonzero()[0])
            leak = self._source_of(trial, levels, base, target, float(most[target]))
            leak, cause = self._placed(trial, levels, leak)
            if cause in ("attention", "state"):
                return leak, cause
        threshold, exact = self._threshold(trial, levels, base, noise)
        follows = torch.zeros_like(watched[0])
        follows[1:] = levels.rows[1:] == levels.rows[:-1]  # after another segment of its row
        for change, others, most in zip(changes, watched, loud, strict=True):
            level = most if exact else levels.of(change)
            seen = others if exact else others & follows
            if bool(seen.any()) and float(level[seen].max() if exact else level[seen].median()) > threshold:
                target = int(numbers[seen & (level > threshold)][0])
                leak = self._source_of(trial, levels, base, target, float(most[target]))
                return self._placed(trial, levels, leak)
        return None

    def _threshold(self, trial: Trial, levels: Levels, base: torch.Tensor, noise: torch.Tensor) -> tuple[float, bool]:
        """Return the least difference that is a leak, and whether every segment has to stay below it.

        Otherwise a segment may differ by chance, as when noise sends a token to another expert, and most count.
        """
        numbers = torch.arange(levels.count, device=trial.segments.device)
        first = torch.full((int(levels.rows.max()) + 1,), levels.count, device=numbers.device)
        first.scatter_reduce_(0, levels.rows, numbers, "amin")
        in_row = torch.bincount(levels.rows)[levels.rows]
        later = (numbers - first[levels.rows]) * 2 >= in_row.clamp(min=2)
        before = self._change(trial, base, later)
        quiet = torch.maximum(levels.most(noise), levels.most(before).masked_fill(later, 0.0))
        if not bool(quiet.any()):
            return 0.0, True
        backward, equal = float(levels.of(before)[~later].median()), float(levels.of(noise).median())
        largest = magnitude(base)
        if backward > max(_TIMES * equal, self._rounding * largest):
            return 0.0, True  # more than rounding: sequences see those after them
        return max(_TIMES * max(backward, equal), self._precision * largest), False

    def _source_of(self, trial: Trial, levels: Levels, base: torch.Tensor, target: int, difference: float) -> Leak:
        """Find a single segment whose tokens change the logits of another."""
        best = Leak(-1, target, 0.0)
        numbers = torch.arange(levels.count, device=trial.segments.device)
        for source in (target - 1, target + 1, 0):
            if 0 <= source < levels.count and source != target:
                found = float(levels.most(self._change(trial, base, numbers == source))[target])
                if found > best.difference:
                    best = Leak(source, target, found)
                if found > difference / _TIMES:
                    break
        return best

    def _placed(self, trial: Trial, levels: Levels, leak: Leak) -> tuple[Leak, Cause]:
        """Find the module that leaks."""
        changed = self._changed(trial, trial.segments == leak.source)
        tokens = levels.tokens(leak.target)
        module, kind, cause = find_place(self._runs.inner, self._runs.logits, trial.batch, changed, tokens)
        return replace(leak, module=module, module_class=kind), cause

    def _change(self, trial: Trial, base: torch.Tensor, changed: torch.Tensor) -> torch.Tensor:
        """Return how the logits at each token differ once the tokens of some segments are changed.

        Args:
            trial: The batch.
            base: Its logits.
            changed: Whether to change each segment, bool (segments,).
        """
        where = changed[trial.segments.clamp(min=0)] & (trial.segments != PADDING_SEGMENT)
        return differences(self._runs.logits(self._changed(trial, where)), base)

    def _changed(self, trial: Trial, where: torch.Tensor) -> dict[str, Any]:
        """Replace tokens by other tokens of the batch, which the model knows."""
        tokens = trial.batch[self._runs.tokens]
        known = torch.unique(tokens[trial.segments != PADDING_SEGMENT])
        following = known.roll(-1) if len(known) > 1 else known.bitwise_xor(1)
        other = following[torch.searchsorted(known, tokens.clamp(int(known[0]), int(known[-1])))]
        return trial.batch | {self._runs.tokens: torch.where(where, other, tokens)}

    def _misplaced(self, trial: Trial, levels: Levels) -> tuple[float, int]:
        """Compare sequences with themselves alone.

        Most tokens count, since noise may send single ones to another expert.

        Returns:
            The largest difference relative to the logits, or 0.0 if it is rounding, and the number of sequences.
        """
        packed = self._runs.logits(trial.batch, training=False)
        shape, largest = trial.segments.shape, magnitude(packed)
        after_first = levels.lengths[1:]  # the first sequence of a row is where it would be alone
        chosen = (after_first.topk(min(_ALONE, len(after_first))).indices + 1).tolist()
        worst = 0.0
        for segment in chosen:
            here = trial.segments == segment
            alone: dict[str, Any] = {
                name: value[here][None]
                for name, value in trial.batch.items()
                if isinstance(value, torch.Tensor) and value.shape[:2] == shape and name not in _NOT_OF_A_SEQUENCE
            }
            alone |= _lengths_of_one(len(packed[here]), trial.batch)
            if "use_cache" in self._runs.parameters:
                alone["use_cache"] = False
            apart = differences(self._runs.logits(alone, training=False), packed[here][None])
            worst = max(worst, float(apart.median()) / max(largest, 1e-30))
        return (worst if worst > max(1e-4, 8 * self._precision) else 0.0), len(chosen)


def _lengths_of_one(tokens: int, batch: dict[str, Any]) -> dict[str, Any]:
    """Return what a batch of one sequence has in place of the lengths that a batch has."""
    made: dict[str, Any] = {name: tokens for name in ("max_length_q", "max_length_k") if name in batch}
    for name in ("cu_seq_lens_q", "cu_seq_lens_k"):
        if name in batch:
            made[name] = torch.tensor([0, tokens], dtype=batch[name].dtype, device=batch[name].device)
    return made


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
