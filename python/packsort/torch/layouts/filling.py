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
    loss_mask: torch.Tensor | None = None  # float32 (R, width)
    loss_weights: torch.Tensor | None = None  # float32 (R, width)
    segment_ids: torch.Tensor | None = None  # int32 (R, width)
    seq_idx: torch.Tensor | None = None  # int32 (R, width)


def core_packs(packs: Sequence[Mapping[str, Any]]) -> list[CorePack]:
    """Packs as the core takes them.

    Raises:
        SourceError: a pack lacks a column, or some have labels and some have none.
    """
    labelled = ["labels" in pack for pack in packs]
    if any(labelled) and not all(labelled):
        raise SourceError(
            f"pack {labelled.index(False)} of the batch has no column `labels`, but others have; allowed is all or none"
        )
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

    paddings = len(packs) if style.row and not style.merge_filler else 0
    if style.max_sequences:
        room = style.max_sequences * len(packs) + paddings + 1
    elif style.whole_pack:
        room = len(packs) + paddings + 1
    else:
        room = sum(len(pack[2]) for pack in packs) + paddings + 1
    empty = _pinned if pin_memory else np.empty
    cu_seqlens = empty(room, np.int32)
    input_ids, labels, position_ids = empty(shape, np.int64), empty(shape, np.int64), empty(shape, np.int64)
    optional: dict[str, Any] = {
        name: empty(shape, np.float32 if name.startswith("loss") else np.int32) for name in style.wanted
    }
    unpadded = empty(room, np.int32) if style.merge_filler else None
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
        input_ids,
        labels,
        position_ids,
        cu_seqlens,
        unpadded=unpadded,
        **optional,
    )
    end = room if style.max_sequences else segments + 1
    tensors = {name: torch.from_numpy(array) for name, array in optional.items()}
    return Filled(
        style.labels,
        torch.from_numpy(input_ids),
        torch.from_numpy(labels),
        torch.from_numpy(position_ids),
        torch.from_numpy(cu_seqlens[:end]),
        style.row if style.max_sequences else longest,
        None if unpadded is None else torch.from_numpy(unpadded[:end]),
        **tensors,
    )


def _pinned(shape: Any, kind: Any) -> NDArray[Any]:
    """An array in page-locked memory; a tensor that is made of it is pinned, too."""
    dtype: torch.dtype = getattr(torch, np.dtype(kind).name)
    return torch.empty(shape, dtype=dtype, pin_memory=True).numpy()


def _array(values: Any, kind: Any) -> NDArray[Any]:
    return np.ascontiguousarray(values, dtype=kind)
