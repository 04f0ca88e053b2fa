"""The split that a file belongs to, and the choice among splits.

Names are read as `datasets` reads them: `data/NAME-00000-of-00002.parquet` is a file of split NAME, and the words
train, validation and test, and those that `datasets` takes for them, count in the names of folders and files. Case does
not matter here, and `split=train/`, `testset` and `held_out` count as well: rows of a test set that train a model cost
more than a question.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path

from packsort import _checks
from packsort.errors import OptionError
from packsort.sources.files.strays import read_object

ALL = "all"
"""Name that asks for the rows of all splits."""

_KEYWORDS = {
    "train": ("train", "training"),
    "validation": ("validation", "valid", "dev", "val"),
    "test": (
        "test",
        "testing",
        "eval",
        "evaluation",
        "heldout",
        "held_out",
        "held-out",
        "holdout",
        "hold_out",
        "hold-out",
    ),
}
_BY_KEYWORD = {keyword: split for split, keywords in _KEYWORDS.items() for keyword in keywords}
_KEYWORD = re.compile(rf"(?<![^-._ 0-9=])({'|'.join(_BY_KEYWORD)})(?:s|set|split|data)?(?![^-._ 0-9])", re.IGNORECASE)
_SHARD = re.compile(r"(?P<split>\w+(?:\.\w+)*)-\d{5}-of-\d{5}")
_PART = re.compile(r"(?P<start>.*)-(?P<index>\d{5})-of-(?P<total>\d{5})(?!\d)")
_CONVERTED = re.compile(r"\d{4}\.parquet", re.IGNORECASE)  # as the Hub names the Parquet files that it makes


def splits_of(files: Iterable[Path], folder: Path) -> dict[Path, str | None]:
    """Return the split that each file of a folder belongs to, or None for files whose names tell none.

    Args:
        files: Files in the folder and its subfolders.
        folder: The folder.

    Example:
        >>> names = ("train.jsonl", "val/a.jsonl", "other.jsonl")
        >>> list(splits_of([Path("x", name) for name in names], Path("x")).values())
        ['train', 'validation', None]
    """
    found: dict[Path, str | None] = dict.fromkeys(files)
    by_parent: dict[Path, list[Path]] = {}
    for path in found:
        by_parent.setdefault(path.parent, []).append(path)
    for parent, paths in by_parent.items():
        saved = _saved_split(parent)
        above = _last(parent.relative_to(folder).parts)
        sharded = saved is None and _has_split_shards(parent, paths)
        named = _named_splits(parent)
        for path in paths:
            shard = _SHARD.match(path.name) if sharded else None
            found[path] = (
                saved
                or next((split for split in named if _is_file_of(path.stem, split)), None)
                or (shard["split"] if shard else None)
                or above
                or of_name(path.name)
            )
    return found


def untold(files: Iterable[Path], folder: Path) -> list[Path]:
    """Return the files whose names tell no split, or nothing if no name does.

    Args:
        files: Files in the folder and its subfolders.
        folder: The folder.
    """
    found = splits_of(files, folder)
    return [path for path, split in found.items() if split is None] if any(found.values()) else []


def of_name(name: str) -> str | None:
    """Return the split that the words in a name tell, both of two such as "train/test", or None.

    Args:
        name: Name of a file or folder.

    Example:
        >>> [of_name(name) for name in ("My-Dev_2.jsonl", "latest.jsonl", "train-test.jsonl")]
        ['validation', None, 'train/test']
    """
    return "/".join(in_order({_BY_KEYWORD[word.lower()] for word in _KEYWORD.findall(name)})) or None


def configurations(files: Mapping[Path, str | None], folder: Path) -> list[Path]:
    """Return the subfolders of a layout of the Hub that hold a configuration each, or nothing if there is only one.

    Configurations are versions of one data set, such as `main/train-*` and `socratic/train-*`, and often share rows.

    Args:
        files: Split of each file.
        folder: The folder.
    """
    by_split: dict[str, set[Path]] = {}
    is_saved = cache(lambda home: (home / "state.json").exists())
    for path, split in files.items():
        home = path.parent
        if split is not None and _SHARD.match(path.name) and not is_saved(home):
            home = home.parent if home.name == "data" and home != folder else home
        elif split is not None and _CONVERTED.fullmatch(path.name) and home != folder:
            home = home.parent
        else:
            continue
        by_split.setdefault(split, set()).add(home)
    several = max(by_split.values(), key=len, default=set())
    return sorted(several) if len(several) > 1 else []


def missing_shards(files: Iterable[Path]) -> list[tuple[str, int, int]]:
    """Find sets of shards, such as `train-00000-of-00002.parquet`, that are not complete.

    Args:
        files: The files that are there.

    Returns:
        The first file of each such set, the number of its files that are there, and the number its name tells.

    Example:
        >>> missing_shards([Path("a/train-00000-of-00003.parquet"), Path("a/train-00002-of-00003.parquet")])
        [('a/train-00000-of-00003.parquet', 2, 3)]
    """
    sets: dict[tuple[Path, str, int], dict[int, Path]] = {}
    for path in files:
        if part := _PART.match(path.name):
            sets.setdefault((path.parent, part["start"], int(part["total"])), {})[int(part["index"])] = path
    return [
        (next(iter(found.values())).as_posix(), len(found), total)
        for (_, _, total), found in sets.items()
        if len(found) < total
    ]


def choose(split: str, known: Collection[str], source: str) -> list[str]:
    """Return the splits that an option `split` asks for.

    Args:
        split: Name of a split, several joined by "+", or "all". Other words of `datasets` for a split are taken where
            no split has that name, such as `dev` for `validation`.
        known: Splits that there are.
        source: Names the source in messages.

    Raises:
        OptionError: There is no such split.

    Example:
        >>> choose("train+dev", ["test", "train", "validation"], "data")
        ['train', 'validation']
    """
    if split == ALL and ALL not in known:
        return list(known)
    if not known:
        raise OptionError(f"split={split!r} does not go with `{source}`, which has no splits: leave it out")
    chosen: list[str] = []
    for name in (part.strip() for part in split.split("+")):
        found = name if name in known else _BY_KEYWORD.get(name.lower(), name)
        if found not in known:
            raise OptionError(f"split must be one of {_checks.listed(known)}, as `{source}` has them, got {split!r}")
        if found not in chosen:
            chosen.append(found)
    return chosen


def rows_by_split(rows: Iterable[tuple[str | None, int]]) -> dict[str, int]:
    """Count the rows of each split.

    Args:
        rows: Split and rows of each file.

    Example:
        >>> rows_by_split([("test", 1), ("train", 2), (None, 3), ("train", 4)])
        {'train': 6, 'test': 1}
    """
    counted: dict[str, int] = {}
    for split, number in rows:
        if split is not None:
            counted[split] = counted.get(split, 0) + number
    return {split: counted[split] for split in in_order(counted)}


def in_order(splits: Iterable[str]) -> list[str]:
    """Sort splits: those of training first, then those of validation, tests, and others; and by name."""
    order = [*_KEYWORDS, None]
    kinds = {split: next((_BY_KEYWORD[word.lower()] for word in _KEYWORD.findall(split)), None) for split in splits}
    return sorted(kinds, key=lambda split: (order.index(kinds[split]), split))


def described(rows: Mapping[str, int | None]) -> str:
    """Name splits with their rows, for messages.

    Args:
        rows: Rows of each split, None where they could not be counted.

    Example:
        >>> described({"train": 1000, "test": 10})
        '`train` (1,000 rows), `test` (10 rows)'
    """
    counted = {name: "" if n is None else f" ({n:,} {'row' if n == 1 else 'rows'})" for name, n in rows.items()}
    return ", ".join(f"`{name}`{number}" for name, number in counted.items())


def _last(names: Sequence[str]) -> str | None:
    """Return the split that the last of some names tells, or None."""
    return next((split for name in reversed(names) if (split := of_name(name))), None)


def _saved_split(folder: Path) -> str | None:
    """Return the split that `DatasetDict.save_to_disk` wrote into a folder, or None."""
    names = (read_object(folder.parent / "dataset_dict.json") or {}).get("splits")
    return folder.name if isinstance(names, list) and folder.name in names else None


def _named_splits(folder: Path) -> list[str]:
    """Return the splits whose files `datasets` wrote into a folder of its cache, the longest names first."""
    facts = (read_object(folder / "dataset_info.json") or {}).get("splits")
    return sorted(facts, key=len, reverse=True) if isinstance(facts, dict) else []


def _is_file_of(stem: str, split: str) -> bool:
    return re.search(rf"(?:^|-){re.escape(split)}(?:-\d{{5}}-of-\d{{5}})?$", stem) is not None


def _has_split_shards(folder: Path, files: Sequence[Path]) -> bool:
    """Return whether the names `NAME-00000-of-00002` in a folder name splits, and not just parts of one data set."""
    if (folder / "state.json").exists():
        return False
    names = [shard["split"] for path in files if (shard := _SHARD.match(path.name))]
    return bool(names) and (folder.absolute().name == "data" or any(_KEYWORD.search(name) for name in names))
