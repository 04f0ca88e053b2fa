"""Read rows, from files or from memory.

- `source`: `open_source` and `Source`, rows of any kind behind one interface.
- `files`: from paths, folders and glob patterns to files.
- `formats`: readers of Parquet and Arrow files.
- `tokens`: per-token columns, read into memory and checked.
- `lazy_tokens`: per-token columns that are checked as they are read.
"""
