"""The loss of a packed run, weighed as in a padded one."""

from __future__ import annotations

import torch
from torch.nn.functional import cross_entropy, pad


def weighted_loss(
    logits: torch.Tensor,
    labels: torch.Tensor,
    loss_weights: torch.Tensor,
    *,
    shifted: bool = False,
    world_size: int = 1,
) -> torch.Tensor:
    """The part that one batch has in the loss of its step: the sum of its tokens' cross-entropy times their weights.

    `loss_weights` sum to 1 over the whole step, so the losses of all its batches, of all ranks and accumulation steps,
    add up to the step's loss, and so do their gradients: **sum, do not average**. Two things average in training loops:

    - DDP and FSDP divide gradients by the number of ranks: give `world_size`, which undoes it.
    - Loops that divide the loss by the accumulation steps: do not. Accelerate does in `accelerator.backward`, where
      `gradient_accumulation_steps` is more than 1: multiply the loss by it.

    ```python
    for batch in loader:  # PackedLoader(..., loss_weights="sample")
        labels, weights = batch.pop("labels"), batch.pop("loss_weights")
        loss = weighted_loss(model(**batch).logits, labels, weights, world_size=world_size)
        loss.backward()
    ```

    Args:
        logits: (rows, tokens, vocabulary).
        labels: int64 (rows, tokens), as the batch has them.
        loss_weights: float32 (rows, tokens), as the batch has them.
        shifted: whether `labels` are shifted (the batch's `shift_labels`, or the layout `megatron`).
        world_size: ranks over which gradients are averaged.

    Returns:
        The loss, float32 ().

    Example:
        >>> import torch
        >>> labels, weights = torch.tensor([[-100, 1, 0]]), torch.tensor([[0, 0.5, 0.5]])
        >>> weighted_loss(torch.zeros(1, 3, 2), labels, weights)
        tensor(0.6931)
    """
    if not shifted:
        labels, loss_weights = pad(labels[:, 1:], (0, 1), value=-100), pad(loss_weights[:, 1:], (0, 1))
    losses = cross_entropy(logits.flatten(0, 1).float(), labels.flatten(), reduction="none")
    return (losses * loss_weights.flatten()).sum() * world_size
