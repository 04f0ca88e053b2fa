"""Rows to pack and packed directories, the same in each test run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

import packsort

MAX_LENGTH = 64
VOCABULARY = 97


def rows(count: int = 60, *, labels: bool = True, longest: int = MAX_LENGTH, seed: int = 0) -> pa.Table:
    """Return sequences of 1 to `longest` tokens, most of them short; about a third of the tokens carry no loss."""
    random = np.random.default_rng(seed)
    lengths = np.clip(random.lognormal(2.3, 0.9, count), 1, longest).astype(int)
    lengths[:3] = [longest, 1, 1]
    ids = [random.integers(1, VOCABULARY, length, dtype=np.int32) for length in lengths]
    columns: dict[str, Any] = {"input_ids": pa.array(ids, pa.list_(pa.int32()))}
    if labels:
        masked = [np.where(random.random(len(one)) < 0.35, -100, one) for one in ids]
        columns["labels"] = pa.array(masked, pa.list_(pa.int32()))
    return pa.table(columns)


def packed(folder: Path, table: pa.Table | None = None, max_length: int = MAX_LENGTH, **options: Any) -> Path:
    """Write a packed directory in `folder` and return it."""
    out = folder / "packed"
    packsort.write_shards(rows() if table is None else table, out, max_length, **options)
    return out
