"""Sequences of a stream: one item at a time, in the types that packs have, and as tensors of a checkpoint."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray

from packsort._options.choices import EmptySequences
from packsort._warn import warn
from packsort.errors import SourceError
from packsort.schema import (
    ATTENTION_MASK,
    INPUT_IDS,
    INT32_COLUMNS,
    LABELS,
    LENGTH,
    LOSS_MASKS,
    POSITION_IDS,
    SEQ_LENGTHS,
    SEQUENCE_IDS,
)
from packsort.sources.source import no_column
from packsort.sources.tokens import rules
from packsort.sources.tokens.loss_masks import masked_labels
from packsort.sources.tokens.padding import stretch_of
from packsort.sources.tokens.roles import MASKS, fits, refuse_packs, unknown_masks, wrong_type
from packsort.sources.tokens.uses import describe_uses

TokenArrays = dict[str, NDArray[Any]]
"""Values of each token column of a sequence or pack, (tokens,) each."""


class SequenceReader:
    """Reader of a stream's items, which checks them as rows of files are checked.

    The first sequence with tokens decides which columns are packed; every other one must have the same.

    Args:
        empty: Treatment of sequences without tokens.
        columns: What `columns` was when reading stopped, or None at the beginning of the stream.
    """

    def __init__(self, empty: EmptySequences = "error", columns: Mapping[str, Sequence[str]] | None = None) -> None:
        self._empty = empty
        self._read: list[str] | None = None if columns is None else list(columns["read"])
        self._left_out: set[str] = set() if columns is None else set(columns["left_out"])
        self._said_padding = False

    @property
    def columns(self) -> dict[str, list[str]] | None:
        """Columns that are read, `input_ids` first, and list columns that are left out; None where it is not known."""
        if self._read is None:
            return None
        return {"read": self._read, "left_out": sorted(self._left_out)}

    def read(self, item: Any, number: int) -> tuple[TokenArrays | None, int]:
        """Convert one item to token columns.

        Args:
            item: A dict with `input_ids`, or token ids alone.
            number: Number of the item in the stream, for messages.

        Returns:
            The columns, (tokens,) each, `input_ids` and `labels` int32, or None for a sequence without tokens that is
            dropped; and the number of tokens of padding that are left out.

        Raises:
            SourceError: A column is missing or new, is no list of numbers, has a null, a value out of range, or more or
                fewer values than `input_ids`; there are no tokens; the item stores a `length` that differs; or a mask
                cannot be applied.

        Example:
            >>> SequenceReader().read({"input_ids": [5, 7], "attention_mask": [1, 1], "text": "five seven"}, 0)
            ({'input_ids': array([5, 7], dtype=int32)}, 0)
        """
        where = f"sequence {number} of the stream"
        item = item if isinstance(item, Mapping) else {INPUT_IDS: item}
        if self._read is None:
            refuse_packs(item, where)
        if INPUT_IDS not in item:
            error = no_column(INPUT_IDS, item, where)
            raise SourceError(f"{error}; to make it of conversations or text, pass `tokenizer`")
        ids = _as_array(item[INPUT_IDS], INPUT_IDS, where)
        if len(ids):
            self._decide(item, len(ids), where)
        if self._read is None:
            return self.without_tokens(where, padding=0)
        found = {INPUT_IDS: ids}
        for name in self._read[1:]:
            if name not in item:
                raise no_column(name, item, where)
            found[name] = _as_array(item[name], name, where)
            if len(found[name]) != len(ids):
                lengths = [np.array([len(values)]) for values in (found[name], ids)]
                rules.check_same_lengths(name, lengths[0], lengths[1], lambda row: where)
        first, kept = 0, len(ids)
        if ATTENTION_MASK in found:
            first, kept = stretch_of(found.pop(ATTENTION_MASK), where)
        stored = item.get(LENGTH)
        if isinstance(stored, (int, np.integer)) and not isinstance(stored, bool) and stored not in (len(ids), kept):
            raise rules.wrong_length(stored, len(ids), where)
        if kept < len(ids):
            self._say_padding(where)
            found = {name: values[first : first + kept].copy() for name, values in found.items()}
        if not kept:
            return self.without_tokens(where, padding=len(ids))
        if POSITION_IDS in found and rules.first_restart(found[POSITION_IDS], np.zeros(1, np.int64)) is not None:
            raise rules.restarts(where)
        masks: dict[str, NDArray[Any]] = {name: found.pop(name) for name in LOSS_MASKS if name in found}
        if masks:
            found[LABELS] = masked_labels(
                found[INPUT_IDS], found.get(LABELS), masks, lambda index: (first + index, where)
            )
        return found, len(ids) - kept

    def _decide(self, item: Mapping[str, Any], tokens: int, where: str) -> None:
        """Decide which columns of the item are packed, or compare them with those that are."""
        packed = [INPUT_IDS]
        for name, value in item.items():
            known = name in (self._read or packed) or name in self._left_out
            if not known and name not in (LABELS, *MASKS) and _is_nested(value):
                self._left_out.add(name)
                warn([f"{where}: column `{name}` is left out: it holds lists of lists of numbers"])
                continue
            if known or not _is_column(name, value):
                continue
            found = len(value) if hasattr(value, "__len__") else -1
            if not fits(name, np.array([found]), np.array([tokens])):
                self._left_out.add(name)
                warn([f"{where}: column `{name}` is left out: it does not have one value for each token"])
            elif self._read is None:
                packed.append(name)
            elif value is not None:
                raise SourceError(
                    f"{where}: column `{name}` appears, which the sequences before did not have; all need the same "
                    "columns: add it to all of them, or remove it"
                )
        if self._read is None:
            self._read = packed
            warn(describe_uses(0, 0, {}, unknown_masks(packed)))

    def without_tokens(self, where: str, *, padding: int) -> tuple[None, int]:
        """Refuse a sequence without tokens, or return None and its padding if it is dropped."""
        if self._empty == "error":
            rules.check_not_empty(np.zeros(1, np.int64), lambda row: where, np.array([padding]))
        return None, padding

    def _say_padding(self, where: str) -> None:
        if not self._said_padding:
            self._said_padding = True
            warn([f"{where} is padded: tokens where `{ATTENTION_MASK}` is 0 are left out; `counts` counts them"])


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


def split(pack: TokenArrays) -> list[TokenArrays]:
    """Split a pack that `join` made into its sequences."""
    ends = pack[SEQ_LENGTHS].cumsum().tolist()
    return [
        {name: values[end - length : end] for name, values in pack.items() if name not in (SEQ_LENGTHS, SEQUENCE_IDS)}
        for length, end in zip(pack[SEQ_LENGTHS].tolist(), ends, strict=True)
    ]


def numbered_state(sequences: Sequence[tuple[int, TokenArrays]]) -> dict[str, Any]:
    """Return numbered sequences as a state holds them: `numbers`, and what `to_state` returns."""
    return {"numbers": [number for number, _ in sequences], **to_state([one for _, one in sequences])}


def numbered(state: Mapping[str, Any] | None) -> tuple[list[int], list[TokenArrays]]:
    """Return the numbers and the sequences that `numbered_state` returned; none for None."""
    if not state:
        return [], []
    return list(state["numbers"]), from_state({name: value for name, value in state.items() if name != "numbers"})


def to_state(sequences: Sequence[TokenArrays]) -> dict[str, torch.Tensor]:
    """Return sequences as tensors: `lengths`, and all values of each column, one sequence after another."""
    state = {"lengths": torch.tensor([len(one[INPUT_IDS]) for one in sequences], dtype=torch.int64)}
    for name in sequences[0] if sequences else ():
        state[name] = torch.from_numpy(np.concatenate([one[name] for one in sequences]))
    return state


def from_state(state: Mapping[str, torch.Tensor]) -> list[TokenArrays]:
    """Return the sequences that `to_state` turned into tensors."""
    lengths = state["lengths"].numpy()
    ends = np.cumsum(lengths)
    columns = {name: values.numpy() for name, values in state.items() if name != "lengths"}
    return [
        {name: values[end - length : end] for name, values in columns.items()}
        for length, end in zip(lengths.tolist(), ends.tolist(), strict=True)
    ]


def _is_nested(value: Any) -> bool:
    """Return whether a value holds a list of numbers for each token, perhaps."""
    if isinstance(value, (np.ndarray, torch.Tensor)):
        return value.ndim > 1
    first = value[0] if isinstance(value, (list, tuple)) and value else None
    return isinstance(first, (list, tuple)) and bool(first) and isinstance(first[0], (bool, int, float, np.number))


def _is_column(name: str, value: Any) -> bool:
    """Return whether a value may be a token column."""
    # A stream has no schema. Labels and masks that are null, or wrong, in the first item must not be left out of all
    # others.
    if name in (LABELS, *MASKS):
        return True
    if isinstance(value, (np.ndarray, torch.Tensor)):
        return value.ndim == 1 and (isinstance(value, torch.Tensor) or value.dtype.kind in "iufbO")
    if not isinstance(value, (list, tuple)):
        return False
    first = next((one for one in value if one is not None), None)
    return first is None or isinstance(first, (bool, int, float, np.number, np.bool_))


def _as_array(values: Any, name: str, where: str) -> NDArray[Any]:
    if values is None:
        raise rules.null_list(name, where)
    try:
        array = np.asarray(values)
    except (TypeError, ValueError) as error:
        raise SourceError(f"{where}: column `{name}` is not a list of numbers: {error}") from None
    if array.dtype.kind == "O" and array.ndim == 1:
        null = next((position for position, value in enumerate(array) if value is None), None)
        if null is not None:
            raise rules.null_value(name, null, where)
    if array.ndim != 1:
        raise wrong_type(name, f"an array of shape {array.shape}", where)
    if len(array) and array.dtype.kind not in ("iu" if name in INT32_COLUMNS else "iufb"):
        raise wrong_type(name, f"a list of {_type_name(array.dtype)}", where)
    if name not in INT32_COLUMNS:
        return array.copy()  # a stream may use its buffers again
    index = rules.first_out_of_range(array, name) if len(array) else None
    if index is not None:
        raise rules.out_of_range(name, array[index], index, where)
    return array.astype(np.int32)


def _type_name(dtype: np.dtype[Any]) -> str:
    """Return Arrow's name of a type, as messages about files have it."""
    try:
        return str(pa.from_numpy_dtype(dtype))
    except pa.ArrowNotImplementedError:
        return str(dtype)
