"""Compression of text files, told by their first bytes."""

from __future__ import annotations

from collections.abc import Iterator

from packsort.sources.formats.opening import Place, open_stream

_MAGIC = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd"}


def compression_of(head: bytes) -> str | None:
    """Return the compression that a file's first bytes tell, as pyarrow names it, or None.

    Example:
        >>> import gzip
        >>> compression_of(gzip.compress(b"rows")), compression_of(b"rows")
        ('gzip', None)
    """
    return next((name for magic, name in _MAGIC.items() if head.startswith(magic)), None)


def read_chunks(path: Place, compression: str | None, size: int) -> Iterator[bytes]:
    """Read a file in chunks, decompressed. pyarrow raises where compressed data is truncated or damaged.

    Args:
        path: The file.
        compression: `"gzip"`, `"zstd"`, or None.
        size: Bytes of a chunk; the last one may be shorter.
    """
    with open_stream(path, compression) as stream:
        while chunk := stream.read(size):
            yield chunk
