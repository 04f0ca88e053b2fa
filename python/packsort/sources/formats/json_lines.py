"""JSON Lines in blocks: whole lines, cut without looking into them."""

from __future__ import annotations

from collections.abc import Iterator

from packsort.sources.formats.blocks import BLOCK_BYTES
from packsort.sources.formats.compression import read_chunks
from packsort.sources.formats.json_block import JsonBlock
from packsort.sources.formats.opening import Place

_BOM = b"\xef\xbb\xbf"


def split_lines(path: Place, compression: str | None) -> Iterator[JsonBlock]:
    """Read whole lines, a few megabytes at a time; a longer line makes a larger block.

    Args:
        path: The file.
        compression: As for `read_chunks`.
    """
    line = 1
    parts: list[bytes | memoryview] = []
    for index, chunk in enumerate(read_chunks(path, compression, BLOCK_BYTES)):
        chunk = chunk.removeprefix(_BOM) if index == 0 else chunk
        end = chunk.rfind(b"\n") + 1
        if end:
            text = b"".join([*parts, memoryview(chunk)[:end]])
            yield JsonBlock(text, line)
            line += text.count(b"\n")
            parts = []
        if end < len(chunk):
            parts.append(memoryview(chunk)[end:])
    if parts:
        yield JsonBlock(b"".join(parts), line)
