"""Block masks for FlexAttention, computed from where documents start instead of from the attention matrix."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.attention.flex_attention import BlockMask

from packsort import _core
from packsort._options.attention_kinds import AttentionKinds, LayerAttention
from packsort.torch._tensor_walk import map_tensors

_BLOCK_SIZE: Final = 128  # FlexAttention's own
_TENSORS: Final = (
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
        window: Most keys that a query attends to, itself included; None for all.
    """

    def __init__(self, documents: torch.Tensor, window: int | None = None) -> None:
        self.documents = documents
        self.window = window

    def __call__(self, b: torch.Tensor, h: torch.Tensor, q_idx: torch.Tensor, kv_idx: torch.Tensor) -> torch.Tensor:
        """Return whether a query attends to a key."""
        same = (self.documents[b, q_idx] == self.documents[b, kv_idx]) & (q_idx >= kv_idx)
        return same if self.window is None else same & (q_idx - kv_idx < self.window)


class DocumentMask(BlockMask):
    """A `BlockMask` whose `to` also moves the documents of its `mask_mod`."""

    def to(self, device: torch.device | str, non_blocking: bool = False) -> DocumentMask:
        """Return the mask on another device."""
        moved: DocumentMask = map_tensors(self, lambda tensor: tensor.to(device, non_blocking=non_blocking))
        return moved


def document_mask(
    cu_seqlens: torch.Tensor,
    documents: torch.Tensor,
    *,
    window: int | None = None,
    chunk: int | None = None,
    block_size: int = 128,
) -> DocumentMask:
    """Return the block mask of causal attention within documents, for `torch.nn.attention.flex_attention`.

    It equals the mask of `create_block_mask`, which computes the whole attention matrix, tokens x tokens. Here the
    blocks that a block of queries attends to follow from where documents start, so a mask costs what its arrays cost
    to write: (tokens / block_size)**2 numbers. PyTorch 2.6 or later is needed.

    Args:
        cu_seqlens: Start of each document and the end of the last, counted over all rows: int32 (documents + 1,), on
            the CPU.
        documents: Document of each token, int32 (rows, tokens). A number may come again in another row.
        window: Most keys that a query attends to, itself included, as `config.sliding_window`. `None` is no limit.
        chunk: Tokens of the chunks that each document is cut into, as `config.attention_chunk_size`; a query attends to
            its own chunk. `None` cuts nothing.
        block_size: Tokens of a block.

    Returns:
        The mask, with tensors on the CPU.

    Raises:
        OptionError: `window` or `chunk` is not an integer of at least 1.
        DamagedError: The documents do not fill the rows.

    Example:
        >>> import torch
        >>> from packsort.torch import document_mask
        >>> mask = document_mask(torch.tensor([0, 3, 4], dtype=torch.int32), torch.tensor([[0, 0, 0, 1]]), block_size=2)
        >>> mask.to_dense()[0, 0]
        tensor([[1, 0],
                [1, 1]], dtype=torch.int32)
    """
    return _make_mask(cu_seqlens, documents, LayerAttention(window, chunk), block_size, pin_memory=False)


def layer_masks(
    cu_seqlens: torch.Tensor, documents: torch.Tensor, kinds: AttentionKinds, *, pin_memory: bool = False
) -> DocumentMask | dict[str, DocumentMask | None]:
    """Return the mask of all layers, or a mask for each kind of layers; None for layers without attention.

    Args:
        cu_seqlens: As for `document_mask`.
        documents: As for `document_mask`.
        kinds: Attention of each kind of layers.
        pin_memory: Whether to make the tensors in page-locked memory.
    """
    made: dict[LayerAttention, DocumentMask] = {}
    for _, attention in kinds.by_kind:
        if attention is not None and attention not in made:
            made[attention] = _make_mask(cu_seqlens, documents, attention, _BLOCK_SIZE, pin_memory=pin_memory)
    if kinds.only is not None:
        return made[kinds.only]
    return {name: None if attention is None else made[attention] for name, attention in kinds.by_kind}


def _make_mask(
    cu_seqlens: torch.Tensor, documents: torch.Tensor, attention: LayerAttention, block_size: int, *, pin_memory: bool
) -> DocumentMask:
    rows, tokens = documents.shape
    starts = cu_seqlens.numpy()
    if attention.chunk is not None:
        starts = _cut(starts, attention.chunk)
        cut = np.repeat(np.arange(len(starts) - 1, dtype=np.int32), np.diff(starts)).reshape(rows, tokens)
        documents = torch.from_numpy(cut).pin_memory() if pin_memory else torch.from_numpy(cut)
    blocks = -(-tokens // block_size)
    shapes = ((rows, 1, blocks), (rows, 1, blocks, blocks))
    counts, indices = (
        [torch.empty(shape, dtype=torch.int32, pin_memory=pin_memory) for _ in range(4)] for shape in shapes
    )
    _core.fill_blocks(
        starts, tokens, block_size, [c.numpy() for c in counts], [i.numpy() for i in indices], attention.window
    )
    pairs = zip(counts, indices, strict=True)
    named: dict[str, Any] = dict(zip(_TENSORS, (tensor for pair in pairs for tensor in pair), strict=True))
    return DocumentMask(
        (tokens, tokens),
        **named,
        BLOCK_SIZE=(block_size, block_size),
        mask_mod=SameDocument(documents, attention.window),
    )


def _cut(starts: NDArray[np.int32], chunk: int) -> NDArray[np.int32]:
    """Cut documents into chunks: return the start of each chunk, and the end of the last."""
    pieces = -(-np.diff(starts) // chunk)
    numbers = np.arange(pieces.sum()) - np.repeat(np.cumsum(pieces) - pieces, pieces)
    firsts = np.repeat(starts[:-1], pieces) + numbers * chunk
    return np.append(firsts, starts[-1]).astype(np.int32)
