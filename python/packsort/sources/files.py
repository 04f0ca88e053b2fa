"""Files that a path, a folder or a glob pattern stands for."""

from __future__ import annotations

import glob
import json
import os
from collections.abc import Sequence
from pathlib import Path

from packsort.errors import SourceError, SourceNotFoundError
from packsort.sources.formats.reader import naming

_SUFFIXES = (".parquet", ".arrow")


def find_files(source: str | os.PathLike[str] | Sequence[str | os.PathLike[str]]) -> list[Path]:
    """Find the files that a path, a list of paths, a folder or a glob pattern stands for.

    A folder stands for the `*.parquet` and `*.arrow` files in it and its subfolders, sorted by path. Names that start
    with `.` or `_`, and packed directories, are skipped. A folder that `Dataset.save_to_disk` wrote stands for its
    data, without the caches of `datasets`. A glob pattern stands for the files that match, sorted. A list keeps its
    order.

    Args:
        source: A path, a folder, a glob pattern, or a list of these.

    Returns:
        At least one path, none twice.

    Raises:
        SourceNotFoundError: A path is missing, a pattern matches no file, or a folder holds none.
        SourceError: A file is given twice.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     for name in ("b.parquet", "a.arrow", "_tmp.parquet", "notes.txt"):
        ...         Path(folder, name).touch()
        ...     [path.name for path in find_files(folder)]
        ['a.arrow', 'b.parquet']
    """
    given = [source] if isinstance(source, (str, os.PathLike)) else list(source)
    if not given:
        raise SourceNotFoundError("source is an empty list of paths: pass at least one")
    found: list[Path] = []
    for one in given:
        if not isinstance(one, (str, os.PathLike)):
            raise SourceError(f"a list of sources must hold paths, got a {type(one).__name__}")
        found += _find(os.fspath(one))
    seen: dict[Path, Path] = {}
    for path in found:
        real = path.resolve()
        if real in seen:
            same = "" if seen[real] == path else f", also as `{seen[real]}`"
            raise SourceError(f"`{path}` is given twice{same}: each of its rows would be packed twice")
        seen[real] = path
    return found


def _find(given: str) -> list[Path]:
    path = Path(given)
    with naming(given):
        if path.is_dir():
            return _in_folder(path)
        if path.exists():
            return [path]
        if not glob.has_magic(given):
            raise SourceNotFoundError(f"no file or folder `{given}`")
        matches = [Path(match) for match in sorted(glob.glob(given, recursive=True))]
    files = [match for match in matches if match.is_file()]
    if not files:
        raise SourceNotFoundError(f"no file matches `{given}`")
    return files


def _in_folder(folder: Path) -> list[Path]:
    found: list[Path] = []
    denied: list[OSError] = []
    for root, folders, names in os.walk(folder, onerror=denied.append):
        folders[:] = [name for name in folders if not name.startswith((".", "_")) and not _is_packed(Path(root, name))]
        # `Dataset.map` leaves caches beside the data of a saved dataset. Read as data, they would repeat every row.
        saved = _saved_dataset(Path(root, "state.json")) if "state.json" in names else None
        found += [
            Path(root, name)
            for name in names
            if name.endswith(_SUFFIXES) and not name.startswith((".", "_")) and (saved is None or name in saved)
        ]
    if denied:
        raise denied[0]
    if not found:
        raise SourceNotFoundError(f"folder `{folder}` holds no *.parquet or *.arrow file")
    return sorted(found)


def _is_packed(folder: Path) -> bool:
    """Whether a folder inside the source is a packed directory, which would repeat every token."""
    try:
        facts = json.loads((folder / "manifest.json").read_text("utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(facts, dict) and facts.get("format") == "packsort"


def _saved_dataset(state: Path) -> set[str] | None:
    """Return the data files that a `state.json` of `datasets` names, or None if another program wrote it."""
    try:
        return {file["filename"] for file in json.loads(state.read_text())["_data_files"]}
    except (ValueError, LookupError, TypeError):
        return None
