"""Lengths of a source's rows, read without their tokens where the source stores them."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import types

from packsort._arrow import described, is_list
from packsort.errors import SourceError
from packsort.schema import INPUT_IDS, LENGTH
from packsort.sources.source import Source


def source_lengths(source: Source) -> tuple[pa.ChunkedArray, str]:
    """Read the tokens of each row: column `length` if there is one, else the lengths of the lists in `input_ids`.

    Args:
        source: The rows.

    Returns:
        Lengths, integers (rows,), as they are stored; and the name of the column they come from.

    Raises:
        SourceError: There is no such column, or `length` does not hold integers.

    Example:
        >>> import pyarrow as pa
        >>> from packsort.sources.source import open_source
        >>> lengths, column = source_lengths(open_source(pa.table({"input_ids": [[1, 2], [3]]})))
        >>> lengths.to_pylist(), column
        ([2, 1], 'input_ids')
    """
    for name in (LENGTH, INPUT_IDS):
        if name not in source.schema.names:
            continue
        kind = source.schema.field(name).type
        if types.is_integer(kind):
            return source.read([name])[name], name
        if is_list(kind):
            return pc.list_value_length(source.read([name])[name]), name
        if name == LENGTH:
            files = ", ".join(f"`{file.path}`" for file in source.files[:3])
            raise SourceError(f"{files}: column `{LENGTH}` must hold integers, got {kind}")
    raise SourceError(
        f"no usable column: there are {described(source.schema)}; `{LENGTH}` (integers) or `{INPUT_IDS}` (lists) is "
        "needed; to make it of conversations or text, pass `tokenizer`"
    )
