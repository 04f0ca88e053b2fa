"""Tensors of a batch, before a layout names them; the core writes them in one call."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from packsort import _core
from packsort.errors import SourceError
from packsort.schema import INPUT_IDS, LABELS, SEQ_LENGTHS, SEQUENCE_IDS
from packsort.torch.layouts.tail import write_tail

CoreTokens = NDArray[np.int32] | _core.Pieces
"""Tokens or labels as the core takes them: an array, or pieces of a column."""

_INT32, _INT64 = np.dtype(np.int32), np.dtype(np.int64)

CorePack = tuple[CoreTokens, CoreTokens | None, NDArray[np.int32], NDArray[np.int64] | None]
"""A pack as the core takes it: tokens, labels or None, segment lengths, sequence ids or None."""


@dataclass(frozen=True)
class TensorSpec:
    """Shapes and contents of a batch's tensors.

    Attributes:
        label_placement: `unshifted` labels stand at the token they name, `shifted` ones at the token before it.
            `masked` are shifted and name a token even where it carries no loss; `loss_mask` says where it does.
        attend_pack: Whether a token attends to all of its pack before it; each pack is then one segment.
        row_width: Tokens that each pack is padded to; 0 adds no padding.
        single_row: Whether all packs go into one row.
        max_segments: Segments of a pack that `cu_seqlens` has room for, which fixes its length; 0 leaves it free.
        tokens_multiple_of: Number of which the tokens of a single row are a multiple; padding at its end sees to it.
        pad_token_id: Token id of padding.
        padding_joins_last: Whether the padding of a row belongs to the last segment.
        positions_continue: Whether positions continue from the last segment into the padding of a row.
        filler_joins: Whether padding and separators in a pack belong to the sequence before them in `cu_seqlens`.
        optional: Names of the optional tensors of `BatchTensors` to make.
    """

    label_placement: str
    attend_pack: bool
    row_width: int
    single_row: bool
    max_segments: int
    tokens_multiple_of: int
    pad_token_id: int
    padding_joins_last: bool
    positions_continue: bool
    filler_joins: bool
    optional: frozenset[str]


@dataclass
class BatchTensors:
    """Tensors of a batch of R rows; R is 1 where all packs go into one row.

    Attributes:
        label_placement: Placement of the labels, as in `TensorSpec`.
        input_ids: int64 (R, width).
        labels: int64 (R, width).
        position_ids: int64 (R, width).
        cu_seqlens: int32 (segments + 1,), counted over all rows.
        max_seqlen: Tokens of the longest segment.
        cu_seqlens_unpadded: int32 (segments + 1,): `cu_seqlens` without padding and separators, or None.
        loss_mask, loss_weights: float32 (R, width), or None.
        segment_ids, seq_idx: int32 (R, width), or None.
        padding_mask: bool (R, width), True at padding and separators, or None.
    """

    label_placement: str
    input_ids: torch.Tensor
    labels: torch.Tensor
    position_ids: torch.Tensor
    cu_seqlens: torch.Tensor
    max_seqlen: int
    cu_seqlens_unpadded: torch.Tensor | None
    loss_mask: torch.Tensor | None = None
    loss_weights: torch.Tensor | None = None
    segment_ids: torch.Tensor | None = None
    seq_idx: torch.Tensor | None = None
    padding_mask: torch.Tensor | None = None


def core_packs(packs: Sequence[Mapping[str, Any]]) -> list[CorePack]:
    """Convert packs to what the core takes.

    Args:
        packs: Packs as `packsort.Shards` gives them; lists and other integer types are converted.

    Raises:
        SourceError: A pack lacks a column, or some packs have labels and others do not.
    """
    labelled = [LABELS in pack for pack in packs]
    if any(labelled) and not all(labelled):
        raise SourceError(
            f"pack {labelled.index(False)} of the batch has no column `labels`, but others do: "
            "either all packs of a batch have labels or none"
        )
    try:
        return [
            (
                _tokens(pack[INPUT_IDS]),
                _tokens(pack[LABELS]) if LABELS in pack else None,
                np.ascontiguousarray(pack[SEQ_LENGTHS], _INT32),
                np.ascontiguousarray(pack[SEQUENCE_IDS], _INT64) if SEQUENCE_IDS in pack else None,
            )
            for pack in packs
        ]
    except KeyError as error:
        number = next(i for i, pack in enumerate(packs) if error.args[0] not in pack)
        raise SourceError(
            f"pack {number} of the batch has no column `{error.args[0]}`, only {', '.join(map(repr, packs[number]))}: "
            "transformers' `Trainer` removes columns unless `remove_unused_columns=False`"
        ) from None


def batch_tensors(
    packs: list[CorePack], spec: TensorSpec, weights: tuple[str, float] | None, pin_memory: bool
) -> BatchTensors:
    """Make the tensors of a batch.

    Args:
        packs: Packs as `core_packs` returns them.
        spec: Shapes and contents of the tensors.
        weights: The weighting of the loss and the step's total that it is divided by, or None.
        pin_memory: Whether to allocate page-locked memory.
    """
    tokens = spec.row_width * len(packs) if spec.row_width else sum(len(pack[0]) for pack in packs)
    tail = -tokens % spec.tokens_multiple_of
    shape = (1, tokens + tail) if spec.single_row else (len(packs), spec.row_width)
    paddings = len(packs) if spec.row_width and not spec.filler_joins else 0
    if spec.max_segments:
        room = spec.max_segments * len(packs) + paddings + 1
    elif spec.attend_pack:
        room = len(packs) + paddings + 1
    else:
        room = sum(len(pack[2]) for pack in packs) + paddings + 1
    empty = _pinned if pin_memory else np.empty
    room += int(tail > 0 and not spec.filler_joins)
    cu_seqlens = empty(room, np.int32)
    input_ids, labels, position_ids = empty(shape, np.int64), empty(shape, np.int64), empty(shape, np.int64)
    optional: dict[str, Any] = {
        name: empty(shape, np.float32 if name.startswith("loss") else np.int32)
        for name in spec.optional - {"padding_mask"}
    }
    unpadded = empty(room, np.int32) if spec.filler_joins else None

    def own(array: NDArray[Any]) -> NDArray[Any]:
        """Return the part of an array that the packs fill."""
        return array[:, :tokens] if tail else array

    segments, longest = _core.fill_batch(
        packs,
        (
            spec.label_placement,
            spec.attend_pack,
            spec.row_width,
            spec.pad_token_id,
            spec.padding_joins_last,
            spec.positions_continue,
            not spec.single_row,
        ),
        weights,
        own(input_ids),
        own(labels),
        own(position_ids),
        cu_seqlens,
        unpadded=unpadded,
        **{name: own(array) for name, array in optional.items()},
    )
    longest = spec.row_width if spec.max_segments else longest
    if tail:
        last = write_tail(
            {"input_ids": input_ids, "labels": labels, "position_ids": position_ids, **optional},
            cu_seqlens,
            tail,
            segments,
            pad_token_id=spec.pad_token_id,
            labels_name_tokens=spec.label_placement == "masked",
            joins=spec.filler_joins,
        )
        # Where shapes are fixed, the longest segment must not depend on the packs either.
        longest = spec.row_width + tail if spec.max_segments and spec.filler_joins else max(longest, last)
        segments += not spec.filler_joins
    if "padding_mask" in spec.optional:
        optional["padding_mask"] = empty(shape, np.bool_)
        _mark_padding(packs, spec.row_width, optional["padding_mask"])
    end = room if spec.max_segments else segments + 1
    tensors = {name: torch.from_numpy(array) for name, array in optional.items()}
    return BatchTensors(
        spec.label_placement,
        torch.from_numpy(input_ids),
        torch.from_numpy(labels),
        torch.from_numpy(position_ids),
        torch.from_numpy(cu_seqlens[:end]),
        longest,
        None if unpadded is None else torch.from_numpy(unpadded[:end]),
        **tensors,
    )


def _mark_padding(packs: Sequence[CorePack], row_width: int, mask: NDArray[np.bool_]) -> None:
    """Write True at the filler in packs and at the padding after them, else False."""
    tokens, start = mask.reshape(-1), 0
    tokens.fill(True)
    for ids, _, lengths, sequence_ids in packs:
        filler = False if sequence_ids is None else np.repeat(sequence_ids < 0, lengths)
        tokens[start : start + len(ids)] = filler
        start += row_width or len(ids)


def _pinned(shape: Any, kind: Any) -> NDArray[Any]:
    """Allocate an array in page-locked memory; tensors made of it are pinned as well."""
    dtype: torch.dtype = getattr(torch, np.dtype(kind).name)
    return torch.empty(shape, dtype=dtype, pin_memory=True).numpy()


def _tokens(values: Any) -> CoreTokens:
    return values if type(values) is _core.Pieces else np.ascontiguousarray(values, _INT32)
