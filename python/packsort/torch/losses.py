"""Loss of a packed run, weighted like that of a padded run."""

from __future__ import annotations

import torch
from torch.nn.functional import cross_entropy, pad

from packsort.schema import NO_LOSS


def weighted_loss(
    logits: torch.Tensor,
    labels: torch.Tensor,
    loss_weights: torch.Tensor,
    *,
    shifted: bool = False,
    world_size: int = 1,
) -> torch.Tensor:
    """Return the part of a step's loss that one batch has: the sum of its tokens' weighted cross-entropy.

    `loss_weights` sum to 1 over the whole step. The losses of all batches of a step, over all ranks and accumulation,
    therefore add up to the step's loss, and so do their gradients: **sum them, do not average**. Training loops average
    in two places:

    - DDP and FSDP divide gradients by the number of ranks. Pass `world_size`, which undoes it.
    - Some loops divide the loss by the accumulation steps, as `accelerator.backward` does where
      `gradient_accumulation_steps` is more than 1. Multiply the loss by that number first.

    ```python
    for batch in loader:  # PackedLoader(..., loss_weights="sample")
        labels, weights = batch.pop("labels"), batch.pop("loss_weights")
        loss = weighted_loss(model(**batch).logits, labels, weights, world_size=world_size)
        loss.backward()
    ```

    Args:
        logits: float (rows, tokens, vocabulary).
        labels: int64 (rows, tokens), as the batch holds them.
        loss_weights: float32 (rows, tokens), as the batch holds them.
        shifted: Whether `labels` are shifted, as `shift_labels` and those of the layout `megatron` are.
        world_size: Number of ranks over which gradients are averaged.

    Returns:
        The loss, float32 ().

    Example:
        >>> import torch
        >>> labels, weights = torch.tensor([[-100, 1, 0]]), torch.tensor([[0, 0.5, 0.5]])
        >>> weighted_loss(torch.zeros(1, 3, 2), labels, weights)
        tensor(0.6931)
    """
    if not shifted:
        labels, loss_weights = pad(labels[:, 1:], (0, 1), value=NO_LOSS), pad(loss_weights[:, 1:], (0, 1))
    losses = cross_entropy(logits.flatten(0, 1).float(), labels.flatten(), ignore_index=NO_LOSS, reduction="none")
    return (losses * loss_weights.flatten()).sum() * world_size
