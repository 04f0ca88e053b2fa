"""Changes of a file that damage or malice may make: bits, numbers of its metadata, blocks, names, its end."""

from __future__ import annotations

import random
import struct

_NUMBERS = (0, 1, 2, 7, 127, 128, 255, 2**15, 2**31 - 1, 2**31, 2**32, 2**40, 2**62, 2**63 - 1)
_NAMES = (b"input_ids", b"labels", b"length", b"groups", b"source", b"flag", b"item", b"element", b"list", b"role")
_NAMES += (b"content", b"messages", b"prompt", b"completion", b"text", b"group 1", b"code", b"math", b"here", b"boat")


def _metadata(content: bytes) -> list[tuple[int, int]]:
    """Return where a file tells of its data: messages and footer of Arrow, footer and page headers of Parquet."""
    size = len(content)
    if content.startswith(b"PAR1"):
        footer = struct.unpack("<I", content[-8:-4])[0]
        return [(size - 8 - footer, size), *((at, at + 40) for at in range(4, size - 8 - footer, 200))]
    found = []
    at = content.find(b"\xff\xff\xff\xff")
    while at >= 0 and at + 8 <= size:
        length = struct.unpack("<I", content[at + 4 : at + 8])[0]
        if length < size - at:
            found.append((at, at + 8 + length))
        at = content.find(b"\xff\xff\xff\xff", at + 8)
    if content.startswith(b"ARROW1"):
        footer = struct.unpack("<I", content[-10:-6])[0]
        found.append((size - 10 - footer, size - 6))
    return found


def _place(content: bytearray, draw: random.Random) -> int:
    """Pick a byte, in most cases of the metadata, and in few of the marks at the ends."""
    if draw.random() < 0.65:
        begin, end = draw.choice(_metadata(bytes(content)) or [(0, len(content))])
        return max(0, min(draw.randrange(begin, max(begin + 1, end)), len(content) - 1))
    return draw.randrange(min(8, len(content) - 1), len(content))


def _flip(content: bytearray, draw: random.Random) -> None:
    content[_place(content, draw)] ^= 1 << draw.randrange(8)


def _byte(content: bytearray, draw: random.Random) -> None:
    content[_place(content, draw)] = draw.choice((0, 1, 127, 128, 254, 255, draw.randrange(256)))


def _number(content: bytearray, draw: random.Random) -> None:
    """Overwrite a number of 2, 4 or 8 bytes, where numbers are aligned."""
    width = draw.choice((2, 4, 4, 8, 8))
    at = _place(content, draw) // width * width
    value = draw.choice(_NUMBERS) * draw.choice((1, 1, -1))
    if draw.random() < 0.3 and at + width <= len(content):
        value = int.from_bytes(content[at : at + width], "little", signed=True) + draw.choice((-8, -1, 1, 8, 1024))
    content[at : at + width] = (value % 2 ** (8 * width)).to_bytes(width, "little")


def _copy(content: bytearray, draw: random.Random) -> None:
    """Copy a block over another place, or insert it there."""
    length = draw.choice((4, 8, 16, 64, 200))
    begin, at = draw.randrange(len(content)), _place(content, draw)
    block = content[begin : begin + length]
    content[at : at + (length if draw.random() < 0.6 else 0)] = block


def _clear(content: bytearray, draw: random.Random) -> None:
    at, length = _place(content, draw), draw.choice((4, 8, 64, 512))
    content[at : at + length] = bytes([draw.choice((0, 255))]) * len(content[at : at + length])


def _cut(content: bytearray, draw: random.Random) -> None:
    """Take a block out, or the end off."""
    at = draw.randrange(8, len(content))
    del content[at : len(content) if draw.random() < 0.3 else at + draw.choice((1, 4, 8, 64, 512))]


def _name(content: bytearray, draw: random.Random) -> None:
    """Spoil a name or a text, in most cases so that it is not UTF-8."""
    name = draw.choice([one for one in _NAMES if one in content] or [b"A"])
    places = [at for at in range(len(content)) if content.startswith(name, at)]
    for at in places if draw.random() < 0.7 else draw.sample(places, min(1, len(places))):
        content[at + draw.randrange(len(name))] = draw.choice((0, 27, 255, 255, 0xC3))


_WAYS = (_flip, _flip, _byte, _byte, _number, _number, _number, _copy, _clear, _cut, _name)


def mutated(content: bytes, draw: random.Random) -> tuple[bytes, str]:
    """Change a file once to three times; return its bytes, and the names of the changes."""
    changed, done = bytearray(content), []
    for _ in range(draw.choice((1, 1, 1, 2, 3))):
        way = draw.choice(_WAYS)
        if len(changed) > 16:
            way(changed, draw)
            done.append(way.__name__[1:])
    return bytes(changed), "+".join(done)
