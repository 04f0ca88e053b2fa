"""Readers of files, one format a module.

- `reader`: what every reader gives, and errors that name the file.
- `memory`, `parquet`, `arrow`: readers of tables, Parquet files, and Arrow files and streams.
- `megatron`: reader of Megatron's `.idx` and `.bin` files; `megatron_names`: which of them belong together.
- `stamp`: facts that tell whether a file is still the one that was opened.
- `json`, `csv`: readers of text, on top of `blocks`, which reads any text block by block.
- `json_lines`, `json_values`: JSON in blocks: one object a line, a list, or objects in any lines.
- `json_block`, `json_rows`, `json_types`: one block to columns, by pyarrow and by Python, and types of columns.
- `csv_records`: CSV in blocks of whole records, with quotes checked.
- `compression`: gzip and zstd.
- `detect`: choice of a reader by what a file holds.
- `suffixes`: names by which a folder's data files are found.
"""
