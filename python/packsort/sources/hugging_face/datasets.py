"""Rows of `datasets` objects, as the objects themselves give them.

`datasets` takes a second to import and is optional. Its objects exist only where it was imported, so it is looked for
among the imported modules.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from packsort._arrow import to_numpy
from packsort.errors import OptionError, SourceError
from packsort.sources.files import splits
from packsort.sources.formats.memory import MemoryReader
from packsort.sources.formats.reader import Reader
from packsort.sources.hugging_face.selected import SelectedReader

_TRANSFORM_ROWS = 1000


def is_dataset(source: Any) -> bool:
    """Return whether an object is a `datasets.Dataset`."""
    module = sys.modules.get("datasets")
    return module is not None and isinstance(source, module.Dataset)


def dataset_reader(dataset: Any, path: str = "<table>") -> Reader:
    """Return a reader of a dataset's rows: those that it selects, with the columns of its format.

    A transform (`set_transform`, `with_transform`) is called once for each row, a thousand rows at a time, and the rows
    are what it returns. Other formats, such as "torch", change how values are given and not what they are.

    Args:
        dataset: A `datasets.Dataset`.
        path: Name of the rows in messages.

    Raises:
        SourceError: A transform returns another number of rows than it was given, or values that no column holds.

    Example:
        >>> import datasets
        >>> rows = datasets.Dataset.from_dict({"input_ids": [[1], [2], [3]], "id": [7, 8, 9]})
        >>> reader = dataset_reader(rows.select([2, 0]).with_format(columns=["input_ids"]))
        >>> reader.schema.names, reader.read(["input_ids"])["input_ids"].to_pylist()
        (['input_ids'], [[3], [1]])
    """
    table: pa.Table = dataset.data.table
    given = dataset.format
    if given["type"] == "custom":
        return MemoryReader(_transformed(dataset), path)
    if not given["output_all_columns"]:
        table = table.select([name for name in table.column_names if name in given["columns"]])
    if dataset._indices is None:
        return MemoryReader(table, path)
    rows = to_numpy(dataset._indices.table.column(0)).astype(np.int64, copy=False)
    if len(rows) and rows[-1] - rows[0] == len(rows) - 1 and (np.diff(rows) == 1).all():
        return MemoryReader(table.slice(int(rows[0]), len(rows)), path)
    return SelectedReader(table, rows, path)


def dict_readers(datasets: Mapping[str, Any], split: str | None) -> tuple[list[Reader], list[str]]:
    """Return readers of the splits of a `datasets.DatasetDict` that are asked for, and their names.

    Args:
        datasets: The datasets by their names.
        split: Split to read, several joined by "+", or "all". None where there is only one.

    Raises:
        SourceError: There are several splits, and none is asked for.
        OptionError: There is no such split.

    Example:
        >>> import datasets
        >>> rows = datasets.Dataset.from_dict({"input_ids": [[1], [2], [3]]})
        >>> dict_readers(datasets.DatasetDict({"train": rows, "test": rows}), None)
        Traceback (most recent call last):
        packsort.errors.SourceError: the DatasetDict has the splits `train` (3 rows), `test` (3 rows): pass
        split='train' to read one, or split='all' to read every row
    """
    name = type(datasets).__name__
    if split is not None:
        chosen = splits.choose(split, list(datasets), name)
    elif len(datasets) > 1:
        order = splits.in_order(datasets)
        rows = {one: datasets[one].num_rows for one in order}
        raise SourceError(
            f"the {name} has the splits {splits.described(rows)}: pass split={order[0]!r} to read one, or "
            f"split={splits.ALL!r} to read every row"
        )
    else:
        chosen = list(datasets)
    return [dataset_reader(datasets[one], f"<{one}>") for one in chosen], chosen


def refuse_split(dataset: Any, split: str | None) -> None:
    """Refuse a split other than the one that a dataset is of.

    Raises:
        OptionError: The dataset is of another split or of none.
    """
    if split is not None and split != str(dataset.split):
        raise OptionError(
            f"split={split!r} does not go with a {type(dataset).__name__}, which is one split: leave it out"
        )


def _transformed(dataset: Any) -> pa.Table:
    """Return the rows that a dataset's transform makes."""
    parts: list[pa.Table] = []
    for first in range(0, len(dataset), _TRANSFORM_ROWS):
        number = min(_TRANSFORM_ROWS, len(dataset) - first)
        made = dataset[first : first + number]
        if not isinstance(made, Mapping):
            raise SourceError(f"the transform of the dataset must return columns by name, got a {type(made).__name__}")
        columns = {name: _column(name, values, first) for name, values in made.items()}
        for name, column in columns.items():
            if len(column) != number:
                raise SourceError(
                    f"the transform of the dataset returns {len(column)} rows of `{name}` for {number}: a transform "
                    "must keep the number of rows; pass `dataset.map(transform, batched=True)` instead"
                )
        parts.append(pa.table(columns))
    if not parts:
        return dataset.data.table.slice(0, 0)
    try:
        return pa.concat_tables(parts, promote_options="permissive")
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        raise SourceError(f"the transform of the dataset returns columns whose type changes: {error}") from error


def _column(name: str, values: Any, first: int) -> pa.Array:
    """Return what a transform made as a column: a list, an array, a tensor, or a list of these."""
    if hasattr(values, "tolist"):
        values = values.tolist()
    elif isinstance(values, (list, tuple)):
        values = [value.tolist() if hasattr(value, "tolist") else value for value in values]
    try:
        return pa.array(values)
    except (pa.ArrowException, TypeError, ValueError, OverflowError) as error:
        raise SourceError(
            f"`<table>` rows {first} and after: the transform of the dataset returns a column `{name}` that Arrow "
            f"cannot hold: {error}"
        ) from error
