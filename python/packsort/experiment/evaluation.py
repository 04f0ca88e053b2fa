"""Loss and calibration on whole conversations that were held out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import log_softmax

from packsort.experiment.conversations import Conversations
from packsort.schema import NO_LOSS
from packsort.torch import PackedLoader, attention

BINS = 15


@dataclass(frozen=True)
class HeldOut:
    """Figures on held-out conversations; losses are means over trained tokens, in nats.

    Attributes:
        loss: Loss of all conversations.
        single_turn: Loss of those with one answer; None where there are none.
        multi_turn: Loss of those with more.
        calibration: Expected calibration error (Guo et al., 2017) of the most probable next token, in 15 bins of equal
            width: the mean distance between its probability and the share of times that it is right.
        accuracy: Share of tokens for which it is right.
        tokens: Tokens compared.
        kinds: Loss of each kind.
    """

    loss: float
    single_turn: float | None
    multi_turn: float | None
    calibration: float
    accuracy: float
    tokens: int
    kinds: Mapping[str, float]


@torch.no_grad()
def evaluate(model: Any, held_out: Conversations, max_length: int, device: torch.device) -> HeldOut:
    """Evaluate a model on held-out conversations, none of which sees another.

    A conversation longer than `max_length` is compared up to there. The model keeps its attention.
    """
    used = model.config._attn_implementation
    model.set_attn_implementation(attention.register())
    model.eval()
    table = held_out.table.append_column("multi_turn", [held_out.multi_turn.tolist()])
    loader = PackedLoader(
        table, max_length, overlong="truncate", seed=None, seq_idx=False, keep="multi_turn", rank=0, world_size=1,
        device=device,
    )  # fmt: skip
    sums, counts = np.zeros(len(held_out)), np.zeros(len(held_out))
    bins = np.zeros((3, BINS))
    for batch in loader:
        kept = {name: batch.pop(name) for name in loader.kept}
        labels = batch.pop("labels")[0, 1:]
        at = (labels != NO_LOSS).nonzero()[:, 0]
        if not len(at):
            continue
        scores = log_softmax(model(**batch).logits[0, :-1][at].float(), 1)
        targets = labels[at]
        rows = kept["sequence_ids"].repeat_interleave(kept["seq_lengths"])[1:][at.to(kept["sequence_ids"].device)]
        losses = -scores.gather(1, targets[:, None])[:, 0]
        best, guess = scores.max(1)
        _add(rows, losses, sums, counts)
        bins += _bins(best.exp(), guess == targets)
    model.train()
    model.set_attn_implementation(used)
    return _figures(held_out, sums, counts, bins)


def _add(rows: Any, losses: Any, sums: NDArray[np.float64], counts: NDArray[np.float64]) -> None:
    numbers = rows.cpu().numpy()
    np.add.at(sums, numbers, losses.double().cpu().numpy())
    np.add.at(counts, numbers, 1)


def _bins(probability: Any, right: Any) -> NDArray[np.float64]:
    """Sum up tokens by the probability of the best guess: how many, their probabilities, how many are right."""
    probabilities, hits = probability.double().cpu().numpy(), right.double().cpu().numpy()
    which = np.minimum((probabilities * BINS).astype(int), BINS - 1)
    return np.stack([np.bincount(which, weights, BINS) for weights in (np.ones_like(hits), probabilities, hits)])


def _figures(
    held_out: Conversations, sums: NDArray[np.float64], counts: NDArray[np.float64], bins: NDArray[np.float64]
) -> HeldOut:
    def loss(chosen: NDArray[np.bool_]) -> float | None:
        return float(sums[chosen].sum() / counts[chosen].sum()) if counts[chosen].sum() else None

    total = float(counts.sum())
    kinds = {} if held_out.kinds is None else {str(kind): loss(held_out.kinds == kind) for kind in set(held_out.kinds)}
    return HeldOut(
        loss=float(sums.sum() / total),
        single_turn=loss(~held_out.multi_turn),
        multi_turn=loss(held_out.multi_turn),
        calibration=float(np.abs(bins[1] - bins[2]).sum() / total),
        accuracy=float(bins[2].sum() / total),
        tokens=int(total),
        kinds={kind: value for kind, value in sorted(kinds.items()) if value is not None},
    )
