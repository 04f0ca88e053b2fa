"""Columns of packs beside tokens and labels, as tensors of a batch: per-token ones, and one value for each segment."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from packsort.errors import OptionError, SourceError
from packsort.schema import INPUT_IDS, LABELS, POSITION_IDS, SEGMENT_COLUMNS, SEQ_LENGTHS, SEQUENCE_IDS

_OWN = frozenset((INPUT_IDS, LABELS, *SEGMENT_COLUMNS))
"""Columns that the layouts read themselves."""
_MADE = frozenset(("labels", "shift_labels", "attention_mask", "seq_idx", "loss_weights"))
"""Tensors that some options add, so that a column of such a name is refused without them as well."""
_LARGEST = np.uint64(2**63 - 1)
_INDICES = frozenset(("token_type_ids",))
"""Columns that models look up in a table, which takes no integers of 8 bits."""


def other_columns(names: Sequence[str], dropped: Collection[str]) -> list[str]:
    """Return the columns of packs that the layouts do not read themselves.

    Args:
        names: Columns of the packs.
        dropped: Columns that the user leaves out.

    Raises:
        OptionError: A column to leave out is not there, or is one that batches are made of.
    """
    for name in dropped:
        if name in _OWN:
            raise OptionError(f"drop_columns must name columns that batches can do without, got {name!r}")
        if name not in names:
            found = ", ".join(f"`{one}`" for one in names if one not in _OWN)
            raise OptionError(f"drop_columns={name!r} names no column of the packs; beside tokens they have {found}")
    return [name for name in names if name not in _OWN and name not in dropped]


def refuse_taken(names: Collection[str], taken: Collection[str], layout: str) -> None:
    """Refuse columns of packs whose names are those of a batch's own tensors.

    Args:
        names: Columns that go into the batch.
        taken: Names of the batch's own tensors.
        layout: The layout, for the message.

    Raises:
        SourceError: A name is taken.
    """
    for name in names:
        if (name in taken or name in _MADE) and name != POSITION_IDS:
            raise SourceError(
                f"column `{name}` of the packs has the name of a tensor that layout {layout!r} makes: rename it "
                f"before packing, or leave it out with drop_columns=[{name!r}]"
            )


def find_columns(
    packs: Sequence[Mapping[str, Any]], keep: Collection[str] | None, dropped: Collection[str]
) -> tuple[list[str], list[str]]:
    """Return the names of per-token columns, and of columns with one value for each segment.

    Args:
        packs: Packs as `packsort.Shards` gives them.
        keep: Columns with one value for each segment; None tells them by their number of values.
        dropped: Columns that the user leaves out.

    Raises:
        SourceError: A column is not in every pack.
        OptionError: As for `other_columns`.
    """
    names = other_columns(list(packs[0]), dropped)
    for number, pack in enumerate(packs[1:], start=1):
        if pack.keys() == packs[0].keys():
            continue
        for name in sorted(set(names).symmetric_difference(other_columns(list(pack), dropped))):
            here, there = (0, number) if name in names else (number, 0)
            raise SourceError(
                f"pack {here} of the batch has a column `{name}`, but pack {there} has none: either all packs of a "
                "batch have it or none"
            )
    for name in keep or ():
        if name not in names and name not in dropped:
            raise SourceError(f"keep={name!r} names no column of the packs, only {', '.join(map(repr, packs[0]))}")
    if keep is None:
        keep = [name for name in names if _has_a_value_a_segment(name, packs)]
    return [name for name in names if name not in keep], [name for name in names if name in keep]


def _has_a_value_a_segment(name: str, packs: Sequence[Mapping[str, Any]]) -> bool:
    """Tell the two kinds of columns apart; one that may be either is taken for a per-token column."""
    values = [len(pack[name]) if hasattr(pack[name], "__len__") else -1 for pack in packs]
    if values == [len(pack[INPUT_IDS]) for pack in packs]:
        return False
    return values == [len(pack[SEQ_LENGTHS]) for pack in packs]


def token_tensors(
    packs: Sequence[Mapping[str, Any]],
    names: Sequence[str],
    shape: torch.Size,
    row_width: int,
    *,
    pin_memory: bool = False,
) -> dict[str, torch.Tensor]:
    """Make the tensors of per-token columns. Padding of a batch holds 0.

    Args:
        packs: Packs as `packsort.Shards` gives them.
        names: The columns.
        shape: Shape of the batch's tokens, (rows, width).
        row_width: Tokens that each pack is padded to; 0 where packs follow one another.
        pin_memory: Whether to allocate page-locked memory.

    Returns:
        (rows, width) for a column of numbers, (rows, width, k) for k numbers a token. Numbers keep their type; unsigned
        integers of 16 bits or more, for which PyTorch has few operations, and `token_type_ids` become int64.

    Raises:
        SourceError: A column has no number for each token, or `position_ids` do not count up.
    """
    if not names:
        return {}
    ends = np.cumsum([len(pack[INPUT_IDS]) for pack in packs])
    starts = np.arange(len(packs)) * row_width if row_width else ends - [len(pack[INPUT_IDS]) for pack in packs]
    tensors = {}
    for name in names:
        arrays = [number_array(pack, name, number, INPUT_IDS) for number, pack in enumerate(packs)]
        if name == POSITION_IDS:
            for number, pack in enumerate(packs):
                _check_positions(pack, arrays[number], number)
            continue
        kind = np.result_type(*arrays)
        widths = {array.shape[1:] for array in arrays}
        if len(widths) > 1:
            raise SourceError(f"column `{name}` must hold as many numbers of a token in all packs, got {widths}")
        if kind == np.uint64 and any(array.max(initial=0) > _LARGEST for array in arrays):
            raise SourceError(
                f"column `{name}` must hold integers up to 2**63 - 1, because PyTorch computes with int64"
            )
        tensors[name] = _spread(arrays, starts.tolist(), (*shape, *widths.pop()), _tensor_type(kind, name), pin_memory)
    return tensors


def number_array(pack: Mapping[str, Any], name: str, number: int, like: str) -> NDArray[Any]:
    """Return a column of a pack as numbers.

    Args:
        pack: The pack.
        name: The column.
        number: Number of the pack in its batch, for the message.
        like: `INPUT_IDS` for a value of each token, `SEQ_LENGTHS` for one of each segment.

    Raises:
        SourceError: The column holds no numbers, or more or fewer.
    """
    try:
        values = np.asarray(pack[name])
    except ValueError:  # lists of different lengths
        values = np.zeros(0, object)
    count, noun = len(pack[like]), "tokens" if like == INPUT_IDS else "segments"
    if values.ndim < 1 or len(values) != count or values.dtype.kind not in "biuf":
        raise SourceError(
            f"pack {number} of the batch: column `{name}` has no number for each of {count} {noun}: correct it, or "
            f"leave it out with drop_columns=[{name!r}]"
        )
    return values


def _check_positions(pack: Mapping[str, Any], positions: NDArray[Any], number: int) -> None:
    """Refuse positions that a batch, which counts its own, would change."""
    lengths = np.asarray(pack[SEQ_LENGTHS])
    steps = np.diff(positions) == 1
    steps[np.cumsum(lengths)[:-1] - 1] = True  # between two segments
    if SEQUENCE_IDS in pack:
        steps |= np.repeat(np.asarray(pack[SEQUENCE_IDS]) < 0, lengths)[1:]
    if not steps.all():
        at = int(np.argmin(steps))
        raise SourceError(
            f"pack {number} of the batch: column `{POSITION_IDS}` goes from {positions[at]} to {positions[at + 1]} at "
            f"token {at + 1}, but positions of a batch count up by 1 in each sequence: leave it out with "
            f"drop_columns=[{POSITION_IDS!r}]"
        )


def _tensor_type(kind: np.dtype[Any], name: str) -> np.dtype[Any]:
    wide_unsigned = kind.kind == "u" and kind.itemsize > 1
    return np.dtype(np.int64) if wide_unsigned or (name in _INDICES and kind.kind in "iu") else kind


def _spread(
    arrays: Sequence[NDArray[Any]], starts: Sequence[int], shape: Sequence[int], kind: np.dtype[Any], pin_memory: bool
) -> torch.Tensor:
    """Write arrays into one tensor of zeros, each from its token on."""
    dtype: torch.dtype = getattr(torch, kind.name)
    tensor = torch.zeros(tuple(shape), dtype=dtype, pin_memory=pin_memory)
    tokens = tensor.flatten(0, 1).numpy()
    for start, array in zip(starts, arrays, strict=True):
        tokens[start : start + len(array)] = array
    return tensor
