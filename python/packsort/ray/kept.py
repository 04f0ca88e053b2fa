"""Columns with one value for each sequence that packs keep, of a source in blocks.

Text is kept as codes. Each stretch tells the driver which texts it has, in the order in which it first has them, so
that the driver makes the list that one machine makes. Values go to the shards with the tokens.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from packsort._arrow import from_numpy, is_text
from packsort.sources.sequence_columns import MOST_TEXTS, Dictionaries, read_sequence_columns, too_many_texts
from packsort.sources.source import Source


def all_texts(found: Iterable[Dictionaries]) -> dict[str, tuple[str, ...]]:
    """Return the texts of all stretches, in the order in which the source first has them.

    Args:
        found: Texts of each stretch, by column.

    Raises:
        SourceError: A column has more texts than a list holds.

    Example:
        >>> all_texts([{"source": ("web", "code")}, {"source": ("math", "web")}])
        {'source': ('web', 'code', 'math')}
    """
    texts: dict[str, dict[str, None]] = {}
    for one in found:
        for name, own in one.items():
            texts.setdefault(name, {}).update(dict.fromkeys(own))
            if len(texts[name]) > MOST_TEXTS:
                raise too_many_texts(name)
    return {name: tuple(own) for name, own in texts.items()}


def kept_values(source: Source, keep: Sequence[str], dictionaries: Dictionaries) -> dict[str, pa.Array]:
    """Return the values of rows, text as its number among the texts of all.

    Args:
        source: The rows.
        keep: Columns that packs keep.
        dictionaries: Texts of the whole source.
    """
    columns = read_sequence_columns(source, keep)
    values = dict(columns.values)
    for name, texts in columns.dictionaries.items():
        number = {text: code for code, text in enumerate(dictionaries[name])}
        values[name] = np.array([number[text] for text in texts], np.int64)[values[name]]
    return {name: from_numpy(own) for name, own in values.items()}


def no_values(schema: pa.Schema, keep: Sequence[str]) -> Mapping[str, NDArray[Any]]:
    """Return the values of no rows, for their types.

    Args:
        schema: Columns of the source.
        keep: Columns that packs keep.
    """
    kinds = {name: schema.field(name).type for name in keep}
    plain = {name: kind.value_type if pa.types.is_dictionary(kind) else kind for name, kind in kinds.items()}
    return {
        name: np.zeros(0, np.int64 if is_text(kind) or pa.types.is_integer(kind) else kind.to_pandas_dtype())
        for name, kind in plain.items()
    }
