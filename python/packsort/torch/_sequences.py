"""Sequences of a stream, one by one, in the types that packs have."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from packsort.errors import SourceError

Columns = dict[str, NDArray[Any]]

_INT32 = np.iinfo(np.int32)
_LEAST = {"input_ids": 0, "labels": _INT32.min}  # columns that become int32


def as_sequence(item: Any, number: int, names: Sequence[str] | None) -> Columns:
    """The per-token columns of one item of a stream: (tokens,) each, `input_ids` and `labels` int32.

    Args:
        item: a dict with `input_ids`, or the token ids alone.
        number: of the item, for messages.
        names: of the columns that it must have; None takes all that have a number a token.

    Raises:
        SourceError: there are no tokens, or a column is missing, has other than numbers, or has more or fewer of them.
    """
    item = item if isinstance(item, Mapping) else {"input_ids": item}
    if names is None:
        names = ["input_ids", *(name for name, value in item.items() if name != "input_ids" and _is_column(value))]
    found: Columns = {}
    for name in names:
        if name not in item:
            raise SourceError(f"sequence {number} of the stream has no `{name}`, it has {', '.join(map(repr, item))}")
        found[name] = _as_array(item[name], name, number)
        if len(found[name]) != len(found["input_ids"]):
            raise SourceError(
                f"sequence {number} of the stream: `{name}` has {len(found[name])} values, `input_ids` has "
                f"{len(found['input_ids'])}"
            )
    if not len(found["input_ids"]):
        raise SourceError(f"sequence {number} of the stream has no tokens: `input_ids` is empty")
    return found


def join(sequences: Sequence[Columns], numbers: Sequence[int]) -> Columns:
    """A pack of sequences, as `packsort.Shards` gives packs."""
    pack = {name: np.concatenate([one[name] for one in sequences]) for name in sequences[0]}
    pack["seq_lengths"] = np.array([len(one["input_ids"]) for one in sequences], np.int32)
    pack["sequence_ids"] = np.array(numbers, np.int64)
    return pack


def to_state(sequences: Sequence[Columns]) -> dict[str, torch.Tensor]:
    """Sequences as tensors: `lengths`, and each column with all values one after another."""
    state = {"lengths": torch.tensor([len(one["input_ids"]) for one in sequences], dtype=torch.int64)}
    for name in sequences[0] if sequences else ():
        state[name] = torch.from_numpy(np.concatenate([one[name] for one in sequences]))
    return state


def from_state(state: dict[str, torch.Tensor]) -> list[Columns]:
    """The inverse of `to_state`."""
    lengths = state["lengths"].numpy()
    ends = np.cumsum(lengths)
    columns = {name: values.numpy() for name, values in state.items() if name != "lengths"}
    return [
        {name: values[end - length : end] for name, values in columns.items()}
        for length, end in zip(lengths.tolist(), ends.tolist(), strict=True)
    ]


def _is_column(value: Any) -> bool:
    if isinstance(value, (np.ndarray, torch.Tensor)):
        return value.ndim == 1
    return isinstance(value, (list, tuple)) and all(isinstance(one, (bool, int, float)) for one in value[:1])


def _as_array(values: Any, name: str, number: int) -> NDArray[Any]:
    try:
        array = np.asarray(values)
    except (TypeError, ValueError) as error:
        raise SourceError(f"sequence {number} of the stream: `{name}` is not a list of numbers: {error}") from None
    if array.ndim != 1 or (len(array) and array.dtype.kind not in ("iu" if name in _LEAST else "iufb")):
        raise SourceError(
            f"sequence {number} of the stream: `{name}` is {array.dtype} of shape {array.shape}, allowed is a list of "
            f"{'integers' if name in _LEAST else 'numbers'}"
        )
    if name not in _LEAST:
        return array
    if len(array) and (array.min() < _LEAST[name] or array.max() > _INT32.max):
        at = int(np.argmax((array < _LEAST[name]) | (array > _INT32.max)))
        raise SourceError(
            f"sequence {number} of the stream: `{name}` has {array[at]} at position {at}, allowed is {_LEAST[name]} to "
            f"{_INT32.max}"
        )
    return array.astype(np.int32)  # a copy: a stream may use its buffers again
