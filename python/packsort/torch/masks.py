"""Block masks for FlexAttention, without looking at the attention matrix."""

from __future__ import annotations

from typing import Any

import torch
from torch.nn.attention.flex_attention import BlockMask

from packsort import _core

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

    Unlike a closure it can be pickled, so batches with masks come through the workers of a `DataLoader`.

    Args:
        documents: int32 (rows, tokens): the document of each token.
    """

    def __init__(self, documents: torch.Tensor) -> None:
        self.documents = documents

    def __call__(self, b: torch.Tensor, h: torch.Tensor, q_idx: torch.Tensor, kv_idx: torch.Tensor) -> torch.Tensor:
        """Whether a query sees a key."""
        return (self.documents[b, q_idx] == self.documents[b, kv_idx]) & (q_idx >= kv_idx)


class DocumentMask(BlockMask):
    """A `BlockMask` whose `to` moves the documents of its `mask_mod` as well."""

    def to(self, device: torch.device | str, non_blocking: bool = False) -> DocumentMask:
        """The mask on another device."""
        moved = {name: getattr(self, name).to(device, non_blocking=non_blocking) for name in _TENSORS}
        mod: Any = self.mask_mod
        documents = mod.documents.to(device, non_blocking=non_blocking)
        return DocumentMask(self.seq_lengths, **moved, BLOCK_SIZE=self.BLOCK_SIZE, mask_mod=SameDocument(documents))


def document_mask(cu_seqlens: torch.Tensor, documents: torch.Tensor, *, block_size: int = 128) -> DocumentMask:
    """The block mask of causal attention within documents, for `torch.nn.attention.flex_attention` (PyTorch 2.6).

    It equals that of `create_block_mask`, which makes the whole attention matrix on the way, tokens x tokens. Here both
    ends of what a block of queries sees follow from where documents start, so a mask costs what its arrays cost to
    write: (tokens / block_size)**2 numbers.

    Args:
        cu_seqlens: int32 (documents + 1,): where each document starts, rows one after another; on the CPU.
        documents: int32 (rows, tokens): the document of each token; a number may come again in another row.
        block_size: tokens of a block.

    Raises:
        DamagedError: documents do not fill the rows.

    Example:
        >>> import torch
        >>> from packsort.torch import document_mask
        >>> mask = document_mask(torch.tensor([0, 3, 4], dtype=torch.int32), torch.tensor([[0, 0, 0, 1]]), block_size=2)
        >>> mask.to_dense()[0, 0]
        tensor([[1, 0],
                [1, 1]], dtype=torch.int32)
    """
    rows, tokens = documents.shape
    lines = -(-tokens // block_size)
    counts = [torch.empty(rows * lines, dtype=torch.int32) for _ in range(4)]
    indices = [torch.empty(rows * lines * lines, dtype=torch.int32) for _ in range(4)]
    _core.fill_blocks(cu_seqlens.numpy(), tokens, block_size, [c.numpy() for c in counts], [i.numpy() for i in indices])
    pairs = zip(counts, indices, strict=True)
    tensors = [t for count, index in pairs for t in (count.view(rows, 1, lines), index.view(rows, 1, lines, lines))]
    named: dict[str, Any] = dict(zip(_TENSORS, tensors, strict=True))
    return DocumentMask(
        (tokens, tokens),
        **named,
        BLOCK_SIZE=(block_size, block_size),
        mask_mod=SameDocument(documents),
    )
