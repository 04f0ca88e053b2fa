"""Suffixes by which files of rows are found in a folder; `detect` then looks at what a file holds."""

from __future__ import annotations

_PLAIN = (
    ".parquet",
    ".pq",
    ".parq",
    ".arrow",
    ".feather",
    ".ipc",
    ".arrows",
    ".jsonl",
    ".ndjson",
    ".json",
    ".csv",
    ".tsv",
)
_COMPRESSED = ("", ".gz", ".zst", ".zstd")

DATA_SUFFIXES = tuple(plain + compressed for plain in _PLAIN for compressed in _COMPRESSED)
"""Suffixes of data files, in lower case; names are matched without regard to case."""
