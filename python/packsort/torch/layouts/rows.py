"""Layout `rows`: one row of `max_length` tokens for each pack.

- `input_ids`: int64 (packs, max_length). Padded with `pad_token_id`.
- `labels`: int64 (packs, max_length). Unshifted; -100 where a token carries no loss, at the first token of each
  segment, and in padding. With `labels="shifted"` the key is `shift_labels`.
- `position_ids`: int64 (packs, max_length). Positions restart at 0 in each segment.
- `segment_ids`: int32 (packs, max_length). 1, 2, ... for the sequences of a row, 0 for padding.
- `seq_idx`: int32 (packs, max_length). Number of each token's segment in its row, from 0, padding counted like any
  other. `seq_idx=False` leaves it out.

The option `padding` says which segment the padding at the end of a row belongs to. `own` makes it a segment of its own,
whose positions start at 0, so no sequence attends to it. `last` adds it to the last sequence, whose positions continue,
so a row has no more segments than its pack.
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
        "segment_ids": tensors.segment_ids,
    }
