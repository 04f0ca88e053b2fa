"""The data files of a folder and its subfolders.

Links are followed, as a user who lists the folder sees their content. A folder or file that several links reach is read
once, under the name that needs no link if there is one.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from packsort._atomic import is_hidden
from packsort._paths import printable, refuse_undecodable
from packsort.errors import SourceError, SourceNotFoundError
from packsort.sources.files.checks import refuse_dangling, refuse_lost
from packsort.sources.files.skipped import SkippedFile, SkipReason
from packsort.sources.files.strays import saved_files, stray_file, stray_folder
from packsort.sources.files.tables import refuse_table
from packsort.sources.formats.megatron_names import has_index, is_other_index
from packsort.sources.formats.reader import naming


@dataclass(frozen=True)
class Walk:
    """Files that a folder or a pattern stands for.

    Attributes:
        files: Real path of each data file, by the path under which it was found, sorted.
        skipped: What is not read.
    """

    files: dict[Path, str] = field(default_factory=dict)
    skipped: list[SkippedFile] = field(default_factory=list)

    def skip(self, path: Path, reason: SkipReason, end: str = "") -> None:
        """Add a skipped file, or a folder with "/" as its end."""
        self.skipped.append(SkippedFile(printable(path) + end, reason))

    def add_once(self, files: Mapping[Path, str]) -> None:
        """Add data files, and skip those that are another name of one before them.

        Args:
            files: Real path of each path.

        Raises:
            SourceError: The name of a file is not UTF-8.
        """
        first: dict[str, Path] = {}
        for path, real in files.items():
            refuse_undecodable(path, SourceError)
            if first.setdefault(real, path) != path:
                self.skip(path, SkipReason.REPEATED)
        self.files.update({path: files[path] for path in sorted(first.values())})


def walk(folder: Path) -> Walk:
    """Find the data files of a folder and its subfolders.

    Args:
        folder: The folder.

    Raises:
        SourceError: A folder may not be read or is a table, a link to data leads nowhere, or the name of a file is not
            UTF-8.
    """
    found = Walk()
    files: dict[Path, str] = {}
    linked: dict[Path, str] = {}

    def enters(path: Path) -> bool:
        reason = stray_folder(path)
        if reason is not None:
            found.skip(path, reason, "/")
        return reason is None

    for current, real, entries in tree(folder, enters, found):
        refuse_table(current)
        saved = saved_files(current)
        if saved is not None:
            refuse_missing(current, saved, entries)
        for entry in entries:
            path = current / entry.name
            if has_index(path):
                continue  # read with its index
            if reason := stray_file(entry.name, saved) or (SkipReason.OTHER if is_other_index(path) else None):
                refuse_lost(path, reason)
                found.skip(path, reason)
            elif not path.is_file():
                refuse_dangling(path)
                found.skip(path, SkipReason.OTHER)
            elif entry.is_symlink():
                linked[path] = os.path.realpath(path)
            else:
                files[path] = os.path.join(real, entry.name)
    found.add_once({**files, **linked})
    return found


def refuse_missing(folder: Path, saved: set[str], entries: Iterable[os.DirEntry[str]]) -> None:
    """Refuse a saved dataset that lacks a file.

    Args:
        folder: The folder.
        saved: Its data files, as `saved_files` returns them.
        entries: What is there.

    Raises:
        SourceNotFoundError: A file is missing.
    """
    for name in sorted(saved - {entry.name for entry in entries}):
        raise SourceNotFoundError(f"no file `{folder / name}`, which `{folder / 'state.json'}` names")


def tree(top: Path, enters: Callable[[Path], bool], found: Walk) -> Iterator[tuple[Path, str, list[os.DirEntry[str]]]]:
    """Visit a folder and its subfolders, each once, however many links lead to it.

    Folders that need no link come first. A link to a folder above `top` is not followed: what is beside `top` was not
    given.

    Args:
        top: The folder.
        enters: Tells whether to visit a subfolder.
        found: Gets the links that are not followed.

    Yields:
        The folder, its real path, and what is in it beside folders, sorted by name.

    Raises:
        SourceError: A folder may not be read.
    """
    above = set(map(os.fspath, Path(os.path.realpath(top)).parents))
    visited: set[str] = set()
    folders, links = [top], deque[Path]()
    while folders or links:
        current = folders.pop() if folders else links.popleft()
        real = os.path.realpath(current)
        if real in visited or real in above:
            parents = Path(os.path.realpath(current.parent), "link").parents
            found.skip(current, SkipReason.LOOP if Path(real) in parents else SkipReason.REPEATED, "/")
            continue
        visited.add(real)
        with naming(printable(current)), os.scandir(current) as listing:
            # What a run of packsort has left beside its output is nobody's data, and is not counted as skipped.
            entries = sorted((one for one in listing if not is_hidden(one.name)), key=lambda entry: entry.name)
        others: list[os.DirEntry[str]] = []
        for entry in entries:
            if not os.path.isdir(entry.path):
                others.append(entry)
            elif enters(current / entry.name):
                (links if entry.is_symlink() else folders).append(current / entry.name)
        yield current, real, others
