"""CSV in blocks of whole records, with quotes checked.

pyarrow reads text after a closing quote as part of the cell. One stray quote at the beginning of a cell would thus take
all lines up to the next one into that cell, without an error.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from packsort.sources.formats.blocks import BLOCK_BYTES
from packsort.sources.formats.compression import read_chunks
from packsort.sources.formats.opening import Place

_QUOTE, _NEWLINE, _RETURN = ord('"'), ord("\n"), ord("\r")
_BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True)
class CsvBlock:
    """Some whole records.

    Attributes:
        text: The text.
        line: Line of the file that is the text's first, counted from 1.
    """

    text: bytes
    line: int


class CsvError(Exception):
    """Quote that is where none may be.

    Attributes:
        line: Its line, counted from 1.
    """

    def __init__(self, what: str, line: int) -> None:
        super().__init__(what)
        self.line = line


def split_records(path: Place, compression: str | None, delimiter: str) -> Iterator[CsvBlock]:
    """Read the header, and then whole records, a few megabytes at a time; a longer record makes a larger block.

    Args:
        path: The file.
        compression: As for `read_chunks`.
        delimiter: What stands between cells.

    Raises:
        CsvError: A quote stands inside a cell that has none around it, after a closing one, or is never closed; or
            lines end without a newline.
    """
    line, header = 1, True
    for text in _whole_records(path, compression):
        _check_quotes(text, delimiter, line)
        if header and text.strip(b"\r\n"):
            blank = len(text) - len(text.lstrip(b"\r\n"))
            first = next((int(end) for end in _record_ends(text) if end > blank), len(text))
            if re.search(rb"\r[^\r\n]", text[:first]):
                raise CsvError("lines end in a carriage return without a newline: convert the line ends", line)
            yield CsvBlock(text[:first], line)
            line, text, header = line + text.count(b"\n", 0, first), text[first:], False
        if text and not header:
            yield CsvBlock(text, line)
        line += text.count(b"\n")


def _whole_records(path: Place, compression: str | None) -> Iterator[bytes]:
    waiting, least = b"", 0
    for index, chunk in enumerate(read_chunks(path, compression, BLOCK_BYTES)):
        waiting += chunk.removeprefix(_BOM) if index == 0 else chunk
        # Text of a record that did not end is looked at again only after it has doubled.
        if len(waiting) < least:
            continue
        ends = _record_ends(waiting)
        least = 0 if len(ends) else 2 * len(waiting)
        if len(ends):
            yield waiting[: ends[-1]]
            waiting = waiting[ends[-1] :]
    if waiting:
        yield waiting


def _record_ends(text: bytes) -> NDArray[np.int64]:
    """Return the places after newlines outside quotes, in a text that begins with a record."""
    codes = np.frombuffer(text, np.uint8)
    quotes = np.flatnonzero(codes == _QUOTE)
    newlines = np.flatnonzero(codes == _NEWLINE)
    ends: NDArray[np.int64] = newlines[np.searchsorted(quotes, newlines) % 2 == 0] + 1
    return ends


def _check_quotes(text: bytes, delimiter: str, line: int) -> None:
    """Check that quotes stand around whole cells and are doubled inside: they open and close in turn."""
    codes = np.frombuffer(text, np.uint8)
    quotes = np.flatnonzero(codes == _QUOTE)
    if not len(quotes):
        return
    # A doubled quote closes and opens again.
    borders = (ord(delimiter), _NEWLINE, _RETURN, _QUOTE)
    padded = np.concatenate([[_NEWLINE], codes, [_NEWLINE]]).astype(np.uint8)
    opening, closing = quotes[::2], quotes[1::2]
    stray = opening[~np.isin(padded[opening], borders)]
    followed = closing[~np.isin(padded[closing + 2], borders)]
    if len(quotes) % 2 and not len(stray) and not len(followed):
        raise CsvError("a quote is opened and never closed", _line(codes, opening[-1], line))
    wrong = np.concatenate([stray, followed])
    if len(wrong):
        fault = "a quote stands inside a cell: put quotes around the cell and double those inside"
        raise CsvError(fault, _line(codes, wrong.min(), line))


def _line(codes: NDArray[np.uint8], place: int, line: int) -> int:
    return line + int(np.count_nonzero(codes[:place] == _NEWLINE))
