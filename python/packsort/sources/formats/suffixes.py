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

INDEX_SUFFIX = ".idx"
"""Suffix of the index of Megatron's data. Other programs use it, too."""

DATA_SUFFIXES = (*(plain + compressed for plain in _PLAIN for compressed in _COMPRESSED), INDEX_SUFFIX)
"""Suffixes of data files, in lower case; names are matched without regard to case."""
