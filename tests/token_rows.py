"""Random token rows for tests."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq


def token_table(rows: int = 500, longest: int = 120, seed: int = 0) -> pa.Table:
    """Return `input_ids`, `labels` (some masked), `weights` float32, `answer` bool, and `source`, one text a row."""
    rng = np.random.default_rng(seed)
    lengths = np.minimum(1 + rng.lognormal(3, 1, rows).astype(np.int64), longest)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    tokens = rng.integers(0, 1000, offsets[-1]).astype(np.int32)
    masked = rng.random(offsets[-1]) < 0.4
    values = {
        "input_ids": tokens,
        "labels": np.where(masked, -100, tokens).astype(np.int32),
        "weights": rng.random(offsets[-1]).astype(np.float32),
        "answer": ~masked,
    }
    columns = {name: pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), pa.array(v)) for name, v in values.items()}
    return pa.table({**columns, "source": [f"s{i % 3}" for i in range(rows)]})


def write_parts(table: pa.Table, folder: Path, parts: int = 3) -> list[Path]:
    """Write the table as several Parquet files of several row groups each."""
    folder.mkdir(exist_ok=True)
    paths = []
    for i in range(parts):
        start, stop = (table.num_rows * at // parts for at in (i, i + 1))
        paths.append(folder / f"part-{i}.parquet")
        pq.write_table(table.slice(start, stop - start), paths[-1], row_group_size=max(1, (stop - start) // 3))
    return paths
