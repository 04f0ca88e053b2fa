"""Protocol of the token columns of a source, whether they are in memory or read batch by batch."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import pyarrow as pa

from packsort.sources.source import Source
from packsort.sources.tokens.uses import ColumnUses


class TokenRows(Protocol):
    """Token columns of a source, checked: `Tokens` in memory, or `StreamedTokens`, read batch by batch."""

    @property
    def source(self) -> Source:
        """The source of the rows."""

    @property
    def lengths(self) -> pa.ChunkedArray:
        """Number of tokens of each sequence: int32 or int64, (rows,)."""

    @property
    def schema(self) -> pa.Schema:
        """Names and types of the token columns: `input_ids`, then the others in the order of the source.

        All are `list` or `large_list` of integers, floats or booleans; `input_ids` and `labels` hold int32.
        """

    @property
    def left_out(self) -> tuple[str, ...]:
        """The source's other columns, which are not packed."""

    @property
    def piece_starts(self) -> pa.ChunkedArray | None:
        """First token of each piece of each row, lists of int32: (rows,). None if no row is cut."""

    @property
    def by_file(self) -> tuple[dict[str, int], ...]:
        """For each file of the source, what cutting left out: `turns_left_out`, `tokens_left_out`."""

    @property
    def uses(self) -> ColumnUses:
        """Use of columns that are not packed as they are."""

    @property
    def in_memory(self) -> bool:
        """Whether the tokens are in memory."""

    def batches(self, most_bytes: int) -> Iterator[tuple[int, pa.Table]]:
        """Yield the token columns of all rows, batch by batch.

        Args:
            most_bytes: Bytes of a batch, approximately.

        Yields:
            The first row of a batch, and its token columns.

        Raises:
            SourceError: A value is wrong, or a file has changed since its lengths were read.
        """


def token_bytes(schema: pa.Schema) -> int:
    """Return the bytes that one token takes in all token columns.

    Example:
        >>> token_bytes(pa.schema({"input_ids": pa.list_(pa.int32()), "answer": pa.list_(pa.bool_())}))
        5
    """
    return sum(max(8, field.type.value_type.bit_width) // 8 for field in schema)
