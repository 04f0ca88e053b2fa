"""JSON that is not one object a line, in blocks: a list of objects, or objects one after another in any lines.

Where an object ends is known only after it is decoded, so Python's `json` reads all of it.
"""

from __future__ import annotations

import codecs
import json
from collections.abc import Iterator
from typing import NoReturn

from packsort.sources.formats.blocks import BLOCK_BYTES
from packsort.sources.formats.compression import read_chunks
from packsort.sources.formats.json_block import JsonBlock
from packsort.sources.formats.json_rows import JsonError, invalid, read_row, skip_space
from packsort.sources.formats.opening import Place


def split_values(path: Place, compression: str | None) -> Iterator[JsonBlock]:
    """Read the objects of a list, or objects one after another, a few megabytes at a time.

    Args:
        path: The file.
        compression: As for `read_chunks`.

    Raises:
        JsonError: The text is not valid, and `row` and `line` count from the beginning of the file.
    """
    window = _Window(path, compression)
    objects: list[str] = []
    size, line = 0, 1
    for one in _listed(window) if window.peek() == "[" else _following(window):
        objects.append(one)
        size += len(one)
        if size >= BLOCK_BYTES:
            yield _block(objects, line)
            objects, size, line = [], 0, window.line
    if objects:
        yield _block(objects, line)


def _following(window: _Window) -> Iterator[str]:
    while window.peek():
        yield window.read_object()


def _listed(window: _Window) -> Iterator[str]:
    window.at += 1
    more = window.peek() != "]"
    while more:
        yield window.read_object()
        found = window.peek()
        if found not in (",", "]"):
            window.fail(
                "`,` or `]` is missing after the object" if found else "the list has no end: the file is cut off"
            )
        more = found == ","
        window.at += more
    window.at += 1
    if window.peek():
        window.fail("there is more after the end of the list of rows: write one list, or one object a line")


def _block(objects: list[str], line: int) -> JsonBlock:
    # pyarrow takes a block to end with a newline.
    return JsonBlock("".join(f"{one}\n" for one in objects).encode(), line, len(objects))


class _Window:
    """The part of a file's text that is being read.

    Attributes:
        at: Place of the next character in the window.
    """

    def __init__(self, path: Place, compression: str | None) -> None:
        self.at = 0
        self._text = ""
        self._lines = 0  # newlines before the window
        self._rows = 0
        self._chunks = read_chunks(path, compression, BLOCK_BYTES)
        self._decoder = codecs.getincrementaldecoder("utf-8-sig")()

    @property
    def line(self) -> int:
        """Line of the file at which the next character is, counted from 1."""
        return self._lines + self._text.count("\n", 0, self.at) + 1

    def peek(self) -> str:
        """Move to the next character that is not white space and return it, or "" at the end."""
        while True:
            self.at = skip_space(self._text, self.at)
            if self.at < len(self._text) or not self._read_on(1):
                return self._text[self.at : self.at + 1]

    def read_object(self) -> str:
        """Move past the next object and return its text."""
        self.peek()
        while True:
            try:
                _, end = read_row(self._text, self.at, self._rows)
                break
            except json.JSONDecodeError as error:
                fault = self._moved(invalid(error, self._text, self._rows))
                # Reading as much again each time keeps the cost of very long objects linear.
                if not self._read_on(len(self._text) - self.at):
                    raise fault from error
            except JsonError as fault:
                raise self._moved(fault) from fault
        found = self._text[self.at : end]
        self.at = end
        self._rows += 1
        return found

    def fail(self, what: str) -> NoReturn:
        """Raise a fault at the next character."""
        raise JsonError(what, self.line - 1, self._rows)

    def _moved(self, fault: JsonError) -> JsonError:
        """Return a fault whose line counts from the beginning of the file."""
        return JsonError(str(fault), self._lines + (fault.line or 0), fault.row)

    def _read_on(self, least: int) -> bool:
        """Drop what was read and append at least so many bytes; return whether there were any."""
        self._lines += self._text.count("\n", 0, self.at)
        parts, size = [self._text[self.at :]], 0
        self.at = 0
        while size < max(1, least) and (chunk := next(self._chunks, b"")):
            parts.append(self._decode(chunk, parts))
            size += len(chunk)
        if not size:
            self._decode(b"", parts, final=True)
        self._text = "".join(parts)
        return size > 0

    def _decode(self, chunk: bytes, before: list[str], *, final: bool = False) -> str:
        try:
            return self._decoder.decode(chunk, final=final)
        except UnicodeDecodeError as error:
            lines = sum(part.count("\n") for part in before) + error.object.count(b"\n", 0, error.start)
            fault = f"not valid UTF-8: {error.reason}; save the file as UTF-8"
            raise JsonError(fault, self._lines + lines, None) from error
