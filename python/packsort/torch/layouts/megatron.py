"""`megatron`: what Megatron-Bridge's `gpt_step` takes, with the fields of Megatron-Core's `PackedSeqParams`.

- `tokens` int64 (1, tokens).
- `labels` int64 (1, tokens): shifted, as Megatron's own data are: the next token, also where no loss is taken.
- `loss_mask` float32 (1, tokens): 1 where loss is taken on the label in this place, else 0.
- `position_ids` int64 (1, tokens): from 0 in each sequence.
- `attention_mask` None.
- `qkv_format` "thd".
- `cu_seqlens_q_padded`, `cu_seqlens_kv_padded` int32 (sequences + 1,): where each sequence starts in the row, and the
  end of the last. Padding and separators are the end of the sequence before them, as context parallelism wants it.
- `cu_seqlens_q`, `cu_seqlens_kv` int32 (sequences + 1,): the same as if there were no padding and no separators.
- `max_seqlen_q`, `max_seqlen_kv` int32 (): tokens of the longest sequence with its padding; in CPU memory.

`PackedSeqParams(**{name: batch[name] for name in packsort.torch.layouts.megatron.PACKED_SEQ_PARAMS})` makes the
parameters. With `max_sequences` all shapes are fixed: each pack is padded to `max_length`, and `cu_seqlens_*` are
(packs x `max_sequences` + 1,), their end repeated.
"""

from __future__ import annotations

from typing import Any

import torch

from packsort.torch.layouts.filling import Filled

PACKED_SEQ_PARAMS = (
    "qkv_format",
    "cu_seqlens_q",
    "cu_seqlens_kv",
    "cu_seqlens_q_padded",
    "cu_seqlens_kv_padded",
    "max_seqlen_q",
    "max_seqlen_kv",
)


def arrange(filled: Filled) -> dict[str, Any]:
    """The batch."""
    longest = torch.tensor(filled.longest, dtype=torch.int32)
    return {
        "tokens": filled.input_ids,
        "labels": filled.labels,
        "loss_mask": filled.loss_mask,
        "position_ids": filled.position_ids,
        "attention_mask": None,
        "qkv_format": "thd",
        "cu_seqlens_q": filled.unpadded,
        "cu_seqlens_kv": filled.unpadded,
        "cu_seqlens_q_padded": filled.cu_seqlens,
        "cu_seqlens_kv_padded": filled.cu_seqlens,
        "max_seqlen_q": longest,
        "max_seqlen_kv": longest,
    }
