"""Datasets of packs: the columns they leave out, and a mark that their copies keep when columns or rows are changed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

from packsort.schema import PIECE_STARTS, SEQUENCE_IDS

LEFT_OUT: Final = (SEQUENCE_IDS, PIECE_STARTS)
"""Columns of packs that TRL's datasets lack; other collators would take them for columns of tokens."""

_BUILDER: Final = "packsort"


def mark_packs(dataset: Any) -> Any:
    """Mark a `datasets.Dataset` or `IterableDataset` as rows that are packs, and return it."""
    dataset.info.builder_name = _BUILDER
    dataset.info.config_name = ",".join(dataset.column_names)
    return dataset


def columns_as_loaded(dataset: Any) -> frozenset[str] | None:
    """Return the columns that a dataset had when it was loaded, whatever became of them since.

    Returns:
        The columns where a mark or the files that the dataset came from tell, and None otherwise.
    """
    info: Any = getattr(dataset, "info", None)
    if getattr(info, "builder_name", None) == _BUILDER:
        return frozenset(info.config_name.split(","))
    for file in getattr(dataset, "cache_files", None) or ():
        # `datasets` writes it beside the data as they were read, and puts the results of `map` into the same folder.
        record = Path(file["filename"]).with_name("dataset_info.json")
        if record.is_file():
            return frozenset(json.loads(record.read_text(encoding="utf-8")).get("features") or ())
    return None
