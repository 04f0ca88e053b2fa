"""Layout `megatron`: the batch of Megatron-Bridge's `gpt_step`, with the fields of Megatron-Core's `PackedSeqParams`.

- `tokens`: int64 (1, tokens).
- `labels`: int64 (1, tokens). Shifted, as in Megatron's own data sets: the next token, even where it carries no loss.
- `loss_mask`: float32 (1, tokens). 1 where the label at this position carries loss, else 0.
- `position_ids`: int64 (1, tokens). Positions restart at 0 in each segment.
- `attention_mask`: None.
- `qkv_format`: "thd".
- `cu_seqlens_q_padded`, `cu_seqlens_kv_padded`: int32 (sequences + 1,). Start of each sequence in the row, and the end
  of the last. Padding and separators belong to the sequence before them, as context parallelism requires.
- `cu_seqlens_q`, `cu_seqlens_kv`: int32 (sequences + 1,). The same starts in a row without padding and separators.
- `max_seqlen_q`, `max_seqlen_kv`: int32 (), in CPU memory. Tokens of the longest sequence, padding included.

`PackedSeqParams(**{name: batch[name] for name in packsort.torch.layouts.megatron.PACKED_SEQ_PARAMS})` builds the
parameters. With `max_sequences` all shapes are fixed: each pack is padded to `max_length`, and `cu_seqlens_*` have
packs x `max_sequences` + 1 values, their end repeated.
"""

from __future__ import annotations

from typing import Any, Final

import torch

from packsort.torch.layouts.tensors import BatchTensors

__all__ = ["PACKED_SEQ_PARAMS", "name_tensors"]

PACKED_SEQ_PARAMS: Final = (
    "qkv_format",
    "cu_seqlens_q",
    "cu_seqlens_kv",
    "cu_seqlens_q_padded",
    "cu_seqlens_kv_padded",
    "max_seqlen_q",
    "max_seqlen_kv",
)
"""Keys of a batch that are fields of `PackedSeqParams`."""


def name_tensors(tensors: BatchTensors) -> dict[str, Any]:
    """Return the tensors of a batch under the names of this layout."""
    max_seqlen = torch.tensor(tensors.max_seqlen, dtype=torch.int32)
    return {
        "tokens": tensors.input_ids,
        "labels": tensors.labels,
        "loss_mask": tensors.loss_mask,
        "position_ids": tensors.position_ids,
        "attention_mask": None,
        "qkv_format": "thd",
        "cu_seqlens_q": tensors.cu_seqlens_unpadded,
        "cu_seqlens_kv": tensors.cu_seqlens_unpadded,
        "cu_seqlens_q_padded": tensors.cu_seqlens,
        "cu_seqlens_kv_padded": tensors.cu_seqlens,
        "max_seqlen_q": max_seqlen,
        "max_seqlen_kv": max_seqlen,
    }
