"""Rows of objects in memory: tables, Arrow streams that end, and `datasets`."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa

from packsort.errors import OptionError, SourceError
from packsort.sources.formats.memory import MemoryReader
from packsort.sources.formats.reader import Reader, naming
from packsort.sources.hugging_face.datasets import dataset_reader, dict_readers, is_dataset, refuse_split

_KINDS = (
    "a path, a list of paths, a folder, a glob pattern, a pyarrow Table or RecordBatchReader, a datasets.Dataset, or "
    "an object with `__arrow_c_stream__`"
)
_STREAMS = {"datasets": ("IterableDataset", "IterableDatasetDict"), "torch.utils.data": ("IterableDataset",)}


def open_object(source: Any, split: str | None) -> tuple[list[Reader], Sequence[str | None] | None]:
    """Return readers of the rows of an object, and the split of each or None.

    Args:
        source: The object.
        split: Split to read of a `datasets.DatasetDict`, as for `open_source`.

    Raises:
        SourceError: The object is of no kind that has rows, or is a stream.
        OptionError: There is no such split.
    """
    refuse_stream(source)
    if isinstance(source, Mapping) and source and all(map(is_dataset, source.values())):
        return dict_readers(source, split)
    if is_dataset(source):
        refuse_split(source, split)
        return [dataset_reader(source)], None
    table = _table(source)
    if split is not None:
        raise OptionError(f"split={split!r} does not go with a {type(source).__name__}: leave it out")
    return [MemoryReader(table)], None


def refuse_stream(source: Any) -> None:
    """Refuse rows that come one by one and are not counted.

    Raises:
        SourceError: The object is a streaming dataset, a torch `IterableDataset` or an iterator.
    """
    kinds = [
        getattr(sys.modules[module], name) for module in _STREAMS if module in sys.modules for name in _STREAMS[module]
    ]
    # A RecordBatchReader is an iterator that is read to its end.
    if isinstance(source, (*kinds, Iterator)) and not hasattr(source, "__arrow_c_stream__"):
        several = ", one split of it," if isinstance(source, Mapping) else ""
        raise SourceError(
            f"source is a stream ({type(source).__name__}), whose rows and lengths are not known in advance: pack "
            f"it{several} with `packsort.torch.PackedStream`"
        )


def _table(source: Any) -> pa.Table:
    if isinstance(source, pa.Table):
        return source
    if isinstance(source, pa.RecordBatch):
        return pa.Table.from_batches([source])
    with naming("<table>"):
        if isinstance(source, pa.RecordBatchReader):
            return source.read_all()
        if hasattr(source, "__arrow_c_stream__"):
            return pa.RecordBatchReader.from_stream(source).read_all()
    if isinstance(source, Mapping) and source:
        names = ", ".join(f"`{name}`" for name in source)
        raise SourceError(
            f"source must be one dataset, got a {type(source).__name__} of {names}: pass one of them, or "
            "`pyarrow.table(source)` if they are columns"
        )
    if hasattr(source, "__getitem__") and hasattr(source, "__len__"):
        raise SourceError(
            f"source must be {_KINDS}, got a {type(source).__name__}: if its items are rows, pass "
            "`datasets.Dataset.from_list([*source])`"
        )
    raise SourceError(f"source must be {_KINDS}, got a {type(source).__name__}")
