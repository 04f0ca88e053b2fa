"""Layout `torchtune`: the items of torchtune's `PackedDataset`, stacked.

- `tokens`: int64 (packs, max_length). Padded with `pad_token_id`.
- `labels`: int64 (packs, max_length). Unshifted, because torchtune's recipes shift them; -100 where a token carries no
  loss, at the first token of each segment, and in padding.
- `input_pos`: int64 (packs, max_length). Positions restart at 0 in each segment; in the padding of a row they continue
  from the last segment, as torchtune's do.
- `seq_lens`: list of int64 (segments,), one tensor for each pack. Tokens of each segment; the padding of a row counts
  as one.

The recipes give the model a `mask`, which `torchtune.modules.attention_utils.packed_block_causal_mask(seq_lens)` makes.
With `block_mask` the batch has it already.
"""

from __future__ import annotations

from typing import Any

import torch

from packsort.torch.layouts.tensors import BatchTensors

__all__ = ["name_tensors"]


def name_tensors(tensors: BatchTensors) -> dict[str, Any]:
    """Return the tensors of a batch under the names of this layout."""
    rows, width = tensors.input_ids.shape
    row_starts = torch.arange(rows + 1, dtype=torch.int32) * width
    segments = torch.searchsorted(tensors.cu_seqlens, row_starts).diff().tolist()  # of each row
    return {
        "tokens": tensors.input_ids,
        "labels": tensors.labels,
        "input_pos": tensors.position_ids,
        "seq_lens": list(torch.split(tensors.cu_seqlens.diff().to(torch.int64), segments)),
    }
