"""The data files of a folder or a pattern in an object store.

The rules are those of `walk` and `patterns`, and the objects come from one listing. Stores have no links.
"""

from __future__ import annotations

import glob
from collections.abc import Iterator
from pathlib import Path
from typing import cast

from packsort._stores import StorePath
from packsort.errors import SourceNotFoundError
from packsort.sources.files.patterns import Rules
from packsort.sources.files.strays import saved_files, stray_file, stray_folder
from packsort.sources.files.tables import refuse_table
from packsort.sources.files.walk import Walk


def walk_store(folder: StorePath) -> Walk:
    """Find the data files of a folder of a store, and of its subfolders.

    Args:
        folder: The folder.

    Raises:
        SourceError: A folder is a table, or the name of an object has an empty part.
        FileNotFoundError: There is no such bucket.
        OSError: The store does not answer.
    """
    found = Walk()
    by_folder: dict[Path, list[Path]] = {}
    for path in _as_paths(sorted(folder.list())):
        by_folder.setdefault(path.parent, []).append(path)
    top = _as_path(folder)
    left_out: set[Path] = set()
    files: dict[Path, str] = {}
    for current in sorted(
        {one for home in by_folder for one in (home, *home.parents) if one == top or top in one.parents}
    ):
        if current.parent in left_out:
            left_out.add(current)
            continue
        reason = None if current == top else stray_folder(current)
        if reason is not None:
            found.skip(current, reason, "/")
            left_out.add(current)
            continue
        refuse_table(current)
        saved = saved_files(current)
        entries = by_folder.get(current, [])
        if saved is not None:
            for name in sorted(saved - {path.name for path in entries}):
                raise SourceNotFoundError(f"no file `{current / name}`, which `{current / 'state.json'}` names")
        for path in entries:
            if stray := stray_file(path.name, saved):
                found.skip(path, stray)
            else:
                files[path] = str(path)
    found.add_once(files)
    return found


def match_store(pattern: StorePath) -> tuple[StorePath, Walk]:
    """Find the data files that a glob pattern in a store stands for, as `patterns.match` does.

    Args:
        pattern: A glob pattern. `**` stands for any number of folders.

    Returns:
        The folder that the pattern starts from, and the files.

    Raises:
        SourceNotFoundError: Nothing matches.
        SourceError: A folder is a table.
        OSError: The store does not answer.
    """
    fixed = next(index for index, part in enumerate(pattern.parts) if glob.has_magic(part))
    base = type(pattern)(*pattern.parts[:fixed])
    matches = pattern.matches()
    if not matches:
        raise SourceNotFoundError(f"no file matches `{pattern}`")
    found = Walk()
    files: dict[Path, str] = {}
    folders: list[StorePath] = []
    rules = Rules(_as_path(pattern), _as_path(base))
    for path in sorted(matches):
        if folders and folders[-1] in path.parents:
            continue  # `**` also matches what is inside the folders that it matches
        reason, stray = rules.judge(_as_path(path))
        if reason is not None:
            found.skip(stray, reason, "/" if stray.is_dir() else "")
        elif matches[path] is None:
            folders.append(path)
            inside = walk_store(path)
            files |= inside.files
            found.skipped.extend(inside.skipped)
        else:
            files[_as_path(path)] = str(path)
    found.add_once(files)
    found.skipped[:] = dict.fromkeys(found.skipped)
    return base, found


def _as_path(path: StorePath) -> Path:
    """Return a path of a store as the rules for files take it: it answers what they ask."""
    return cast(Path, path)


def _as_paths(paths: list[StorePath]) -> Iterator[Path]:
    return map(_as_path, paths)
