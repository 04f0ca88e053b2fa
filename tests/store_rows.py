"""What the tests of all object stores pack, and how they look at what a store holds."""

from __future__ import annotations

import io

import pyarrow as pa
import pyarrow.parquet as pq

from packsort._stores import Store

OPTIONS = {"max_length": 512, "shard_size": 30_000}


def table() -> pa.Table:
    """Return 1,000 rows of 1 to 50 tokens."""
    return pa.table({"input_ids": [[(7 * row + i) % 1000 for i in range(1 + row % 50)] for row in range(1000)]})


def parquet(number: int) -> bytes:
    """Return one of four Parquet files that hold the rows."""
    file = io.BytesIO()
    pq.write_table(table().slice(250 * number, 250), file, compression="none", use_dictionary=False)
    return file.getvalue()


def objects(url: str) -> dict[str, bytes]:
    """Return the objects under a folder, by their names in it."""
    found = Store().find(url)
    return {name[len(url) + 1 :]: Store().read(name, 0, facts.size) for name, facts in found.items()}
