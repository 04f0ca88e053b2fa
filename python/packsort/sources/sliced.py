"""Some rows of a source, by the numbers that they have in it."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence

import pyarrow as pa

from packsort.sources.source import Source


class SlicedSource(Source):
    """Rows of a source from one on; only `batches` and `locate` are about them alone.

    Args:
        source: The source.
        first: Number of the first row.
        count: Most rows.

    Attributes:
        first: As given.
        count: Number of the rows.

    Example:
        >>> from packsort.sources.source import open_source
        >>> rows = SlicedSource(open_source(pa.table({"text": ["a", "b", "c"]})), 1, 5)
        >>> [(first, batch["text"].to_pylist()) for _, first, batch in rows.batches(["text"])], rows.count
        ([(1, ['b', 'c'])], 2)
    """

    def __init__(self, source: Source, first: int, count: int) -> None:
        self.__dict__.update(source.__dict__)
        self.first = first
        self.count = max(0, min(count, source.num_rows - first))

    def batches(
        self, columns: Sequence[str], rows: int = 1000, *, from_file: int = 0
    ) -> Iterator[tuple[int, int, pa.RecordBatch]]:
        """Read some columns batch by batch, as `Source.batches`; files before the first row are not read."""
        file, left = bisect_right(self._ends, self.first), self.count
        begin = self.first - (self._ends[file - 1] if file else 0)  # within its file
        for index, start, batch in super().batches(columns, rows, from_file=max(file, from_file)):
            if not left:
                return
            skip = max(0, begin - start) if index == file else 0
            part = batch.slice(skip, left)
            if part.num_rows:
                left -= part.num_rows
                yield index, start + skip, part

    def locate(self) -> Iterator[tuple[str, int]]:
        """Yield the file of each row, and its number in that file."""
        for row in range(self.first, self.first + self.count):
            file = bisect_right(self._ends, row)
            yield self.files[file].path, row - (self._ends[file - 1] if file else 0)
