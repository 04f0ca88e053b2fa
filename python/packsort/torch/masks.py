"""Block masks for FlexAttention, computed from where documents start instead of from the attention matrix."""

from __future__ import annotations

from typing import Any

import torch
from torch.nn.attention.flex_attention import BlockMask

from packsort import _core
from packsort.torch._tensor_walk import map_tensors

_TENSORS = (
    "kv_num_blocks",
    "kv_indices",
    "full_kv_num_blocks",
    "full_kv_indices",
    "q_num_blocks",
    "q_indices",
    "full_q_num_blocks",
    "full_q_indices",
)


class SameDocument:
    """The `mask_mod` of causal attention within documents.

    Unlike a closure it can be pickled, so batches with masks pass through the workers of a `DataLoader`.

    Args:
        documents: Document of each token, int32 (rows, tokens).
    """

    def __init__(self, documents: torch.Tensor) -> None:
        self.documents = documents

    def __call__(self, b: torch.Tensor, h: torch.Tensor, q_idx: torch.Tensor, kv_idx: torch.Tensor) -> torch.Tensor:
        """Return whether a query attends to a key."""
        return (self.documents[b, q_idx] == self.documents[b, kv_idx]) & (q_idx >= kv_idx)


class DocumentMask(BlockMask):
    """A `BlockMask` whose `to` also moves the documents of its `mask_mod`."""

    def to(self, device: torch.device | str, non_blocking: bool = False) -> DocumentMask:
        """Return the mask on another device."""
        moved: DocumentMask = map_tensors(self, lambda tensor: tensor.to(device, non_blocking=non_blocking))
        return moved


def document_mask(cu_seqlens: torch.Tensor, documents: torch.Tensor, *, block_size: int = 128) -> DocumentMask:
    """Return the block mask of causal attention within documents, for `torch.nn.attention.flex_attention`.

    It equals the mask of `create_block_mask`, which computes the whole attention matrix, tokens x tokens. Here the
    blocks that a block of queries attends to follow from where documents start, so a mask costs what its arrays cost
    to write: (tokens / block_size)**2 numbers. PyTorch 2.6 or later is needed.

    Args:
        cu_seqlens: Start of each document and the end of the last, counted over all rows: int32 (documents + 1,), on
            the CPU.
        documents: Document of each token, int32 (rows, tokens). A number may come again in another row.
        block_size: Tokens of a block.

    Returns:
        The mask, with tensors on the CPU.

    Raises:
        DamagedError: The documents do not fill the rows.

    Example:
        >>> import torch
        >>> from packsort.torch import document_mask
        >>> mask = document_mask(torch.tensor([0, 3, 4], dtype=torch.int32), torch.tensor([[0, 0, 0, 1]]), block_size=2)
        >>> mask.to_dense()[0, 0]
        tensor([[1, 0],
                [1, 1]], dtype=torch.int32)
    """
    rows, tokens = documents.shape
    blocks = -(-tokens // block_size)
    counts = [torch.empty(rows * blocks, dtype=torch.int32) for _ in range(4)]
    indices = [torch.empty(rows * blocks * blocks, dtype=torch.int32) for _ in range(4)]
    _core.fill_blocks(cu_seqlens.numpy(), tokens, block_size, [c.numpy() for c in counts], [i.numpy() for i in indices])
    pairs = zip(counts, indices, strict=True)
    tensors = [t for count, index in pairs for t in (count.view(rows, 1, blocks), index.view(rows, 1, blocks, blocks))]
    named: dict[str, Any] = dict(zip(_TENSORS, tensors, strict=True))
    return DocumentMask(
        (tokens, tokens),
        **named,
        BLOCK_SIZE=(block_size, block_size),
        mask_mod=SameDocument(documents),
    )
