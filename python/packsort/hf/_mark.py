"""The mark of datasets that hold packs, which their copies keep when columns are removed or rows changed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

from packsort.schema import SEQ_LENGTHS

_BUILDER: Final = "packsort"


def mark_packs(dataset: Any) -> Any:
    """Mark a `datasets.Dataset` or `IterableDataset` as rows that are packs, and return it."""
    dataset.info.builder_name = _BUILDER
    return dataset


def holds_packs(dataset: Any) -> bool | None:
    """Say whether the rows of a dataset are packs, or were before a step such as TRL's changed them.

    Returns:
        True or False where the dataset or the files that it came from tell, and None otherwise.
    """
    info = getattr(dataset, "info", None)
    if getattr(info, "builder_name", None) == _BUILDER or SEQ_LENGTHS in (getattr(dataset, "column_names", None) or ()):
        return True
    for file in getattr(dataset, "cache_files", None) or ():
        # `datasets` writes it beside the data as they were read, and puts the results of `map` into the same folder.
        record = Path(file["filename"]).with_name("dataset_info.json")
        if record.is_file():
            return SEQ_LENGTHS in (json.loads(record.read_text(encoding="utf-8")).get("features") or {})
    return None
