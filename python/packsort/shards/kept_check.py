"""Check the columns of one shard that have one value for each sequence: every piece of a sequence has its value."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from packsort._arrow import to_numpy
from packsort.schema import NO_VALUE
from packsort.shards.shard_check import ShardCheck
from packsort.sources.sequence_columns import SequenceColumns, filler_value


def kept_problems(
    check: ShardCheck, table: pa.Table, kept: SequenceColumns, source: SequenceColumns | None
) -> Iterator[str]:
    """Yield the first wrong value of each column that is kept.

    Args:
        check: Check of the shard.
        table: The shard.
        kept: Names and dictionaries of the columns; it holds no values.
        source: The same columns of the source, or None where packs are not compared with it.
    """
    fillers = check.ids < 0
    for name in kept.names:
        values = to_numpy(table[name].chunk(0).flatten()) if table[name].num_chunks else np.zeros(0)
        if len(values) != len(check.ids):
            continue  # said with the shape of the shard
        texts = kept.dictionaries.get(name)
        if texts is not None:
            out = (values < NO_VALUE) | (values >= len(texts)) | ((values == NO_VALUE) & ~fillers)
            if out.any():
                segment = int(np.argmax(out))
                place, code = check.where(segment), values[segment]
                yield f"{place}: `{name}` has code {code}, its dictionary has {len(texts)} texts"
                continue
        right = filler_value(values.dtype)
        wrong = np.flatnonzero(fillers & (values != right))
        if len(wrong):
            segment = int(wrong[0])
            yield f"{check.where(segment)}: `{name}` of padding or a separator must be {right}, got {values[segment]}"
        if source is not None and name in source.values:
            yield from _differences(check, name, values, texts, source)


def _differences(
    check: ShardCheck, name: str, values: NDArray[Any], texts: tuple[str, ...] | None, source: SequenceColumns
) -> Iterator[str]:
    """Yield the first value that differs from the source's; texts are compared, not codes."""
    there = source.values[name]
    names = source.dictionaries.get(name)
    if (texts is None) != (names is None) or (texts is None and values.dtype != there.dtype):
        yield f"column `{name}` is {_kind(values, texts)} in the packs, {_kind(there, names)} in the source"
        return
    segments = np.flatnonzero(check.inside)
    found, expected = values[segments], there[check.ids[segments]]
    if texts is not None and names is not None:
        known = {text: code for code, text in enumerate(texts)}
        expected = np.array([known.get(text, NO_VALUE) for text in names], np.int64)[expected]
    different = found != expected
    if found.dtype.kind == "f":  # NaN differs from itself
        different &= ~(np.isnan(found) & np.isnan(expected))
    if different.any():
        segment = int(segments[np.argmax(different)])
        row = int(check.ids[segment])
        here, real = values[segment], there[row]
        if texts is not None and names is not None:
            here, real = repr(texts[here]), repr(names[real])
        yield f"{check.where(segment)}: `{name}` is {here}, in the source {real}"


def _kind(values: NDArray[Any], texts: tuple[str, ...] | None) -> str:
    return str(values.dtype) if texts is None else "text"
