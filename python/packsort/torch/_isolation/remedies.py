"""Remedies that may keep the sequences of a batch apart in a model that mixes them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch

from packsort.errors import OptionError
from packsort.torch._isolation.result import Remedy
from packsort.torch._isolation.runs import Runs
from packsort.torch._isolation.segments import PADDING_SEGMENT
from packsort.torch.dense_masks import dense_masks


@dataclass(frozen=True)
class Trial:
    """A batch to try, and the segment of each of its tokens, int64 (rows, tokens)."""

    batch: dict[str, Any]
    segments: torch.Tensor


def remedies(runs: Runs, segments: torch.Tensor) -> Iterator[tuple[Remedy, Trial]]:
    """Yield what may help, the simplest first.

    Args:
        runs: Runs of the model, with the batch that leaks.
        segments: Segment of each of its tokens.
    """
    if not runs.calls_by_name:  # what another call takes is not known
        return
    batch = runs.batch
    cache = {"use_cache": False} if "use_cache" in runs.parameters else {}
    if cache and "use_cache" not in batch:
        yield "no_cache", Trial(batch | cache, segments)
    if batch.get("attention_mask") is not None:
        without = {name: value for name, value in batch.items() if name != "attention_mask"}
        yield "no_attention_mask", Trial(without | cache, segments)
    if "seq_idx" not in batch:
        yield "seq_idx", Trial(batch | cache | {"seq_idx": segments.to(torch.int32)}, segments)
    masked = _with_mask(runs)
    if masked is not None:
        yield "document_mask", Trial(masked | cache, segments)
    rows = one_sequence_a_row(runs.batch[runs.tokens], segments)
    yield "one_sequence_a_row", Trial({runs.tokens: rows.batch["input_ids"], **rows.batch, **cache}, rows.segments)


def _with_mask(runs: Runs) -> dict[str, Any] | None:
    """Return the batch with an explicit mask, or None where none is known for the model."""
    positions = runs.batch.get("position_ids")
    if positions is None or runs.batch.get("attention_mask") is not None:
        return None
    try:
        return runs.batch | {"attention_mask": dense_masks(positions, runs.inner)}
    except OptionError:
        return None


def one_sequence_a_row(tokens: torch.Tensor, segments: torch.Tensor) -> Trial:
    """Return the sequences of a batch as `strategy="padding"`, `layout="rows"` gives them, each in a row of its own.

    Example:
        >>> one_sequence_a_row(torch.tensor([[5, 6, 7]]), torch.tensor([[0, 0, 1]])).batch
        {'input_ids': tensor([[5, 6],
                [7, 0]]), 'position_ids': tensor([[0, 1],
                [0, 0]])}
    """
    numbers = torch.unique(segments[segments != PADDING_SEGMENT]).tolist()
    pieces = [tokens[segments == number] for number in numbers]
    padded = torch.nn.utils.rnn.pad_sequence(pieces, batch_first=True)
    places = torch.arange(padded.shape[1], device=padded.device).expand_as(padded)
    lengths = torch.tensor([len(piece) for piece in pieces], device=padded.device)[:, None]
    real = places < lengths
    rows = torch.arange(len(pieces), device=padded.device)[:, None]
    return Trial(
        {"input_ids": padded, "position_ids": torch.where(real, places, places - lengths)},
        torch.where(real, rows, PADDING_SEGMENT),
    )
