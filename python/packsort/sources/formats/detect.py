"""Choice of a reader by what a file holds, not by its name."""

from __future__ import annotations

from pathlib import Path

from packsort.errors import SourceError
from packsort.sources.formats.arrow import ArrowReader
from packsort.sources.formats.parquet import ParquetReader
from packsort.sources.formats.reader import Reader, naming

_PARQUET = b"PAR1"
_ARROW_FILE = b"ARROW1"
# An Arrow stream starts with a continuation marker and ends with a message of length 0.
_ARROW_STREAM = b"\xff\xff\xff\xff"
_ARROW_STREAM_END = b"\xff\xff\xff\xff\x00\x00\x00\x00"
_NEEDED = "a Parquet or Arrow file is needed"


def open_file(path: Path) -> Reader:
    """Open one file as the format that its first and last bytes tell, whatever its name.

    Args:
        path: The file.

    Raises:
        SourceNotFoundError: There is no such file.
        SourceError: The file may not be read, is empty, truncated, damaged, or of another format.
    """
    name = str(path)
    with naming(name), path.open("rb") as file:
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
        return ParquetReader(name, size)
    if head.startswith(_ARROW_FILE):
        if size < 24 or not tail.endswith(_ARROW_FILE):
            raise SourceError(
                f"`{name}` is a truncated Arrow file: it has {size:,} bytes and no Arrow footer at the end"
            )
        return ArrowReader(name, size, stream=False)
    if head.startswith(_ARROW_STREAM):
        # A writer that was stopped leaves whole messages, which would read as a shorter stream without an error.
        if tail != _ARROW_STREAM_END:
            raise SourceError(f"`{name}` is a truncated Arrow stream: it has {size:,} bytes and no end-of-stream mark")
        return ArrowReader(name, size, stream=True)
    error = SourceError(f"`{name}` is neither Parquet nor Arrow: it {_looks_like(head)}; {_NEEDED}")
    suffix = path.suffix.lower()
    if suffix in {".json", ".jsonl", ".ndjson", ".csv"}:
        kind = "csv" if suffix == ".csv" else "json"
        error.add_note(
            f'hint: convert it to Parquet: `datasets.load_dataset("{kind}", data_files="{path.name}", split="train")'
            f'.to_parquet("{path.stem}.parquet")`'
        )
    raise error


def _looks_like(head: bytes) -> str:
    """Describe the first bytes of a file in words that follow "it"."""
    compressed = {
        b"\x1f\x8b": "gzip",
        b"\x28\xb5\x2f\xfd": "zstd",
        b"PK\x03\x04": "zip",
        b"BZh": "bzip2",
        b"\xfd7zXZ": "xz",
    }
    for magic, kind in compressed.items():
        if head.startswith(magic):
            return f"is {kind}-compressed"
    if head.startswith(b"PARE"):
        return "is encrypted Parquet"
    if head.startswith(b"version https://git-lfs"):
        return "is a Git LFS pointer, not the file itself"
    if b"\x00" in head:
        return f"starts with the bytes {head[:8].hex(' ')}"
    # The cut at 256 bytes may split a character of a text.
    text = head.decode("utf-8", errors="ignore").lstrip("\ufeff \t\r\n")
    if text.startswith(("{", "[")):
        return "looks like JSON"
    if text.strip() and len(text.encode()) >= len(head) - 16:
        return f"looks like text, {text.splitlines()[0][:40]!r}"
    return f"starts with the bytes {head[:8].hex(' ')}"
