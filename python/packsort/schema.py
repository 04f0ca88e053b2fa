"""Names and numbers that packed data agree on: columns, label and segment markers, the range of token ids.

Example:
    >>> from packsort import schema
    >>> schema.INPUT_IDS, schema.NO_LOSS, schema.PADDING, schema.SEPARATOR
    ('input_ids', -100, -1, -2)
"""

from __future__ import annotations

from typing import Final as _Final

__all__ = [
    "ATTENTION_MASK",
    "INPUT_IDS",
    "INT32_COLUMNS",
    "LABELS",
    "LENGTH",
    "LOSS_MASKS",
    "MAX_LENGTH_LIMIT",
    "MAX_TOKEN_ID",
    "NO_LOSS",
    "NO_VALUE",
    "PADDING",
    "PIECE_STARTS",
    "POSITION_IDS",
    "SEGMENT_COLUMNS",
    "SEPARATOR",
    "SEQUENCE_IDS",
    "SEQ_LENGTHS",
]

INPUT_IDS: _Final = "input_ids"
"""Token ids: `list<int32>`."""

LABELS: _Final = "labels"
"""Unshifted labels: `list<int32>`, `NO_LOSS` where a token carries no loss."""

ATTENTION_MASK: _Final = "attention_mask"
"""Mask of an earlier step's padding, a list of 0 and 1: tokens where it is 0 are left out. It is not packed."""

LOSS_MASKS: _Final = ("completion_mask", "assistant_masks")
"""Masks that become `labels`, as in TRL: tokens where one of them is 0 carry no loss. They are not packed."""

LENGTH: _Final = "length"
"""Tokens of each row of a token file: an integer column that makes reading the lists unnecessary."""

POSITION_IDS: _Final = "position_ids"
"""Positions of an earlier step, one for each token. They must not start anew within a row; batches have their own."""

SEQ_LENGTHS: _Final = "seq_lengths"
"""Tokens of each segment of a pack: `list<int32>`."""

SEQUENCE_IDS: _Final = "sequence_ids"
"""Source row of each segment of a pack: `list<int64>`; `PADDING` and `SEPARATOR` mark segments without a sequence."""

PIECE_STARTS: _Final = "piece_starts"
"""First token of each segment in its source row: `list<int32>`; only where sequences are cut."""

SEGMENT_COLUMNS: _Final = (SEQ_LENGTHS, SEQUENCE_IDS, PIECE_STARTS)
"""Columns with one value for each segment that every pack may have. Columns that were kept (`keep`) have one as well;
all other columns of a pack have one value for each token."""

NO_VALUE: _Final = -1
"""Value of separators and padding in a column of integers that is kept, which codes of text are as well. In a column of
floats it is 0, of booleans False."""

NO_LOSS: _Final = -100
"""Label of a token that carries no loss, as PyTorch's cross-entropy ignores it."""

PADDING: _Final = -1
"""Id in `sequence_ids` of the padding after a sequence."""

SEPARATOR: _Final = -2
"""Id in `sequence_ids` of a separator between two sequences."""

MAX_TOKEN_ID: _Final = 2**31 - 1
"""Largest token id and label: both are stored as int32."""

INT32_COLUMNS: _Final = {INPUT_IDS: 0, LABELS: -(2**31)}
"""Columns stored as int32, each with the least value it may hold."""

MAX_LENGTH_LIMIT: _Final = 2**31 - 1
"""Largest `max_length`: offsets within a pack are int32."""


def __dir__() -> list[str]:
    return __all__
