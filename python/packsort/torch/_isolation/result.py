"""Result of a check of isolation: identifiers and numbers, and their words."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Cause = Literal["attention", "state", "cache", "mask", "other", "positions", "refused"]
"""Why a batch does not train right.

- `"attention"`: tokens attend to other sequences.
- `"state"`: state of a convolution or a recurrence runs on into the next sequence.
- `"cache"`: the model makes a key-value cache, and then ignores where sequences start.
- `"mask"`: the batch has an `attention_mask`, and the model then ignores where sequences start.
- `"other"`: another module mixes sequences.
- `"positions"`: sequences do not see each other, but have other positions than alone.
- `"refused"`: the model raises an error for the batch.
"""

Remedy = Literal["no_cache", "no_attention_mask", "seq_idx", "document_mask", "one_sequence_a_row"]
"""Remedy that was tried and keeps sequences apart, see `remedies`."""

_HOW = {
    "attention": "attends across sequences",
    "state": "carries state from one sequence into the next",
    "cache": "attends across sequences because the model makes a key-value cache",
    "mask": "attends across sequences because the batch has an `attention_mask`",
    "other": "mixes sequences",
}
_WAYS_OUT = {
    "no_cache": "set `model.config.use_cache = False`",
    "no_attention_mask": "leave `attention_mask` out of the batch",
    "seq_idx": "pass seq_idx=True, which numbers the sequences for the model",
    "document_mask": (
        "give the model the mask itself, batch['attention_mask'] = dense_masks(batch['position_ids'], model)"
    ),
    "one_sequence_a_row": "pass strategy='padding', layout='rows', which gives each sequence a row of its own",
}
_NO_WAY_OUT = "nothing that was tried keeps them apart"


@dataclass(frozen=True)
class Leak:
    """A sequence that sees another.

    Attributes:
        source: Number of the sequence whose tokens were changed, counted over the batch from 0.
        target: Number of the sequence whose logits changed.
        difference: Largest change of a logit.
        module: Name of the first module in which the other sequence shows, as `model.named_modules()` has it; empty if
            it is not known.
        module_class: Class of this module.
    """

    source: int
    target: int
    difference: float
    module: str = ""
    module_class: str = ""


@dataclass(frozen=True, kw_only=True)
class Isolation:
    """Result of `check_isolation`: true if sequences keep apart, and `str` of it says what was found and what to do.

    Attributes:
        model: Class of the model.
        attention: Its implementation of attention, such as `"sdpa"`, or None if it names none.
        sequences: Number of sequences of the batch; filler counts as sequences.
        cause: Why the batch does not train right, or None if it does.
        leak: The first sequence that sees another, or None.
        misplaced: Difference of logits between a sequence in the batch and alone, relative to the largest logit, where
            it is too large; else 0.0.
        alone: Number of sequences that were also run alone.
        noise: Largest difference of a logit between two equal runs.
        remedy: What was tried and keeps sequences apart, or None.
        message: The model's own error, where it refuses the batch or what would keep sequences apart.
        not_taken: Names of the batch that the model does not take.
    """

    model: str
    attention: str | None
    sequences: int
    cause: Cause | None = None
    leak: Leak | None = None
    misplaced: float = 0.0
    alone: int = 0
    noise: float = 0.0
    remedy: Remedy | None = None
    message: str = ""
    not_taken: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return self.cause is None

    def __str__(self) -> str:
        model = f"{self.model} ({self.attention})" if self.attention else self.model
        if self.cause is None:
            alone = ", and alone they give the same logits" if self.alone else ""
            return f"ok: {self.sequences:,} sequences of a batch do not see each other in {model}{alone}"
        if self.cause == "refused":
            return f"{model} refuses the batch: {self.message}"
        if self.leak is None:
            return (
                f"sequences have other positions in a batch than alone in {model} (logits differ by "
                f"{self.misplaced:.1%}): {self._way_out()}"
            )
        leak, how = self.leak, _HOW[self.cause]
        where = f"`{leak.module}` ({leak.module_class})" if leak.module else "a module"
        return (
            f"sequences see each other in {model}: {where} {how} (other tokens in sequence {leak.source} change logits "
            f"of sequence {leak.target} by {leak.difference:.2g}, equal runs differ by {self.noise:.2g}): "
            f"{self._way_out()}"
        )

    def _way_out(self) -> str:
        if self.remedy is not None:
            text = _WAYS_OUT[self.remedy]
        elif self.not_taken and not self.message:
            names = ", ".join(f"`{name}`" for name in self.not_taken)
            text = f"{_NO_WAY_OUT}, and the model does not take {names}"
        else:
            text = _NO_WAY_OUT
        return f"{text} (with `seq_idx` the model says: {self.message})" if self.message else text
