"""Write output that is whole or absent, at every moment and for every reader.

- `files`: one file, which appears by one rename.
- `folders`: a folder of files, which appears by one rename or one exchange; a run that was killed can go on in it.
- `places`: folders that must not or cannot be replaced. `runs`: what a run that was stopped has left.
- `store_folder`, `store_file`: the same in object stores, which have no rename. `outputs` chooses.
- `writers`: Arrow, Parquet and other files inside such a folder, written through to the disk.
- `steps`: the system calls of a commit: exchange, sync, and errors that name the output.
- `lock`: one writer for each output.
"""

from packsort._atomic.files import OutputFile, replace_file
from packsort._atomic.folders import OutputFolder
from packsort._atomic.lock import FileLock
from packsort._atomic.outputs import output_file, output_folder
from packsort._atomic.runs import stopped_run
from packsort._atomic.steps import is_hidden, output_error, output_errors
from packsort._atomic.store_file import StoreFile
from packsort._atomic.store_folder import StoreFolder
from packsort._atomic.writers import open_file, open_table, tables, write_bytes

__all__ = [
    "FileLock",
    "OutputFile",
    "OutputFolder",
    "StoreFile",
    "StoreFolder",
    "is_hidden",
    "open_file",
    "open_table",
    "output_error",
    "output_errors",
    "output_file",
    "output_folder",
    "replace_file",
    "stopped_run",
    "tables",
    "write_bytes",
]
