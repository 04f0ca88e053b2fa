"""Choice of a reader by what a file holds. The suffix only tells CSV from other text."""

from __future__ import annotations

import json
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from packsort._progress import Advance, ignore
from packsort._stores import RangedFile, StorePath
from packsort.errors import SourceError
from packsort.sources.formats.arrow import ArrowReader
from packsort.sources.formats.compression import compression_of, read_chunks
from packsort.sources.formats.csv import CsvReader
from packsort.sources.formats.json import JsonReader
from packsort.sources.formats.json_lines import split_lines
from packsort.sources.formats.json_values import split_values
from packsort.sources.formats.megatron import MegatronReader
from packsort.sources.formats.megatron_names import MAGIC
from packsort.sources.formats.opening import Place
from packsort.sources.formats.parquet import ParquetReader
from packsort.sources.formats.reader import Reader, naming

_PARQUET = b"PAR1"
_ARROW_FILE = b"ARROW1"
# An Arrow stream starts with a continuation marker and ends with a message of length 0.
_ARROW_STREAM = b"\xff\xff\xff\xff"
_ARROW_STREAM_END = b"\xff\xff\xff\xff\x00\x00\x00\x00"
_BINARY = (_PARQUET, _ARROW_FILE, _ARROW_STREAM)
_NEEDED = "a Parquet, Arrow, JSON Lines, JSON or CSV file is needed"
_KINDS = {
    b"PK\x03\x04": "is zip-compressed",
    b"BZh": "is bzip2-compressed",
    b"\xfd7zXZ": "is xz-compressed",
    b"PARE": "is encrypted Parquet",
    b"TNTIDX\x00\x00": "is an index of the old cached or lazy kind, which Megatron no longer reads",
    b"version https://git-lfs": "is a Git LFS pointer, not the file itself",
    b"\xff\xfe": "is text in UTF-16 instead of UTF-8",
    b"\xfe\xff": "is text in UTF-16 instead of UTF-8",
}
_DELIMITERS = {".csv": ",", ".tsv": "\t"}
_JSON_SUFFIXES = (".jsonl", ".ndjson", ".json")
_SPACE = b"\xef\xbb\xbf \t\r\n"
_HEAD_BYTES = 1 << 20
_END_BYTES = 4 << 10


def open_file(path: Path | StorePath, *, memory_map: bool = True, advance: Advance = ignore) -> Reader:
    """Open one file as the format that its first and last bytes tell, whatever its name.

    Text that is no JSON is CSV if the name ends in `.csv` or `.tsv`, also before `.gz` or `.zst`.

    Args:
        path: The file, or an object of a store.
        memory_map: Whether to map an Arrow file into memory instead of reading it.
        advance: Called with the bytes that were read, decompressed, of a file that is read whole to know it.

    Raises:
        SourceNotFoundError: There is no such file.
        SourceError: The file may not be read, is empty, truncated, damaged, or of another format.
    """
    name = str(path)
    place: Place = path if isinstance(path, StorePath) else name
    with naming(name), _open(path) as file:
        head = file.read(256)
        size = file.seek(0, 2)
        file.seek(max(0, size - 8))
        tail = file.read()
    if size == 0:
        raise SourceError(f"`{name}` is empty (0 bytes): {_NEEDED}")
    if head.startswith(_PARQUET):
        if size < 12 or not tail.endswith(_PARQUET):
            raise SourceError(
                f"`{name}` is a truncated Parquet file: it has {size:,} bytes and no Parquet footer at the end"
            )
        return ParquetReader(place, size)
    if head.startswith(_ARROW_FILE):
        if size < 24 or not tail.endswith(_ARROW_FILE):
            raise SourceError(
                f"`{name}` is a truncated Arrow file: it has {size:,} bytes and no Arrow footer at the end"
            )
        return ArrowReader(place, size, stream=False, memory_map=memory_map)
    if head.startswith(_ARROW_STREAM):
        # A writer that was stopped leaves whole messages, which would read as a shorter stream without an error.
        if tail != _ARROW_STREAM_END:
            raise SourceError(f"`{name}` is a truncated Arrow stream: it has {size:,} bytes and no end-of-stream mark")
        return ArrowReader(place, size, stream=True, memory_map=memory_map)
    if head.startswith(MAGIC):
        if isinstance(path, StorePath):
            raise SourceError(f"`{name}` holds Megatron's tokens, which are read from a disk only: copy the pair there")
        return MegatronReader(name, memory_map=memory_map)
    return _open_text(place, size, compression_of(head), advance)


def _open(path: Path | StorePath) -> BinaryIO | RangedFile:
    """Open a file whose ends are looked at; whoever then reads an object checks that it did not change."""
    if isinstance(path, StorePath):
        return RangedFile(path.store, str(path), path.info(), least=_END_BYTES)
    return path.open("rb")


def _open_text(place: Place, size: int, compression: str | None, advance: Advance) -> Reader:
    name = str(place)
    with naming(name):
        head = next(read_chunks(place, compression, _HEAD_BYTES), b"")
    if compression and head.startswith(_BINARY):
        raise SourceError(f"`{name}` is a {compression}-compressed Parquet or Arrow file: decompress it first")
    path = PurePosixPath(name.partition("?")[0]) if isinstance(place, StorePath) else Path(name)
    suffix = Path(path.stem if compression else path.name).suffix.lower()
    begin = head.lstrip(_SPACE)
    looks_like_json = begin.startswith((b'{"', b"[{")) or (begin[:1] in (b"{", b"[") and suffix not in _DELIMITERS)
    is_text = not head.startswith(tuple(_KINDS)) and b"\x00" not in head[:256]
    if looks_like_json or (suffix in _JSON_SUFFIXES and is_text):
        return JsonReader(place, size, split_lines if _is_lines(begin) else split_values, compression, advance)
    if suffix in _DELIMITERS and is_text:
        return CsvReader(place, size, _DELIMITERS[suffix], compression, advance)
    pair = f"; if it holds Megatron's tokens, `{path.stem}.idx` is missing beside it" if suffix == ".bin" else ""
    raise SourceError(f"`{name}` is neither Parquet, Arrow, JSON nor CSV: it {_looks_like(head)}; {_NEEDED}{pair}")


def _is_lines(head: bytes) -> bool:
    """Return whether JSON text has one object a line, as far as its beginning tells."""
    if head.startswith(b"["):
        return False
    line, newline, _ = head.partition(b"\n")
    try:
        text = line.decode("utf-8", errors="ignore")
        _, end = json.JSONDecoder().raw_decode(text)
    except (ValueError, RecursionError):
        return not newline
    return not text[end:].strip()


def _looks_like(head: bytes) -> str:
    """Describe the first bytes of a file in words that follow "it"."""
    for magic, words in _KINDS.items():
        if head.startswith(magic):
            return words
    head = head[:256]
    if b"\x00" not in head:
        # The cut at 256 bytes may split a character of a text.
        text = head.decode("utf-8", errors="ignore").lstrip("\ufeff \t\r\n")
        if text.strip() and len(text.encode()) >= len(head.lstrip(_SPACE)) - 16:
            return f"looks like text, {text.splitlines()[0][:40]!r}"
    return f"starts with the bytes {head[:8].hex(' ')}"
