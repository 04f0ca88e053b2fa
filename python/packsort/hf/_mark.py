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


def were_packs(dataset: Any) -> bool | None:
    """Tell whether the rows of a dataset were packs when it was loaded, whatever became of its columns since.

    Returns:
        True or False where a mark or the files that the dataset came from tell, and None otherwise.
    """
    if getattr(getattr(dataset, "info", None), "builder_name", None) == _BUILDER:
        return True
    for file in getattr(dataset, "cache_files", None) or ():
        # `datasets` writes it beside the data as they were read, and puts the results of `map` into the same folder.
        record = Path(file["filename"]).with_name("dataset_info.json")
        if record.is_file():
            return SEQ_LENGTHS in (json.loads(record.read_text(encoding="utf-8")).get("features") or {})
    return None
