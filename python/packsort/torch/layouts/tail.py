"""Padding at the end of a batch, which makes its tokens a multiple."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from packsort.schema import NO_LOSS


def write_tail(
    arrays: Mapping[str, NDArray[Any]],
    cu_seqlens: NDArray[np.int32],
    tail: int,
    segments: int,
    *,
    pad_token_id: int,
    labels_name_tokens: bool,
    joins: bool,
) -> int:
    """Write the padding behind the packs of a batch; return the tokens of the segment that it belongs to.

    Args:
        arrays: `input_ids`, `labels`, `position_ids` and further arrays of a batch, (1, tokens) each, padding included.
        cu_seqlens: int32 (segments + 1 or more,), with one place more for the padding unless it joins.
        tail: Tokens of the padding, at least 1.
        segments: Segments of the packs.
        pad_token_id: Token id of padding.
        labels_name_tokens: Whether labels name a token even where it carries no loss.
        joins: Whether the padding belongs to the last segment of the packs.
    """
    values = {
        "input_ids": pad_token_id,
        "labels": pad_token_id if labels_name_tokens else NO_LOSS,
        "position_ids": np.arange(tail),
        "seq_idx": segments,
    }
    for name, array in arrays.items():
        array[:, -tail:] = values.get(name, 0)
    end = cu_seqlens[segments] + tail
    last = segments - 1 if joins else segments
    cu_seqlens[last + 1 :] = end
    return int(end - cu_seqlens[last])
