"""Files, splits and configurations that the `README.md` of a data set of the Hub declares.

Its YAML header may say `configs: [{config_name: default, data_files: [{split: test, path: heldout.jsonl}]}]`. Names of
files need not tell then that some are a test set.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path, PurePath
from typing import Any

from packsort.errors import SourceError

Declared = Mapping[str, Sequence[tuple[str, str]]]
"""For each configuration, pairs of a split and a pattern of its files."""


def splits_by_card(declared: Declared, files: Iterable[Path], folder: Path) -> dict[Path, str]:
    """Return the splits of the files that a `README.md` declares.

    Args:
        declared: What `read_card` returns.
        files: Data files in the folder and its subfolders.
        folder: The folder.
    """
    pairs = [pair for pairs in declared.values() for pair in pairs]
    found: dict[Path, str] = {}
    for path in files:
        split = next((split for split, pattern in pairs if _fits(path.relative_to(folder), pattern)), None)
        if split is not None:
            found[path] = split
    return found


def refuse_configurations(declared: Declared, folder: Path) -> None:
    """Refuse a folder whose `README.md` declares several configurations.

    Args:
        declared: What `read_card` returns.
        folder: The folder.

    Raises:
        SourceError: There are several.
    """
    if len(declared) > 1:
        names = ", ".join(f"`{name}`" for name in declared)
        _, pattern = next(iter(declared.values()))[0]
        raise SourceError(
            f"`{folder / 'README.md'}` declares {len(declared):,} configurations, {names}: pass the files of one, such "
            f"as `{folder / pattern}`"
        )


def read_card(folder: Path) -> Declared:
    """Read the files that the `README.md` of a folder declares.

    Args:
        folder: The folder.

    Returns:
        Pairs of a split and a pattern for each configuration, empty where there are none.

    Raises:
        SourceError: The declaration cannot be read.
    """
    return {name: pairs for name, pairs, _ in _configurations(folder) if pairs}


def refuse_data_folder(folder: Path) -> None:
    """Refuse a folder whose `README.md` declares that the data is in a folder of it.

    Args:
        folder: The folder.

    Raises:
        SourceError: It does, or the declaration cannot be read.
    """
    for _, pairs, data_dir in _configurations(folder):
        if not pairs and PurePath(data_dir) != PurePath():
            raise SourceError(
                f"`{folder / 'README.md'}` declares that the data is in `{folder / data_dir}`: pass that folder"
            )


def _configurations(folder: Path) -> list[tuple[str, list[tuple[str, str]], str]]:
    """Return the name, the pairs of a split and a pattern, and the folder of each configuration."""
    header = _header(folder / "README.md")
    if "data_files" not in header and "data_dir" not in header:
        return []
    try:
        import yaml
    except ImportError:
        raise SourceError(
            f"`{folder / 'README.md'}` declares in YAML which files hold which split: install packsort[hf] to read "
            "it, or pass the files"
        ) from None
    try:
        facts = yaml.safe_load(header)
        return [
            (
                _word(one["config_name"]),
                list(_pairs(one.get("data_files") or [], one.get("data_dir"))),
                _word(one.get("data_dir") or ""),
            )
            for one in facts.get("configs", [])
            if one.get("data_files") or one.get("data_dir")
        ]
    except (yaml.YAMLError, LookupError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise SourceError(
            f"`{folder / 'README.md'}` does not declare its files as the Hub wants it ({error!r}): pass the files"
        ) from error


def _header(path: Path) -> str:
    """Return the YAML between the first two lines `---` of a file, or ""."""
    try:
        # Opening a named pipe would wait for ever.
        lines = path.read_text("utf-8", errors="replace").splitlines() if path.is_file() else []
    except OSError:
        return ""
    if not lines or lines[0].strip() != "---":
        return ""
    end = next((index for index, line in enumerate(lines[1:], 1) if line.strip() == "---"), 0)
    return "\n".join(lines[1:end])


def _pairs(data_files: Any, data_dir: str | None) -> Iterator[tuple[str, str]]:
    for one in [data_files] if isinstance(data_files, (str, Mapping)) else data_files:
        split, paths = ("train", one) if isinstance(one, str) else (_word(one["split"]), one["path"])
        for path in [paths] if isinstance(paths, str) else paths:
            yield split, str(PurePath(data_dir or "", path))


def _word(value: Any) -> str:
    """Return a word of the header as text; aliases of lists within lists would take any amount of memory."""
    if isinstance(value, (list, dict, set)):
        raise TypeError(f"a word is needed, got a {type(value).__name__}")
    return str(value)


def _fits(path: PurePath, pattern: str) -> bool:
    if "**" in pattern:
        return fnmatchcase(path.as_posix(), pattern)
    return len(path.parts) == len(PurePath(pattern).parts) and path.match(pattern)
