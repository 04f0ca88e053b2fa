"""Delta, Iceberg and Hudi tables: folders whose files do not tell their rows.

Such a table keeps files of rows that it deleted or replaced. A log beside the files says which still count, and only
the library of the format reads it right.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from packsort.errors import SourceError


def refuse_table(folder: Path) -> None:
    """Refuse a folder that is a table of Delta, Iceberg or Hudi.

    Args:
        folder: The folder.

    Raises:
        SourceError: It is such a table.
    """
    if (folder / "_delta_log").is_dir():
        raise _refusal(folder, "Delta", "`deltalake.DeltaTable(path).to_pyarrow_table()`")
    if (folder / "metadata").is_dir() and any(_iceberg_metadata(folder / "metadata")):
        raise _refusal(folder, "Iceberg", "`pyiceberg.table.StaticTable.from_metadata(path).scan().to_arrow()`")
    if (folder / ".hoodie").is_dir():
        raise _refusal(folder, "Hudi", "`spark.read.format('hudi')`")


def refuse_part_of_table(folder: Path) -> None:
    """Refuse a folder that is a table, or the data or a partition of one.

    Args:
        folder: The folder that was given.

    Raises:
        SourceError: It is such a folder.
    """
    current = folder.absolute()
    refuse_table(folder)
    while "=" in current.name or current.name == "data":
        current = current.parent
        refuse_table(current)


def _iceberg_metadata(folder: Path) -> Iterator[Path]:
    yield from folder.glob("*.metadata.json")
    yield from folder.glob("*.metadata.json.gz")


def _refusal(folder: Path, kind: str, reader: str) -> SourceError:
    return SourceError(
        f"`{folder}` is {'an' if kind == 'Iceberg' else 'a'} {kind} table, whose files also hold rows that it has "
        f"deleted: read it with {reader} and pass the result, or write it to Parquet first"
    )
