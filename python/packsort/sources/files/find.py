"""Files that a path, a folder or a glob pattern stands for."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

from packsort import _checks
from packsort._paths import printable, refuse_undecodable
from packsort._stores import StorePath, place
from packsort.errors import OptionError, SourceError, SourceNotFoundError
from packsort.sources.files import splits
from packsort.sources.files.card import read_card, refuse_configurations, refuse_data_folder, splits_by_card
from packsort.sources.files.checks import refuse_dangling, refuse_mixture
from packsort.sources.files.patterns import match
from packsort.sources.files.skipped import SkippedFile, SkipReason, count_skipped
from packsort.sources.files.store_walk import match_store, walk_store
from packsort.sources.files.tables import refuse_part_of_table
from packsort.sources.files.walk import Walk, walk
from packsort.sources.formats.detect import open_file
from packsort.sources.formats.megatron_names import index_of
from packsort.sources.formats.reader import naming


@dataclass(frozen=True)
class FoundFiles:
    """Files of a source.

    Attributes:
        paths: The files to read, at least one, none twice.
        splits: For each of them, the split that its name tells, or None.
        skipped: Files and folders that are not read.
        doubts: What a user may not expect, in words.
    """

    paths: tuple[Path, ...]
    splits: tuple[str | None, ...]
    skipped: tuple[SkippedFile, ...]
    doubts: tuple[str, ...]


@dataclass(frozen=True)
class _Given:
    """Files that one path, folder or pattern stands for.

    Attributes:
        name: The path as it was given.
        folder: The folder that was searched, or None for a file, which is read as asked.
        is_pattern: Whether a pattern was given.
        files: Split of each file.
        real: Real path of each file, also of those of other splits.
        skipped: What is not read.
        untold: Files whose names tell no split, read with those of training.
    """

    name: str
    folder: Path | None
    is_pattern: bool
    files: dict[Path, str | None]
    real: Mapping[Path, str]
    skipped: list[SkippedFile]
    untold: Sequence[Path] = ()


def find_files(
    source: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    split: str | None = None,
    storage_options: Mapping[str, Any] | None = None,
) -> FoundFiles:
    """Find the files that a path, a list of paths, a folder or a glob pattern stands for, or a URL of any of these.

    A folder stands for the data files in it and its subfolders, sorted by path: Parquet, Arrow, JSON Lines, JSON, CSV
    and Megatron's, told by their suffixes in any case. Links are followed. Hidden and temporary files, caches of
    `datasets`, checkpoints and packed directories are skipped, and so is a second link to the same file. A glob pattern
    stands for the files that match and those in the folders that match. A list keeps its order, and a file in it is
    read whatever its name. Of Megatron's pairs, the `.idx` file stands for both; a path may be that of either, or what
    both begin with.

    Args:
        source: A path, a folder, a glob pattern, or a list of these; also as URLs of an object store.
        split: Split to read, several joined by "+", or "all". None where a folder or pattern has only one.
        storage_options: Options of the fsspec file system of URLs.

    Raises:
        SourceNotFoundError: A path is missing, a pattern matches no file, a folder holds none, or a link leads nowhere.
        SourceError: A file is given twice; a folder has several splits or configurations, mixes formats, or is a table
            of Delta, Iceberg or Hudi; a name is not UTF-8.
        OptionError: There is no such split.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     for name in ("b.parquet", "a.PQ", "_tmp.parquet", "notes.txt"):
        ...         Path(folder, name).touch()
        ...     found = find_files(folder)
        >>> [path.name for path in found.paths], [str(skipped.reason) for skipped in found.skipped]
        (['a.PQ', 'b.parquet'], ['temporary', 'other'])
    """
    paths = [source] if isinstance(source, (str, os.PathLike)) else list(source)
    if not paths:
        raise SourceNotFoundError("source is an empty list of paths: pass at least one")
    given: list[_Given] = []
    for path in paths:
        if not isinstance(path, (str, os.PathLike)):
            hint = ": pass `datasets.Dataset.from_list(rows)`" if isinstance(path, dict) else ""
            raise SourceError(f"a list of sources must hold paths, got a {type(path).__name__}{hint}")
        where = place(path, storage_options) if path else path
        given.append(_find_in_store(where) if isinstance(where, StorePath) else _find(os.fspath(where)))
    if split is None:
        for one in given:
            _refuse_splits(one)
    else:
        given = _choose(given, split)
    for one in given:
        if one.folder is not None:
            refuse_mixture(list(one.files), one.name)
            _refuse_configurations(one)
    files = [pair for one in given for pair in one.files.items()]
    _refuse_twice((path, one.real[path]) for one in given for path in one.files)
    return FoundFiles(
        paths=tuple(path for path, _ in files),
        splits=tuple(split for _, split in files),
        skipped=tuple(file for one in given for file in one.skipped),
        doubts=tuple(_doubts(given, split)),
    )


def _find(name: str) -> _Given:
    if not name:
        raise SourceNotFoundError("source is an empty path: pass '.' for the working folder")
    refuse_undecodable(name, SourceError)
    path = Path(name)
    with naming(name):
        if path.is_dir():
            refuse_part_of_table(path)
            folder, found = path, walk(path)
        elif path.is_file():
            refuse_part_of_table(path.parent)  # a shell gives the files of `table/*.parquet` one by one
            return _file(name, index_of(path) or path)
        elif path.exists():
            raise SourceError(f"`{name}` is a pipe or a device: pass a file")
        elif (index := index_of(path)) is not None:
            return _file(name, index)
        elif not glob.has_magic(name):
            refuse_dangling(path)
            raise SourceNotFoundError(f"no file or folder `{name}`")
        else:
            folder, found = match(name)
    return _chosen(name, folder, found, path.absolute().name, is_pattern=not path.is_dir())


def _find_in_store(path: StorePath) -> _Given:
    name = str(path)
    is_pattern = False
    with naming(name):
        try:
            is_folder = path.info() is None
        except FileNotFoundError as error:
            if "bucket" in str(error).lower():
                raise SourceNotFoundError(f"no bucket `{path.parts[1]}` (`{name}`): {error}") from error
            if name.startswith(("http://", "https://")) or not glob.has_magic(name):
                raise SourceNotFoundError(f"no object or folder `{name}`") from error
            is_folder = is_pattern = True
        if not is_folder:
            alone = cast(Path, path)
            real = {alone: name}
            return _Given(name, None, False, _with_splits(real, alone.parent, path.parent.name), real, [])
        folder, found = match_store(path) if is_pattern else (path, walk_store(path))
        refuse_part_of_table(cast(Path, folder))
        return _chosen(name, cast(Path, folder), found, path.name, is_pattern=is_pattern)


def _chosen(name: str, folder: Path, found: Walk, above: str, *, is_pattern: bool) -> _Given:
    """Return the files among those found that the folder's own descriptions leave, with their splits."""
    files = _with_splits(found.files, folder, above)
    if not is_pattern:
        refuse_data_folder(folder)
    if declared := read_card(folder):
        by_card = splits_by_card(declared, found.files, folder)
        if not is_pattern:
            refuse_configurations(declared, folder)
            for one in found.files.keys() - by_card.keys():
                found.skip(one, SkipReason.UNDECLARED)
        files = {one: by_card.get(one, files[one]) for one in found.files if is_pattern or one in by_card}
    if not files:
        raise _nothing(name, not is_pattern, found.skipped)
    skipped = sorted(found.skipped, key=lambda file: file.path)
    untold = [] if declared else splits.untold(files, folder)
    return _Given(name, folder, is_pattern, files, found.files, skipped, untold)


