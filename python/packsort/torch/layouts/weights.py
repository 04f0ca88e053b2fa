"""Weights of a user's column in the loss weights of a step.

The weight of a token is u * b / sum(u * b). `u` is the value of its column, or of its sequence's. `b` is 1 for
`loss_weights="token"`, 1 / n for `"sample"` and 1 / sqrt(n) for `"sqrt"`, where n counts the trained tokens of its
sequence. The sum is over the trained tokens of the step, all ranks and accumulation included, so the weights of a step
still sum to 1. Weights that are all equal change nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from packsort.errors import SourceError
from packsort.schema import INPUT_IDS, LABELS, NO_LOSS, SEQ_LENGTHS, SEQUENCE_IDS
from packsort.torch.layouts.columns import number_array


def weighted_total(packs: Sequence[Mapping[str, Any]], scheme: str, column: str) -> float:
    """Return the sum of u * b over the trained tokens of a step; 1 if it is 0, for a step without loss.

    Args:
        packs: Packs of the step.
        scheme: `loss_weights`.
        column: The column of weights.

    Raises:
        SourceError: A pack lacks the column, or a weight is negative or not finite.
    """
    total = 0.0
    for number, pack in enumerate(packs):
        trained, counts = _trained(pack)
        base = np.zeros(len(counts))
        some = counts > 0
        base[some] = 1.0 if scheme == "token" else counts[some] ** (-1.0 if scheme == "sample" else -0.5)
        weights = token_weights(pack, column, number)
        wrong = trained & ~((weights >= 0) & (weights < np.inf))
        if wrong.any():
            token = int(np.argmax(wrong))
            raise SourceError(
                f"pack {number} of the step: column `{column}` must hold finite weights of at least 0, got "
                f"{weights[token]} at token {token}"
            )
        total += float((weights * base.repeat(np.asarray(pack[SEQ_LENGTHS])))[trained].sum())
    return total or 1.0


def token_weights(pack: Mapping[str, Any], column: str, number: int) -> NDArray[np.float64]:
    """Return the weight of each token of a pack: (tokens,).

    Args:
        pack: The pack.
        column: The column, with a value for each token or each segment.
        number: Number of the pack, for messages.

    Raises:
        SourceError: The pack lacks the column, or it has a value for neither.
    """
    if column not in pack:
        raise no_weights(column, pack)
    if len(pack[column]) == len(pack[INPUT_IDS]):
        return number_array(pack, column, number, INPUT_IDS).astype(np.float64)
    values = number_array(pack, column, number, SEQ_LENGTHS).astype(np.float64)
    return values.repeat(np.asarray(pack[SEQ_LENGTHS]))


def no_weights(column: str, names: Iterable[str]) -> SourceError:
    """Return the error for packs without the column of weights."""
    return SourceError(
        f"weight_column={column!r} names no column of the packs, only {', '.join(map(repr, names))}: pass "
        f"keep={column!r} when packing, if the column has one value for each sequence"
    )


def multiply_weights(
    loss_weights: torch.Tensor,
    packs: Sequence[Mapping[str, Any]],
    column: str,
    row_width: int,
    *,
    shifted: bool,
) -> None:
    """Multiply the loss weights of a batch by those of a column, in place.

    Args:
        loss_weights: b / total of each token, aligned with the labels: float32 (rows, width).
        packs: Packs of the batch.
        column: The column of weights.
        row_width: Tokens that each pack is padded to; 0 where packs follow one another.
        shifted: Whether labels stand at the token before the one they name.
    """
    flat = loss_weights.view(-1).numpy()
    start = 0
    for number, pack in enumerate(packs):
        weights = token_weights(pack, column, number)
        if shifted:  # the last token of a pack names none
            weights = np.append(weights[1:], 0.0)
        place = flat[start : start + len(weights)]
        # Where there is no loss, a weight that is not finite must not become one.
        np.multiply(place, weights, out=place, where=place != 0, casting="unsafe")
        start += row_width or len(weights)


def _trained(pack: Mapping[str, Any]) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
    """Return whether each token carries loss, and the number of such tokens of each segment."""
    lengths = np.asarray(pack[SEQ_LENGTHS]).astype(np.int64)
    trained = np.asarray(pack[LABELS] if LABELS in pack else pack[INPUT_IDS]) != NO_LOSS
    starts = np.cumsum(lengths) - lengths
    trained[starts] = False
    if SEQUENCE_IDS in pack:
        trained &= (np.asarray(pack[SEQUENCE_IDS]) >= 0).repeat(lengths)
    return trained, np.add.reduceat(trained, starts, dtype=np.int64) if len(starts) else np.zeros(0, np.int64)
