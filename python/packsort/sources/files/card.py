"""Files, splits and configurations that the `README.md` of a data set of the Hub declares.

Its YAML header may say `configs: [{config_name: default, data_files: [{split: test, path: heldout.jsonl}]}]`. Names of
files need not tell then that some are a test set.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from fnmatch import fnmatchcase
from pathlib import Path, PurePath
from typing import Any

from packsort.errors import SourceError


def declared_splits(folder: Path, files: Iterable[Path]) -> dict[Path, str] | None:
    """Return the split of each file that the `README.md` of a folder declares.

    Args:
        folder: The folder.
        files: Data files in it and its subfolders.

    Returns:
        The files that are declared with their splits, or None if there is no such file or it declares none.

    Raises:
        SourceError: Several configurations are declared, or the declaration cannot be read.
    """
    configurations = _configurations(folder)
    if not configurations:
        return None
    if len(configurations) > 1:
        names = ", ".join(f"`{name}`" for name in configurations)
        _, pattern = next(iter(configurations.values()))[0]
        raise SourceError(
            f"`{folder / 'README.md'}` declares {len(configurations):,} configurations, {names}: pass the files of "
            f"one, such as `{folder / pattern}`"
        )
    (pairs,) = configurations.values()
    found: dict[Path, str] = {}
    for path in files:
        split = next((split for split, pattern in pairs if _fits(path.relative_to(folder), pattern)), None)
        if split is not None:
            found[path] = split
    return found or None


def _configurations(folder: Path) -> dict[str, list[tuple[str, str]]]:
    """Return pairs of split and pattern for each configuration that declares its files."""
    header = _header(folder / "README.md")
    if "data_files" not in header:
        return {}
    try:
        import yaml
    except ImportError:
        raise SourceError(
            f"`{folder / 'README.md'}` declares in YAML which files hold which split: install packsort[hf] to read "
            "it, or pass the files"
        ) from None
    try:
        facts = yaml.safe_load(header)
        found = {
            str(one["config_name"]): list(_pairs(one["data_files"], one.get("data_dir")))
            for one in facts["configs"]
            if one.get("data_files")
        }
    except (yaml.YAMLError, LookupError, TypeError, AttributeError) as error:
        raise SourceError(
            f"`{folder / 'README.md'}` does not declare its files as the Hub wants it ({error!r}): pass the files"
        ) from error
    return {name: pairs for name, pairs in found.items() if pairs}


def _header(path: Path) -> str:
    """Return the YAML between the first two lines `---` of a file, or ""."""
    try:
        lines = path.read_text("utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    if not lines or lines[0].strip() != "---":
        return ""
    end = next((index for index, line in enumerate(lines[1:], 1) if line.strip() == "---"), 0)
    return "\n".join(lines[1:end])


def _pairs(data_files: Any, data_dir: str | None) -> Iterator[tuple[str, str]]:
    for one in [data_files] if isinstance(data_files, (str, Mapping)) else data_files:
        split, paths = ("train", one) if isinstance(one, str) else (str(one["split"]), one["path"])
        for path in [paths] if isinstance(paths, str) else paths:
            yield split, str(PurePath(data_dir or "", path))


def _fits(path: PurePath, pattern: str) -> bool:
    if "**" in pattern:
        return fnmatchcase(path.as_posix(), pattern)
    return len(path.parts) == len(PurePath(pattern).parts) and path.match(pattern)