def _file(name: str, path: Path) -> _Given:
    real = {path: os.path.realpath(path)}
    return _Given(name, None, False, _with_splits(real, path.parent, path.absolute().parent.name), real, [])


def _nothing(name: str, is_folder: bool, skipped: Sequence[SkippedFile]) -> SourceNotFoundError:
    what = f"folder `{name}` holds no data file" if is_folder else f"no data file matches `{name}`"
    seen = f"; what is there is skipped: {'; '.join(map(str, count_skipped(skipped)))}" if skipped else ""
    return SourceNotFoundError(f"{what}, such as *.parquet, *.arrow, *.jsonl or *.csv{seen}")


def _with_splits(files: Iterable[Path], folder: Path, above: str) -> dict[Path, str | None]:
    """Return the split of each file: what its name in the folder tells, or else what the name above it does."""
    found = splits.splits_of(files, folder)
    named = {split for split in found.values() if split is not None}
    rest = None
    if not named:
        rest = splits.of_name(above) if above.partition(".")[0].isalpha() else None
    elif named == {"train"} or named <= {"validation", "test", "validation/test"}:
        rest = "train"  # as `datasets` has it: beside test.jsonl, data.jsonl holds what to train on
    return {path: split or rest for path, split in found.items()}


def _refuse_splits(given: _Given) -> None:
    """Refuse a folder or pattern of several splits: rows of a test set must not train a model unasked."""
    names = splits.in_order({split for split in given.files.values() if split is not None})
    if given.folder is None or len(names) < 2:
        return
    rows = {name: _count_rows([path for path, split in given.files.items() if split == name]) for name in names}
    others = [path for path, split in given.files.items() if split is None]
    also = f", and files of no split, such as `{others[0].name}`" if others else ""
    raise SourceError(
        f"`{given.name}` has the splits {splits.described(rows)}{also}: pass split={names[0]!r} to read one, or "
        f"split={splits.ALL!r} to read every row"
    )


