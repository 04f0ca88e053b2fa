"""The tensors that every layout is made of, filled by the core."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from packsort import _core
from packsort.errors import SourceError

CorePack = tuple[NDArray[np.int32], "NDArray[np.int32] | None", NDArray[np.int32], "NDArray[np.int64] | None"]


@dataclass(frozen=True)
class Style:
    """How packs become rows.

    Attributes:
        labels: which token a label is: `unshifted` (the one in its place), `shifted` (the next), or `masked` (the next,
            also where no loss is taken; `loss_mask` says where).
        whole_pack: whether tokens see all of their pack before them, and positions run on in it.
        row: tokens to which each pack is padded; 0: it is not.
        one_row: whether rows are put one after another into one.
        max_sequences: makes `cu_seqlens` as long in each batch; 0: they are as long as they need to be.
        pad_token_id: what padding is of.
        padding_joins: whether padding is part of the sequence before it.
        positions_run_on: whether positions run on from the sequence before it into padding.
        merge_filler: whether filler (padding, separators) is the end of the sequence before it in `cu_seqlens`.
        wanted: which of the optional tensors are wanted.
    """

    labels: str
    whole_pack: bool
    row: int
    one_row: bool
    max_sequences: int
    pad_token_id: int
    padding_joins: bool = False
    positions_run_on: bool = False
    merge_filler: bool = False
    wanted: frozenset[str] = field(default_factory=frozenset)


@dataclass
class Filled:
    """The tensors of a batch; R is 1 where there is one row."""

    labels_are: str
    input_ids: torch.Tensor  # int64 (R, width)
    labels: torch.Tensor  # int64 (R, width)
    position_ids: torch.Tensor  # int64 (R, width)
    cu_seqlens: torch.Tensor  # int32 (segments + 1,), over all rows
    longest: int
    unpadded: torch.Tensor | None  # int32 (segments + 1,)
    loss_mask: torch.Tensor | None  # float32 (R, width)
    loss_weights: torch.Tensor | None  # float32 (R, width)
    segment_ids: torch.Tensor | None  # int32 (R, width)
    seq_idx: torch.Tensor | None  # int32 (R, width)


def core_packs(packs: Sequence[Mapping[str, Any]]) -> list[CorePack]:
    """Packs as the core takes them.

    Raises:
        SourceError: a pack lacks a column.
    """
    try:
        return [
            (
                _array(pack["input_ids"], np.int32),
                _array(pack["labels"], np.int32) if "labels" in pack else None,
                _array(pack["seq_lengths"], np.int32),
                _array(pack["sequence_ids"], np.int64) if "sequence_ids" in pack else None,
            )
            for pack in packs
        ]
    except KeyError as error:
        number = next(i for i, pack in enumerate(packs) if error.args[0] not in pack)
        raise SourceError(
            f"pack {number} of the batch has no column `{error.args[0]}`, but {', '.join(map(repr, packs[number]))}; "
            "transformers' `Trainer` takes columns away unless `remove_unused_columns` is False"
        ) from None


def fill(packs: list[CorePack], style: Style, weights: tuple[str, float] | None, pin_memory: bool) -> Filled:
    """Fills the tensors of a batch.

    Args:
        packs: as `core_packs` gives them.
        style: how they become rows.
        weights: the scheme of `loss_weights` and their total over the step.
        pin_memory: whether the tensors are in page-locked memory.
    """
    tokens = style.row * len(packs) if style.row else sum(len(pack[0]) for pack in packs)
    shape = (1, tokens) if style.one_row else (len(packs), style.row)

    def empty(size: int, dtype: torch.dtype) -> torch.Tensor:
        return torch.empty(size, dtype=dtype, pin_memory=pin_memory)

    paddings = len(packs) if style.row and not style.merge_filler else 0
    if style.max_sequences:
        room = style.max_sequences * len(packs) + paddings + 1
    elif style.whole_pack:
        room = len(packs) + paddings + 1
    else:
        room = sum(len(pack[2]) for pack in packs) + paddings + 1
    cu_seqlens = empty(room, torch.int32)
    three = [empty(tokens, torch.int64) for _ in range(3)]
    optional = {
        name: empty(tokens, torch.float32 if name.startswith("loss") else torch.int32) for name in style.wanted
    }
    unpadded = empty(room, torch.int32) if style.merge_filler else None
    segments, longest = _core.fill_batch(
        packs,
        (
            style.labels,
            style.whole_pack,
            style.row,
            style.pad_token_id,
            style.padding_joins,
            style.positions_run_on,
            not style.one_row,
        ),
        weights,
        *(tensor.numpy() for tensor in three),
        cu_seqlens.numpy(),
        unpadded=None if unpadded is None else unpadded.numpy(),
        **{name: tensor.numpy() for name, tensor in optional.items()},
    )
    if not style.max_sequences and segments + 1 < room:
        cu_seqlens = cu_seqlens[: segments + 1]
        unpadded = None if unpadded is None else unpadded[: segments + 1]
    input_ids, labels, position_ids = (tensor.view(shape) for tensor in three)
    rest = {
        name: optional[name].view(shape) if name in optional else None
        for name in ("loss_mask", "loss_weights", "segment_ids", "seq_idx")
    }
    longest = style.row if style.max_sequences else longest
    return Filled(style.labels, input_ids, labels, position_ids, cu_seqlens, longest, unpadded, **rest)


def _array(values: Any, kind: Any) -> NDArray[Any]:
    return np.ascontiguousarray(values, dtype=kind)
