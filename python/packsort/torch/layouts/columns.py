"""Per-token columns of packs beside tokens and labels, as tensors of a batch."""

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


def token_tensors(
    packs: Sequence[Mapping[str, Any]],
    dropped: Collection[str],
    shape: torch.Size,
    row_width: int,
    *,
    pin_memory: bool = False,
) -> dict[str, torch.Tensor]:
    """Make the tensors of per-token columns. Padding of a batch holds 0.

    Args:
        packs: Packs as `packsort.Shards` gives them.
        dropped: Columns that the user leaves out.
        shape: Shape of the batch's tokens, (rows, width).
        row_width: Tokens that each pack is padded to; 0 where packs follow one another.
        pin_memory: Whether to allocate page-locked memory.

    Returns:
        (rows, width) for a column of numbers, (rows, width, k) for k numbers a token. Numbers keep their type; unsigned
        integers of 16 bits or more, for which PyTorch has few operations, and `token_type_ids` become int64.

    Raises:
        SourceError: A column has no value for each token, or is not in every pack; or `position_ids` do not count up.
        OptionError: As for `other_columns`.
    """
    names = other_columns(list(packs[0]), dropped)
    for number, pack in enumerate(packs):
        different = set(names).symmetric_difference(other_columns(list(pack), dropped)) if number else ()
        for name in sorted(different):
            here, there = (0, number) if name in names else (number, 0)
            raise SourceError(
                f"pack {here} of the batch has a column `{name}`, but pack {there} has none: either all packs of a "
                "batch have it or none"
            )
    if not names:
        return {}
    ends = np.cumsum([len(pack[INPUT_IDS]) for pack in packs])
    starts = np.arange(len(packs)) * row_width if row_width else ends - [len(pack[INPUT_IDS]) for pack in packs]
    tensors = {}
    for name in names:
        arrays = [_token_array(pack, name, number) for number, pack in enumerate(packs)]
        if name == POSITION_IDS:
            for number, pack in enumerate(packs):
                _check_positions(pack, arrays[number], number)
            continue
        try:
            kind = np.result_type(*arrays)
        except TypeError:
            kind = np.dtype(object)
        widths = {array.shape[1:] for array in arrays}
        if kind.kind not in "biuf" or len(widths) > 1:
            raise SourceError(f"column `{name}` must hold numbers of one shape in all packs of a batch")
        tensors[name] = _spread(arrays, starts.tolist(), (*shape, *widths.pop()), _tensor_type(kind, name), pin_memory)
    return tensors


def _token_array(pack: Mapping[str, Any], name: str, number: int) -> NDArray[Any]:
    try:
        values = np.asarray(pack[name])
    except ValueError:  # lists of different lengths
        values = np.zeros(0, object)
    tokens = len(pack[INPUT_IDS])
    if values.ndim < 1 or len(values) != tokens or values.dtype.kind not in "biuf":
        raise SourceError(
            f"pack {number} of the batch: column `{name}` has no number for each of {tokens} tokens: correct it, or "
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
