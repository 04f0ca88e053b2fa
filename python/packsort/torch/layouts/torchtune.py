"""`torchtune`: the items of torchtune's `PackedDataset`, stacked.

- `tokens` int64 (packs, max_length): padded with `pad_token_id`.
- `labels` int64 (packs, max_length): unshifted, torchtune's recipes shift them; -100 in padding and at the first token
  of each sequence.
- `input_pos` int64 (packs, max_length): from 0 in each sequence; in padding they run on from the last, as torchtune's.
- `seq_lens` list of int64 (sequences,): tokens of each sequence of each pack, and of its padding, which is a sequence.

`mask` is what the recipes give to the model: `torchtune.modules.attention_utils.packed_block_causal_mask(seq_lens)`,
or, with `block_mask=True`, in the batch already.
"""

from __future__ import annotations

from typing import Any

import torch

from packsort.torch.layouts.filling import Filled


def arrange(filled: Filled) -> dict[str, Any]:
    """The batch."""
    rows, width = filled.input_ids.shape
    starts = torch.arange(rows + 1, dtype=torch.int32) * width
    sizes = torch.searchsorted(filled.cu_seqlens, starts).diff().tolist()
    return {
        "tokens": filled.input_ids,
        "labels": filled.labels,
        "input_pos": filled.position_ids,
        "seq_lens": list(torch.split(filled.cu_seqlens.diff().to(torch.int64), sizes)),
    }
