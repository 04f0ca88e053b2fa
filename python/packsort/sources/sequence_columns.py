"""Columns with one value for each sequence, such as its source or its reward, that packs keep.

Numbers and booleans are kept as they are, integers as int64. Text is kept as codes: the number of a text in its
column's dictionary, which lists texts in the order in which the source first has them. Separators and padding belong to
no sequence: they have -1 where integers or codes are kept, 0 where floats are, and False where booleans are.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import xxhash
from numpy.typing import NDArray
from pyarrow import types

from packsort._arrow import first_null, is_text, to_numpy
from packsort.errors import OptionError, SourceError
from packsort.schema import ATTENTION_MASK, INPUT_IDS, LABELS, LENGTH, LOSS_MASKS, NO_VALUE, SEGMENT_COLUMNS
from packsort.sources.source import Source
from packsort.sources.text_codes import TextCodes, column_batches

MOST_TEXTS = 2**16
"""Most different texts of a column that is kept: its dictionary is part of the manifest."""

_TAKEN = (INPUT_IDS, LABELS, LENGTH, ATTENTION_MASK, *LOSS_MASKS, *SEGMENT_COLUMNS)

Dictionaries = Mapping[str, tuple[str, ...]]
"""Texts of each column of codes, by name: the text of code `i` is the `i`-th."""


@dataclass(frozen=True)
class SequenceColumns:
    """Columns with one value for each sequence.

    Attributes:
        values: Values of each column, int64, float or bool: (rows,) each.
        dictionaries: Texts of each column of codes.
    """

    values: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    dictionaries: Dictionaries = field(default_factory=dict)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the columns."""
        return tuple(self.values)

    def of_segments(self, ids: NDArray[Any]) -> Iterator[tuple[str, NDArray[Any]]]:
        """Yield each column's name and its values for segments.

        Args:
            ids: Row of each segment; below 0 for separators and padding: (segments,).
        """
        if not self.values:
            return
        rows = ids.astype(np.int64, copy=False)
        fillers = rows < 0
        some = bool(fillers.any())
        for name, values in self.values.items():
            found = values[np.where(fillers, 0, rows) if some else rows]
            if some:
                found[fillers] = filler_value(values.dtype)
            yield name, found

    def digest(self) -> str:
        """Return 32 hexadecimal digits of all columns."""
        found = xxhash.xxh3_128()
        for name, values in self.values.items():
            found.update(f"{name}:{values.dtype}:{self.dictionaries.get(name)};".encode())
            found.update(np.ascontiguousarray(values).data)
        return found.hexdigest()


NONE = SequenceColumns()


def filler_value(kind: np.dtype[Any]) -> int:
    """Return the value of separators and padding in a column of a type."""
    return NO_VALUE if kind.kind == "i" else 0


def check_names(names: Sequence[str]) -> None:
    """Refuse columns that packs hold in any case.

    Raises:
        OptionError: A name is one of them.
    """
    for name in names:
        if name in _TAKEN:
            raise OptionError(f"keep must name columns with one value for each sequence, got {name!r}")


def read_sequence_columns(source: Source, names: Sequence[str]) -> SequenceColumns:
    """Read columns with one value for each sequence.

    Args:
        source: The rows.
        names: The columns.

    Raises:
        SourceError: There is no such column, it holds neither text, numbers nor booleans, a value is null, an integer
            exceeds 64 bits, or there are more than `MOST_TEXTS` texts.
        OptionError: As for `check_names`.

    Example:
        >>> from packsort.sources.source import open_source
        >>> table = pa.table({"input_ids": [[1], [2], [3]], "source": ["code", "math", "code"]})
        >>> columns = read_sequence_columns(open_source(table), ["source"])
        >>> columns.values["source"], columns.dictionaries
        (array([0, 1, 0]), {'source': ('code', 'math')})
    """
    check_names(names)
    values: dict[str, NDArray[Any]] = {}
    dictionaries: dict[str, tuple[str, ...]] = {}
    for name in names:
        with source.naming():
            values[name], texts = _read(source, name)
        if texts is not None:
            dictionaries[name] = texts
    return SequenceColumns(values, dictionaries)


def _read(source: Source, name: str) -> tuple[NDArray[Any], tuple[str, ...] | None]:
    """Return the values of a column, and the texts if they are codes."""
    if name not in source.schema.names:
        columns = ", ".join(f"`{one}`" for one in source.schema.names)
        raise SourceError(f"keep={name!r} names no column of the source; its columns are {columns}")
    kind = source.schema.field(name).type
    kind = kind.value_type if types.is_dictionary(kind) else kind
    codes = TextCodes() if is_text(kind) else None
    values = np.empty(source.num_rows, _stored_type(kind))
    first = 0
    for column in column_batches(source, name):
        if column.null_count:
            raise null_value(name, source.where(first + first_null(column)))
        stop = first + len(column)
        if codes is None:
            values[first:stop] = _numbers(column, name)
        else:
            values[first:stop] = codes.of(column)
            if len(codes.texts) > MOST_TEXTS:
                raise too_many_texts(name)
        first = stop
    return values, None if codes is None else tuple(codes.texts)


def class_labels(dictionaries: Dictionaries) -> dict[str, str]:
    """Return metadata of a table of packs from which `datasets` takes columns of codes for its `ClassLabel`.

    Example:
        >>> class_labels({})
        {}
    """
    if not dictionaries:
        return {}
    features = {
        name: {"feature": {"names": list(texts), "_type": "ClassLabel"}, "_type": "List"}
        for name, texts in dictionaries.items()
    }
    return {"huggingface": json.dumps({"info": {"features": features}}, ensure_ascii=False)}


def null_value(name: str, where: str) -> SourceError:
    """Return the error for a sequence without a value."""
    return SourceError(f"{where}: column `{name}` is null; a column to keep needs a value for every sequence")


def wrong_type(name: str, found: str) -> SourceError:
    """Return the error for a column whose values cannot be kept."""
    return SourceError(f"keep={name!r} must name a column of text, numbers or booleans, got {found}")


def too_many_texts(name: str) -> SourceError:
    """Return the error for a column with more texts than a dictionary holds."""
    return SourceError(
        f"keep={name!r} has more than {MOST_TEXTS:,} different texts, and packs hold text by its number in a list of "
        "all: keep a column of numbers, or look rows up by the `sequence_ids` of the packs"
    )


def _stored_type(kind: pa.DataType) -> Any:
    """Return the NumPy type of the values of a column."""
    return kind.to_pandas_dtype() if types.is_boolean(kind) or types.is_floating(kind) else np.int64


def _numbers(column: pa.Array, name: str) -> NDArray[Any]:
    kind = column.type
    if types.is_boolean(kind) or types.is_floating(kind):
        return to_numpy(column)
    if not types.is_integer(kind):
        raise wrong_type(name, str(kind))
    try:
        return to_numpy(column.cast(pa.int64()))
    except pa.ArrowInvalid as error:
        raise SourceError(f"column `{name}` must hold integers of 64 bits: {error}") from None
