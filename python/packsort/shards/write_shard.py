"""Write one Arrow file of a packed directory, synced to its disk."""

from __future__ import annotations

import os
from pathlib import Path

import pyarrow as pa

from packsort._atomic import output_errors


def write_arrow(path: Path, final: Path, table: pa.Table) -> None:
    """Write a table as an Arrow IPC file that can be mapped.

    Args:
        path: Where to write it.
        final: Where it will be, for messages.
        table: The table.

    Raises:
        OutputError: It cannot be written.
    """
    with output_errors(final), path.open("wb") as file:
        with pa.ipc.new_file(file, table.schema) as writer:
            writer.write_table(table)
        file.flush()
        os.fsync(file.fileno())