def _doubts(given: Sequence[_Given], split: str | None) -> Iterator[str]:
    """Say what was read as asked, and may still be a mistake."""
    names = splits.in_order({one for found in given for one in found.files.values() if one is not None})
    if split is None and len(names) > 1:
        yield (
            f"files of the splits {_checks.listed(names)} were given and are read together: pass split={names[0]!r} to "
            f"read one, or split={splits.ALL!r} if this is meant"
        )
    for one in given:
        only = {found for found in one.files.values() if found is not None}
        if split is None and one.folder is not None and len(only) == 1:
            (name,) = only
            # Whoever names the folder of a test set means it.
            is_named = any(splits.of_name(part.strip("*?")) for part in Path(one.name).parts)
            if splits.of_name(name) in ("validation", "test", "validation/test") and not is_named:
                yield f"the only split of `{one.name}` is {name!r}: pass split={name!r} if this is meant"
        if split is None and one.untold and set(one.files.values()) == {"train"}:
            files = "1 file" if len(one.untold) == 1 else f"{len(one.untold):,} files"
            yield (
                f"{files} of `{one.name}` beside those of 'train' tell no split by their names and are read as well, "
                f"such as `{one.untold[0].name}`: pass the files that are meant if it is not for training"
            )
        left_out = [file.path for file in one.skipped if file.reason == SkipReason.UNDECLARED]
        if left_out:
            yield f"{len(left_out):,} files are left out, such as `{left_out[0]}`: the README.md declares others"
        if one.folder is not None and not one.is_pattern:
            yield from (
                f"`{name}` tells of {total:,} files, and only {there:,} of them are there"
                for name, there, total in splits.missing_shards(one.files)
            )


def _count_rows(files: Sequence[Path]) -> int | None:
    try:
        return sum(open_file(path).rows for path in files)
    except SourceError:
        return None  # a file is damaged: the splits are the news, and whoever reads the file learns the rest


def _choose(given: Sequence[_Given], split: str) -> list[_Given]:
    """Leave out the files of other splits."""
    known = splits.in_order({one for found in given for one in found.files.values() if one is not None})
    chosen = splits.choose(split, known, ", ".join(found.name for found in given))
    if split == splits.ALL and chosen == known:
        return list(given)
    result: list[_Given] = []
    for found in given:
        files = {path: found.files[path] for path in found.files if found.files[path] in chosen}
        if not files and (found.folder is not None or None in found.files.values()):
            has = splits.in_order({one for one in found.files.values() if one is not None})
            there = f"which has {_checks.listed(has)}" if has else "whose names tell no split"
            raise OptionError(f"split={split!r} chooses nothing from `{found.name}`, {there}: leave one of the two out")
        others = [SkippedFile(printable(path), SkipReason.SPLIT) for path in found.files if path not in files]
        result.append(replace(found, files=files, skipped=[*found.skipped, *others]))
    return result


def _refuse_configurations(given: _Given) -> None:
    """Refuse a folder of several configurations, which often hold the same rows in several forms."""
    if given.folder is None or given.is_pattern:
        return
    folders = splits.configurations(given.files, given.folder)
    if folders:
        names = ", ".join(f"`{folder}`" for folder in folders[:5]) + (", ..." if len(folders) > 5 else "")
        raise SourceError(f"`{given.name}` holds {len(folders):,} configurations: pass one or more of {names}")


def _refuse_twice(files: Iterable[tuple[Path, str]]) -> None:
    seen: dict[str, Path] = {}
    for path, real in files:
        if real in seen:
            same = "" if seen[real] == path else f", also as `{seen[real]}`"
            raise SourceError(f"`{path}` is given twice{same}: each of its rows would be packed twice")
        seen[real] = path
