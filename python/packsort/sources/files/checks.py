"""Links and mixtures of formats that are refused."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from packsort._paths import printable
from packsort.errors import SourceError, SourceNotFoundError
from packsort.sources.files.skipped import SkipReason
from packsort.sources.formats.suffixes import DATA_SUFFIXES, INDEX_SUFFIX

_FAMILIES = {
    "Parquet or Arrow": (".parquet", ".pq", ".parq", ".arrow", ".arrows", ".feather", ".ipc"),
    "JSON Lines": (".jsonl", ".ndjson"),
    "JSON": (".json",),
    "CSV": (".csv", ".tsv"),
    "Megatron": (INDEX_SUFFIX,),
}
_SUFFIXES = frozenset(DATA_SUFFIXES)


def refuse_dangling(path: Path) -> None:
    """Refuse a link that leads nowhere: the data behind it would be missing in silence.

    Args:
        path: The link.

    Raises:
        SourceNotFoundError: It is such a link.
    """
    if path.is_symlink() and not path.exists():
        target = printable(os.readlink(path))
        raise SourceNotFoundError(f"`{printable(path)}` is a link to `{target}`, which does not exist")


def refuse_lost(path: Path, reason: SkipReason) -> None:
    """Refuse a link that leads nowhere and may have led to a folder, as its name has no suffix.

    Args:
        path: The link.
        reason: Reason for skipping it.

    Raises:
        SourceNotFoundError: It is such a link.
    """
    if reason == SkipReason.OTHER and not path.suffix:
        refuse_dangling(path)


def refuse_mixture(files: Sequence[Path], given: str) -> None:
    """Refuse files of several formats, which often hold the same rows several times.

    Args:
        files: The files that a folder or a pattern stands for.
        given: The folder or the pattern.

    Raises:
        SourceError: Some are Parquet or Arrow, and others JSON Lines, JSON, CSV or Megatron's; or two differ only in
            their suffix.
    """
    families: dict[str, list[Path]] = {}
    stems: dict[Path, Path] = {}
    for path in files:
        suffix = _suffix(path)
        plain = "." + suffix.split(".")[1] if suffix else ""
        family = next((name for name, suffixes in _FAMILIES.items() if plain in suffixes), "another format")
        families.setdefault(family, []).append(path)
        stem = path.with_name(path.name[: len(path.name) - len(suffix)])
        if stem in stems:
            raise SourceError(
                f"`{stems[stem]}` and `{path}` differ only in their format, and may hold the same rows: pass the files "
                "that are meant"
            )
        stems[stem] = path
    if len(families) > 1:
        counted = ", ".join(f"{len(found):,} of {family} (`{found[0]}`)" for family, found in families.items())
        raise SourceError(
            f"`{given}` mixes formats, whose files may hold the same rows: {counted}; pass the files that are meant, "
            "or a pattern such as `*.parquet`"
        )


def _suffix(path: Path) -> str:
    """Return the suffix of data files that a name ends with, two such as ".jsonl.gz" included, or ""."""
    parts = path.name.lower().split(".")
    ends = ("." + ".".join(parts[-count:]) for count in (2, 1))
    return next((end for end in ends if end in _SUFFIXES), "")
