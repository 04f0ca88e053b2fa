"""Read rows, from files or from memory.

- `source`: `open_source` and `Source`, rows of any kind behind one interface.
- `files`: from paths, folders and glob patterns to files, without strays and other splits.
- `formats`: readers of files, one format a module.
- `objects`: readers of tables and other objects in memory.
- `hugging_face`: readers of `datasets` objects and of data sets on the Hub.
- `renamed`: columns under the names that packsort looks for.
- `sliced`: some rows of a source.
- `unreadable`, `unchanged`: files that cannot be read, and files that change while a call works on them.
- `sequence_columns`: columns with one value for each sequence, which packs keep.
- `tokens`: token columns of a source, checked.
"""
