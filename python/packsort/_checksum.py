"""Checksums of files, as manifests hold them."""

from __future__ import annotations

from pathlib import Path
from typing import Any, BinaryIO

import xxhash

_BLOCK = 1 << 20  # a block that stays in the processor's cache is hashed fastest


def checksum(path: Path) -> str:
    """Return the checksum of a file, such as `xxh3_128:` and 32 hexadecimal digits.

    XXH3 with 128 bits finds damage at memory speed. It is no protection against malice.
    """
    digest = xxhash.xxh3_128()
    block = memoryview(bytearray(_BLOCK))
    with path.open("rb", buffering=0) as file:
        while count := file.readinto(block):
            digest.update(block[:count])
    return _worded(digest)


class ChecksumWriter:
    """File to write from its beginning to its end, which knows the checksum of what was written.

    It has no `seek`, so that what goes back to change a byte fails.

    Args:
        file: The file, which is not closed.

    Attributes:
        size: Bytes that were written.

    Example:
        >>> import io
        >>> file = ChecksumWriter(io.BytesIO())
        >>> file.write(b"tokens"), file.size, file.checksum
        (6, 6, 'xxh3_128:511b722c757e084b7ceb94121bd3364b')
    """

    closed = False

    def __init__(self, file: BinaryIO) -> None:
        self.size = 0
        self._file = file
        self._digest = xxhash.xxh3_128()

    @property
    def checksum(self) -> str:
        """The checksum of what was written, as `checksum` returns it."""
        return _worded(self._digest)

    def write(self, content: Any) -> int:
        """Write bytes, and return their number.

        Raises:
            OSError: The file cannot be written.
        """
        left = memoryview(content).cast("B")
        for start in range(0, len(left), _BLOCK):
            block = left[start : start + _BLOCK]
            self._digest.update(block)
            self._file.write(block)
        self.size += len(left)
        return len(left)

    def flush(self) -> None:
        """Hand what was written to the system."""
        self._file.flush()


def _worded(digest: xxhash.xxh3_128) -> str:
    return f"xxh3_128:{digest.hexdigest()}"
