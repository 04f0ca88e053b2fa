"""Columns of packs with one value for each sequence, as tensors with one value for each segment of a batch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from packsort.schema import INPUT_IDS, PADDING, SEQ_LENGTHS, SEQUENCE_IDS
from packsort.sources.sequence_columns import filler_value
from packsort.torch.layouts.columns import number_array


def sequence_tensors(
    packs: Sequence[Mapping[str, Any]], names: Sequence[str], tokens: int, row_width: int, room: int
) -> dict[str, torch.Tensor]:
    """Make the tensors of columns that packs keep.

    Args:
        packs: Packs as `packsort.Shards` gives them.
        names: The columns.
        tokens: Tokens of the batch, padding included.
        row_width: Tokens that each pack is padded to; 0 where packs follow one another.
        room: Segments that a pack has room for, beside its padding, which fixes the shapes; 0 leaves them free.

    Returns:
        Each column, and beside them `seq_lengths` int32 and, where the packs have them, `sequence_ids` int64:
        (segments,) each. The segments are those of the packs, in order. Padding of the batch is a segment with id -1,
        so `seq_lengths` add up to `tokens`. Where `room` fixes the number of segments, the last ones have no tokens.
        Empty without columns.

    Raises:
        SourceError: A column has no number for each segment.
    """
    if not names:
        return {}
    kept = [*([SEQUENCE_IDS] if all(SEQUENCE_IDS in pack for pack in packs) else []), *names]
    short = [max(0, row_width - len(pack[INPUT_IDS])) for pack in packs]
    lengths: list[NDArray[Any]] = []
    for pack, padding in zip(packs, short, strict=True):
        lengths += [np.asarray(pack[SEQ_LENGTHS]), np.full(int(padding > 0), padding)]
    listed = sum(int(one.sum()) for one in lengths)
    lengths.append(np.full(int(tokens > listed), tokens - listed))
    count = sum(len(one) for one in lengths)
    slots = len(packs) * (room + 1) + len(lengths[-1]) if room else count
    unused = slots - count
    tensors = {SEQ_LENGTHS: _joined([*lengths, np.zeros(unused)], np.dtype(np.int32))}
    for name in kept:
        arrays = [number_array(pack, name, number, SEQ_LENGTHS) for number, pack in enumerate(packs)]
        kind = np.result_type(*arrays)
        kind = np.dtype(np.int64) if kind.kind in "iu" else kind
        filler = PADDING if name == SEQUENCE_IDS else filler_value(kind)
        parts: list[NDArray[Any]] = []
        for array, padding in zip(arrays, short, strict=True):
            parts += [array, np.full(int(padding > 0), filler)]
        parts.append(np.full(int(tokens > listed) + unused, filler))
        tensors[name] = _joined(parts, kind)
    return tensors


def _joined(parts: Sequence[NDArray[Any]], kind: np.dtype[Any]) -> torch.Tensor:
    return torch.from_numpy(np.concatenate([part.astype(kind, copy=False) for part in parts]))
