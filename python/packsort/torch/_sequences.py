"""Sequences of a stream: one item at a time, in the types that packs have, and as tensors of a checkpoint."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray

from packsort.errors import SourceError
from packsort.schema import INPUT_IDS, INT32_COLUMNS, LABELS, LENGTH, SEQ_LENGTHS, SEQUENCE_IDS
from packsort.sources import token_rules

TokenArrays = dict[str, NDArray[Any]]
"""Values of each token column of a sequence or pack, (tokens,) each."""


def as_sequence(item: Any, number: int, names: Sequence[str] | None) -> TokenArrays:
    """Convert one item of a stream to token columns, and check it as the row of a file is checked.

    Args:
        item: A dict with `input_ids`, or token ids alone.
        number: Number of the item in the stream, for messages.
        names: Columns that it must have, `input_ids` first. None takes all that have one value a token.

    Returns:
        The columns, (tokens,) each; `input_ids` and `labels` int32.

    Raises:
        SourceError: A column is missing, is no list of numbers, has a null, a value out of range, or more or fewer
            values than `input_ids`; there are no tokens; or the item stores a `length` that differs.

    Example:
        >>> as_sequence({"input_ids": [5, 7], "text": "five seven"}, 0, None)
        {'input_ids': array([5, 7], dtype=int32)}
    """
    where = f"sequence {number} of the stream"
    item = item if isinstance(item, Mapping) else {INPUT_IDS: item}
    if names is None:
        names = [INPUT_IDS, *(name for name, value in item.items() if name != INPUT_IDS and _is_column(name, value))]
        token_rules.refuse_packs(names, where)
    found: TokenArrays = {}
    fits = True
    for name in names:
        if name not in item:
            raise token_rules.no_column(name, item, where)
        found[name] = _as_array(item[name], name, where)
        fits = fits and len(found[name]) == len(found[INPUT_IDS])
    tokens = len(found[INPUT_IDS])
    if not tokens or not fits:
        lengths = {name: np.array([len(values)]) for name, values in found.items()}
        token_rules.check_not_empty(lengths[INPUT_IDS], lambda row: where)
        for name, length in lengths.items():
            token_rules.check_same_lengths(name, length, lengths[INPUT_IDS], lambda row: where)
    stored = item.get(LENGTH)
    if isinstance(stored, (int, np.integer)) and not isinstance(stored, bool) and stored != tokens:
        raise token_rules.wrong_length(stored, tokens, where)
    return found


def join(sequences: Sequence[TokenArrays], numbers: Sequence[int]) -> TokenArrays:
    """Join sequences into a pack, as `packsort.Shards` gives packs.

    Args:
        sequences: The sequences, at least one.
        numbers: Number of each sequence in the stream.
    """
    pack = {name: np.concatenate([one[name] for one in sequences]) for name in sequences[0]}
    pack[SEQ_LENGTHS] = np.array([len(one[INPUT_IDS]) for one in sequences], np.int32)
    pack[SEQUENCE_IDS] = np.array(numbers, np.int64)
    return pack


def to_state(sequences: Sequence[TokenArrays]) -> dict[str, torch.Tensor]:
    """Return sequences as tensors: `lengths`, and all values of each column, one sequence after another."""
    state = {"lengths": torch.tensor([len(one[INPUT_IDS]) for one in sequences], dtype=torch.int64)}
    for name in sequences[0] if sequences else ():
        state[name] = torch.from_numpy(np.concatenate([one[name] for one in sequences]))
    return state


def from_state(state: dict[str, torch.Tensor]) -> list[TokenArrays]:
    """Return the sequences that `to_state` turned into tensors."""
    lengths = state["lengths"].numpy()
    ends = np.cumsum(lengths)
    columns = {name: values.numpy() for name, values in state.items() if name != "lengths"}
    return [
        {name: values[end - length : end] for name, values in columns.items()}
        for length, end in zip(lengths.tolist(), ends.tolist(), strict=True)
    ]


def _is_column(name: str, value: Any) -> bool:
    """Whether a value of the first item is a token column."""
    if isinstance(value, (np.ndarray, torch.Tensor)):
        return value.ndim == 1
    # A stream has no schema. `labels` that are null in the first item must not be left out of all others.
    if value is None:
        return name == LABELS
    if not isinstance(value, (list, tuple)):
        return False
    first = next((one for one in value if one is not None), None)
    return isinstance(first, (bool, int, float)) if first is not None else not value or name == LABELS


def _as_array(values: Any, name: str, where: str) -> NDArray[Any]:
    if values is None:
        raise token_rules.null_list(name, where)
    try:
        array = np.asarray(values)
    except (TypeError, ValueError) as error:
        raise SourceError(f"{where}: column `{name}` is not a list of numbers: {error}") from None
    if array.dtype.kind == "O" and array.ndim == 1:
        null = next((position for position, value in enumerate(array) if value is None), None)
        if null is not None:
            raise token_rules.null_value(name, null, where)
    if array.ndim != 1:
        raise token_rules.wrong_type(name, f"an array of shape {array.shape}", where)
    if len(array) and array.dtype.kind not in ("iu" if name in INT32_COLUMNS else "iufb"):
        raise token_rules.wrong_type(name, f"a list of {_type_name(array.dtype)}", where)
    if name not in INT32_COLUMNS:
        return array
    index = token_rules.first_out_of_range(array, name) if len(array) else None
    if index is not None:
        raise token_rules.out_of_range(name, array[index], index, where)
    return array.astype(np.int32)  # a copy: a stream may use its buffers again


def _type_name(dtype: np.dtype[Any]) -> str:
    """Return Arrow's name of a type, as messages about files have it."""
    try:
        return str(pa.from_numpy_dtype(dtype))
    except pa.ArrowNotImplementedError:
        return str(dtype)
