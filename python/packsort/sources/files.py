"""Find the files that a path, a folder or a glob pattern stands for."""

from __future__ import annotations

import glob
import json
import os
from collections.abc import Sequence
from pathlib import Path

from packsort.errors import SourceError, SourceNotFoundError
from packsort.sources.formats import naming

_SUFFIXES = (".parquet", ".arrow")


def find_files(source: str | os.PathLike[str] | Sequence[str | os.PathLike[str]]) -> list[Path]:
    """Finds the files that a path, a list of paths, a folder or a glob pattern stands for.

    A folder gives the `*.parquet` and `*.arrow` files in it and in its folders, sorted by path, without those that are
    hidden or start with `_`, and without packed directories inside it; a folder that `Dataset.save_to_disk` wrote gives
    its data, without `datasets`' caches.
    A glob pattern gives the files that match, sorted. A list keeps its order.

    Returns:
        At least one path, none twice.

    Raises:
        SourceNotFoundError: A path is missing, a pattern matches no file, or a folder holds none.
        SourceError: A file is given twice.
    """
    given = [source] if isinstance(source, (str, os.PathLike)) else list(source)
    if not given:
        raise SourceNotFoundError("no source: the list of paths is empty")
    found: list[Path] = []
    for one in given:
        if not isinstance(one, (str, os.PathLike)):
            raise SourceError(f"a list of sources holds paths, not a {type(one).__name__}")
        found += _find(os.fspath(one))
    seen: dict[Path, Path] = {}
    for path in found:
        real = path.resolve()
        if real in seen:
            same = "" if seen[real] == path else f" (as `{seen[real]}` too)"
            raise SourceError(f"`{path}` is given twice{same}: its rows would be there twice")
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
        # `Dataset.map` leaves caches beside the data of a saved dataset; read as data, every row would come twice.
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
    """Whether a folder inside the source is what packing it wrote: read as data, every token would come twice."""
    try:
        facts = json.loads((folder / "manifest.json").read_text("utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(facts, dict) and facts.get("format") == "packsort"


def _saved_dataset(state: Path) -> set[str] | None:
    """The data files that a `state.json` of `datasets` names; None where it is another program's."""
    try:
        return {file["filename"] for file in json.loads(state.read_text())["_data_files"]}
    except (ValueError, LookupError, TypeError):
        return None
