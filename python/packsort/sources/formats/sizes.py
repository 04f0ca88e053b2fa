"""Bytes that columns take in memory, as far as that can be told without reading them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from packsort.sources.formats.reader import Reader

# A token takes at least two characters in text, such as "7,", and 8 bytes in memory. Compressed text is seldom smaller
# than a tenth.
_MOST_GROWTH = 4
_MOST_COMPRESSED_GROWTH = 40


@runtime_checkable
class KnowsDecodedBytes(Protocol):
    """Reader that can tell how many bytes columns take in memory."""

    def decoded_bytes(self, columns: Sequence[str]) -> int:
        """Return what `decoded_bytes` does."""


def decoded_bytes(reader: Reader, columns: Sequence[str]) -> int:
    """Return the most bytes that some columns take in memory: exact where a format tells, else a guess.

    Example:
        >>> import pyarrow as pa
        >>> from packsort.sources.formats.memory import MemoryReader
        >>> decoded_bytes(MemoryReader(pa.table({"length": [5, 6]})), ["length"])
        16
    """
    if isinstance(reader, KnowsDecodedBytes):
        return reader.decoded_bytes(columns)
    is_compressed = reader.path.endswith((".gz", ".zst"))
    return reader.bytes * (_MOST_COMPRESSED_GROWTH if is_compressed else _MOST_GROWTH)
