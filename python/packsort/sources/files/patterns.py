"""The data files that a glob pattern stands for."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator
from pathlib import Path

from packsort.errors import SourceNotFoundError
from packsort.sources.files.checks import refuse_dangling, refuse_lost
from packsort.sources.files.skipped import SkipReason
from packsort.sources.files.strays import saved_files, stray_file, stray_folder
from packsort.sources.files.tables import refuse_part_of_table, refuse_table
from packsort.sources.files.walk import Walk, tree, walk
from packsort.sources.formats.megatron_names import has_index, index_of, is_other_index


def match(pattern: str) -> tuple[Path, Walk]:
    """Find the data files that a glob pattern stands for: files that match, and those in folders that match.

    Strays are skipped as in a folder, unless the pattern spells out what makes them strays: `_*.parquet` asks for names
    that start with an underscore, and `*.data` for another suffix.

    Args:
        pattern: A glob pattern. `**` stands for any number of folders.

    Returns:
        The folder that the pattern starts from, and the files.

    Raises:
        SourceNotFoundError: Nothing matches.
        SourceError: A folder may not be read or is a table, or a link to data leads nowhere.
    """
    base = _base(pattern)
    found = Walk()
    matches = sorted(set(_expand(pattern, found)))
    if not matches:
        raise SourceNotFoundError(f"no file matches `{pattern}`")
    refuse_part_of_table(base)
    files: dict[Path, str] = {}
    folders: list[Path] = []
    rules = Rules(Path(pattern), base)
    root = os.path.realpath(base)
    above = set(map(os.fspath, Path(root).parents))
    for path in matches:
        if folders and folders[-1] in path.parents:
            continue  # `**` also matches what is inside the folders that it matches
        if not path.is_dir() and has_index(path):
            path = index_of(path) or path
        elif is_other_index(path) and not rules.any_suffix:
            found.skip(path, SkipReason.OTHER)
            continue
        reason, stray = rules.judge(path)
        if reason is not None:
            refuse_lost(stray, reason)
            found.skip(stray, reason, "/" if stray.is_dir() else "")
        elif path.is_dir() and os.path.realpath(path) in above:
            found.skip(path, SkipReason.LOOP, "/")
        elif path.is_dir():
            folders.append(path)
            inside = walk(path)
            files |= inside.files
            found.skipped.extend(inside.skipped)
        elif path.is_file():
            files[path] = os.path.realpath(path)
        else:
            refuse_dangling(path)
            found.skip(path, SkipReason.OTHER)
    start = len(base.parts)
    by_link = sorted(files, key=lambda path: files[path] != os.path.join(root, *path.parts[start:]))
    found.add_once({path: files[path] for path in by_link})
    found.skipped[:] = dict.fromkeys(found.skipped)
    return base, found


def _base(pattern: str) -> Path:
    """Return the folder before the first wildcard of a pattern."""
    parts = Path(pattern).parts
    fixed = next(index for index, part in enumerate(parts) if glob.has_magic(part))
    return Path(*parts[:fixed])


def _expand(pattern: str, found: Walk) -> Iterator[Path]:
    """Yield the paths that a pattern matches; `glob` itself would run through looped links for ever."""
    parts = Path(pattern).parts
    if "**" not in parts:
        yield from map(Path, glob.glob(pattern))
        return
    at = parts.index("**")
    start, rest = str(Path(*parts[:at])), parts[at + 1 :]
    for top in _expand(start, found) if glob.has_magic(start) else [Path(start)]:
        if top.is_dir():
            for folder, _, entries in tree(top, lambda path: not path.name.startswith("."), found):
                if rest:
                    yield from _expand(str(Path(glob.escape(str(folder)), *rest)), found)
                else:
                    yield folder
                    yield from (folder / entry.name for entry in entries if not entry.name.startswith("."))


class Rules:
    """Judge of the paths that a pattern matches.

    Args:
        pattern: The pattern.
        base: The folder before its first wildcard.
    """

    def __init__(self, pattern: Path, base: Path) -> None:
        wild = pattern.parts[len(base.parts) :]
        self._base = base
        starts = (".", "_", "cache-", "checkpoint-")
        self._asked = tuple(start for start in starts if any(part.startswith(start) for part in wild))
        suffix = Path(wild[-1]).suffix
        self.any_suffix = bool(suffix) and not glob.has_magic(suffix)
        self._folders: dict[Path, SkipReason | None] = {}
        self._saved: dict[Path, set[str] | None] = {}

    def judge(self, path: Path) -> tuple[SkipReason | None, Path]:
        """Return the reason for skipping a path, or None, and the folder or file that it is about."""
        folders = [*reversed(path.parents), *([path] if path.is_dir() else [])]
        for folder in folders:
            if len(folder.parts) <= len(self._base.parts):
                continue
            if folder not in self._folders:
                refuse_table(folder)
                self._folders[folder] = stray_folder(folder)
            reason = self._folders[folder]
            if reason is not None and not folder.name.startswith(self._asked):
                return reason, folder
        if path.is_dir():
            return None, path
        if path.parent not in self._saved:
            self._saved[path.parent] = saved_files(path.parent)
        reason = stray_file(path.name, self._saved[path.parent], any_suffix=self.any_suffix)
        return (None if path.name.startswith(self._asked) else reason), path
