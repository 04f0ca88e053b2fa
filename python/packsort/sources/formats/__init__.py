"""Readers of files, one format a module.

- `reader`: what every reader gives, and errors that name the file.
- `memory`, `parquet`, `arrow`: readers of tables, Parquet files, and Arrow files and streams.
- `detect`: choice of a reader by what a file holds.
- `suffixes`: names by which a folder's data files are found.
"""
