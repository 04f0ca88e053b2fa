"""Columns with one value for each sequence of a stream, which has no schema: the first sequence decides their types."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import get_worker_info

from packsort.errors import OptionError, SourceError
from packsort.sources.sequence_columns import MOST_TEXTS, null_value, too_many_texts, wrong_type
from packsort.sources.source import no_column

_NUMBERS, _KINDS = "numbers", "kinds"


class KeptValues:
    """Values of sequences that were read and not received yet, by the number of the sequence.

    Args:
        columns: Column of the items for each column that is kept.
        dictionaries: Texts of columns of codes. New texts are added, so codes stay the same from pass to pass.
        state: What `state` returned in the pass to continue, or None.

    Raises:
        OptionError: The state is of other columns.
    """

    def __init__(
        self,
        columns: Mapping[str, str],
        dictionaries: dict[str, list[str]],
        state: Mapping[str, Any] | None = None,
    ) -> None:
        self._columns = columns
        self._texts = dictionaries
        self._values: dict[int, tuple[Any, ...]] = {}
        self._kinds: dict[str, np.dtype[Any]] = {}
        if state is not None:
            self._restore(state)
        self._codes = {name: {text: code for code, text in enumerate(texts)} for name, texts in dictionaries.items()}

    def read(self, item: Any, number: int, where: str) -> None:
        """Read the values of one item.

        Args:
            item: The item.
            number: Its number in the stream.
            where: Names it in messages.

        Raises:
            SourceError: It lacks a column, or a value is null or of another type than those before.
            OptionError: A column holds text in a worker of a `DataLoader`.
        """
        if self._columns:
            self._values[number] = tuple(
                self._value(name, _found(item, column, where), where) for name, column in self._columns.items()
            )

    def without(self, item: Any) -> Any:
        """Return an item without the columns that are kept."""
        if not self._columns or not isinstance(item, Mapping):
            return item
        return {name: value for name, value in item.items() if name not in self._columns.values()}

    def of_sequences(self, numbers: Sequence[int]) -> dict[str, NDArray[Any]]:
        """Return each column's values of sequences: (sequences,) each."""
        return {
            name: np.array([self._values[number][place] for number in numbers], self._kinds[name])
            for place, name in enumerate(self._columns)
        }

    def forget(self, numbers: Iterable[int]) -> None:
        """Forget sequences that were received, or that are in no pack."""
        for number in numbers:
            self._values.pop(number, None)

    def state(self) -> dict[str, Any] | None:
        """Return all values as tensors, and the texts; None where no column is kept."""
        if not self._columns:
            return None
        numbers = list(self._values)
        values = self.of_sequences(numbers) if numbers else {}
        return {
            _NUMBERS: numbers,
            _KINDS: {name: kind.name for name, kind in self._kinds.items()},
            "values": {name: torch.from_numpy(array) for name, array in values.items()},
            "dictionaries": {name: list(texts) for name, texts in self._texts.items()},
            "columns": list(self._columns),
        }

    def _restore(self, state: Mapping[str, Any]) -> None:
        kept = state.get("kept")
        names = [] if kept is None else list(kept["columns"])
        if names != list(self._columns):
            raise OptionError(f"state is of a stream with keep={names}, this one has keep={list(self._columns)}")
        if kept is not None:
            self._texts.clear()
            self._texts.update({name: list(texts) for name, texts in kept["dictionaries"].items()})
            self._kinds = {name: np.dtype(kind) for name, kind in kept[_KINDS].items()}
            columns = [kept["values"][name].tolist() for name in names if name in kept["values"]]
            self._values = dict(zip(kept[_NUMBERS], zip(*columns, strict=True), strict=True))

    def _value(self, name: str, value: Any, where: str) -> Any:
        """Return a value as its column holds it, and text as a code."""
        if isinstance(value, str):
            kind = np.dtype(np.int64)
            value = self._code(name, value)
        else:
            if isinstance(value, torch.Tensor):
                value = value.numpy()
            array = np.asarray(value)
            if array.ndim or array.dtype.kind not in "biuf" or name in self._texts:
                raise SourceError(f"{where}: {wrong_type(name, f'a {type(value).__name__}')}")
            kind = np.dtype(np.int64) if array.dtype.kind in "iu" else array.dtype
            value = array.item()
        if self._kinds.setdefault(name, kind) != kind:
            raise SourceError(
                f"{where}: column `{name}` holds {kind}, the sequences before held {self._kinds[name]}: give all of "
                "them the same type"
            )
        return value

    def _code(self, name: str, text: str) -> int:
        if name not in self._texts:
            if name in self._kinds:
                raise SourceError(f"column `{name}` holds text, the sequences before held {self._kinds[name]}")
            if get_worker_info() is not None:
                raise OptionError(
                    f"keep={name!r} holds text, and each worker of a `DataLoader` would number it by itself: pass "
                    "num_workers=0; a stream makes batches ahead on a thread of its own"
                )
            self._texts[name], self._codes[name] = [], {}
        codes = self._codes[name]
        if text not in codes:
            if len(codes) == MOST_TEXTS:
                raise too_many_texts(name)
            codes[text] = len(codes)
            self._texts[name].append(text)
        return codes[text]


def _found(item: Any, column: str, where: str) -> Any:
    if not isinstance(item, Mapping) or column not in item:
        raise no_column(column, item if isinstance(item, Mapping) else (), where)
    if item[column] is None:
        raise null_value(column, where)
    return item[column]
