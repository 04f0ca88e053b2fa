"""`rows`: a row of `max_length` tokens a pack.

- `input_ids` int64 (packs, max_length): padded with `pad_token_id`.
- `labels` int64 (packs, max_length): as in `flat`; -100 in padding.
- `position_ids` int64 (packs, max_length): from 0 in each sequence.
- `segment_ids` int32 (packs, max_length): 1, 2, ... for the sequences of a row, 0 for padding.

What the padding at the end of a row counts as is the option `padding`: `own` makes it a segment of its own, whose
positions start at 0, so that nothing attends to it; `last` makes it part of the last sequence, whose positions run on,
so that there is no sequence more than in the pack.
"""

from __future__ import annotations

from typing import Any

from packsort.torch.layouts.filling import Filled


def arrange(filled: Filled) -> dict[str, Any]:
    """The batch."""
    return {
        "input_ids": filled.input_ids,
        "labels" if filled.labels_are == "unshifted" else "shift_labels": filled.labels,
        "position_ids": filled.position_ids,
        "segment_ids": filled.segment_ids,
    }
