"""Files and folders inside a source that are no part of its data.

Programs leave much beside data: markers, checksums, caches, half-written files, checkpoints. Read as data, a cache of
`datasets` repeats every row, and a half-written file holds rows that its writer never meant to keep.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from packsort.sources.files.skipped import SkipReason
from packsort.sources.formats.suffixes import DATA_SUFFIXES

_UNFINISHED = (".incomplete", ".tmp", ".temp", ".part", ".partial", ".inprogress", ".crdownload", ".lock")
_DESCRIPTIONS = {
    "adapter_config.json",
    "added_tokens.json",
    "all_results.json",
    "chat_template.json",
    "config.json",
    "croissant.json",
    "dataset_dict.json",
    "dataset_info.json",
    "dataset_infos.json",
    "eval_results.json",
    "generation_config.json",
    "manifest.json",
    "package.json",
    "special_tokens_map.json",
    "preprocessor_config.json",
    "processor_config.json",
    "state.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "train_results.json",
    "trainer_state.json",
    "vocab.json",
}


def stray_folder(path: Path) -> SkipReason | None:
    """Return the reason for which a folder inside a source is not entered, or None.

    Args:
        path: The folder.
    """
    return _stray_name(path.name) or (SkipReason.PACKED if is_packed(path) else None)


def stray_file(name: str, saved: set[str] | None, *, any_suffix: bool = False) -> SkipReason | None:
    """Return the reason for which a file inside a source is not read, or None.

    Args:
        name: Name of the file.
        saved: What `saved_files` returns for its folder.
        any_suffix: Whether a file may hold rows whatever its suffix.

    Example:
        >>> [stray_file(name, None) for name in ("a.parquet", "README.md", "cache-09f.arrow")]
        [None, <SkipReason.OTHER: 'other'>, <SkipReason.CACHE: 'cache'>]
    """
    folded = name.lower()
    if reason := _stray_name(name):
        return reason
    if folded in _DESCRIPTIONS or not (any_suffix or folded.endswith(DATA_SUFFIXES)):
        return SkipReason.OTHER
    if (saved is not None and name not in saved) or (folded.startswith("cache-") and folded.endswith(".arrow")):
        return SkipReason.CACHE
    return None


def _stray_name(name: str) -> SkipReason | None:
    folded = name.lower()
    if folded == ".ipynb_checkpoints" or folded.startswith("checkpoint-"):
        return SkipReason.CHECKPOINT
    if name.startswith("."):
        return SkipReason.HIDDEN
    # Spark skips such names, too, but for folders of a partition such as `_day=1`.
    if (name.startswith("_") and "=" not in name) or folded.endswith(_UNFINISHED):
        return SkipReason.TEMPORARY
    return None


def is_packed(folder: Path) -> bool:
    """Return whether a folder is a packed directory, whose rows are packs.

    Args:
        folder: The folder.
    """
    facts = read_object(folder / "manifest.json")
    return facts is not None and facts.get("format") == "packsort"


def saved_files(folder: Path) -> set[str] | None:
    """Return the data files of a dataset that `Dataset.save_to_disk` wrote into a folder.

    `Dataset.map` leaves caches beside them.

    Args:
        folder: The folder.

    Returns:
        Names of the files, or None if the folder holds no such dataset.
    """
    facts: Any = read_object(folder / "state.json") or {}
    try:
        names = {file["filename"] for file in facts["_data_files"]}
    except (LookupError, TypeError):
        return None
    return names if all(isinstance(name, str) for name in names) else None


def read_object(path: Path) -> dict[str, Any] | None:
    """Read a JSON object, or return None if there is no such regular file or it holds something else.

    Args:
        path: The file.
    """
    try:
        # Opening a named pipe would wait for ever.
        facts = json.loads(path.read_text("utf-8")) if path.is_file() else None
    except (OSError, ValueError, RecursionError):
        return None
    return facts if isinstance(facts, dict) else None
