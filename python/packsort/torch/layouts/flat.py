"""Layout `flat`: the packs of a batch in one row, as transformers' padding-free path reads them.

- `input_ids`: int64 (1, tokens).
- `labels`: int64 (1, tokens). Unshifted; -100 where a token carries no loss, and at the first token of each segment,
  which no token predicts. With `labels="shifted"` the key is `shift_labels`, transformers' name for shifted labels, so
  that no model shifts them again.
- `position_ids`: int64 (1, tokens). Positions restart at 0 in each segment.
- `cu_seq_lens_q`, `cu_seq_lens_k`: int32 (segments + 1,). Start of each segment, and the end of the last. Both keys
  hold the same tensor.
- `max_length_q`, `max_length_k`: int. Tokens of the longest segment.
- `seq_idx`: int32 (1, tokens). Number of each token's segment, from 0, as transformers' and TRL's collators number
  them. `seq_idx=False` leaves it out.

With `attention="pack"` each pack is one segment.

With `max_sequences` all shapes are fixed, as CUDA graphs need them. Each pack is padded to `max_length`, and this
padding is a segment of its own, so a batch has packs x `max_length` tokens. `cu_seq_lens_*` have
packs x (`max_sequences` + `max_fillers` + 1) + 1 values: their end is repeated, which stands for segments without
tokens. `max_length_*` are `max_length`.

With `pad_batch_to_multiple_of` padding follows the last pack where the tokens are no such multiple. It is a segment of
its own.

There is no `attention_mask`. Flash attention takes the segments from `cu_seq_lens_*`. SDPA and eager attention derive
them from `position_ids`, but only while the model makes no key-value cache. Set `model.config.use_cache = False`, as
`transformers.Trainer` does, or sequences attend to each other.

A few models (OPT, GPT-OSS) do not look at `position_ids` there. They keep sequences apart by an explicit mask: with
`block_mask` the batch has an `attention_mask` for FlexAttention, and `packsort.torch.dense_masks` makes one for SDPA
and eager attention.
"""

from __future__ import annotations

from typing import Any

from packsort.torch.layouts.tensors import BatchTensors

__all__ = ["name_tensors"]


def name_tensors(tensors: BatchTensors) -> dict[str, Any]:
    """Return the tensors of a batch under the names of this layout."""
    return {
        "input_ids": tensors.input_ids,
        "labels" if tensors.label_placement == "unshifted" else "shift_labels": tensors.labels,
        "position_ids": tensors.position_ids,
        "cu_seq_lens_q": tensors.cu_seqlens,
        "cu_seq_lens_k": tensors.cu_seqlens,
        "max_length_q": tensors.max_seqlen,
        "max_length_k": tensors.max_seqlen,
    }
