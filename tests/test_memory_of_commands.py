"""Commands on data several times larger than the memory that they may take."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import packsort
from limited import run_limited

ROWS, ROWS_A_GROUP, TOKENS = 52_000, 2_000, 800
MORE = 100 << 20  # bytes; the packs have three times as many, and as many in each of two columns


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a token file of many row groups and its packs."""
    folder = tmp_path_factory.mktemp("large")
    random = np.random.default_rng(0)
    schema = pa.schema({"input_ids": pa.list_(pa.int32()), "labels": pa.list_(pa.int32())})
    with pq.ParquetWriter(folder / "tokens.parquet", schema, use_dictionary=False) as writer:
        for _ in range(0, ROWS, ROWS_A_GROUP):
            lengths = random.integers(1, 2 * TOKENS, ROWS_A_GROUP)
            offsets = pa.array(np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32))
            lists = pa.ListArray.from_arrays(offsets, pa.array(random.integers(0, 60_000, lengths.sum(), np.int32)))
            writer.write_table(pa.table([lists, lists], schema=schema))
    manifest = packsort.write_shards(folder / "tokens.parquet", folder / "packed", 2 * TOKENS, shard_size="8MB")
    assert sum(shard.bytes for shard in manifest.shards) > 3 * MORE
    return folder


@pytest.mark.parametrize(
    "arguments",
    [
        ("verify", "packed", "--source", "tokens.parquet"),
        ("compare", "tokens.parquet", "--max-length", "1600", "--json"),
        ("export", "packed", "-o", "exported", "--format", "megatron-bin", "--pad-token-id", "0"),
    ],
    ids=lambda arguments: arguments[0],
)
def test_memory_does_not_grow_with_the_data(data, arguments):
    done = run_limited(MORE, *arguments, cwd=data)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a file of short sequences, each with one of a few long texts, six times as many bytes as are allowed."""
    path = tmp_path_factory.mktemp("texts") / "rows.parquet"
    known = [f"{number} " * 3_000 for number in range(10, 17)]
    schema = pa.schema({"input_ids": pa.list_(pa.int32()), "source": pa.string()})
    with pq.ParquetWriter(path, schema) as writer:
        for _ in range(0, 12 * MORE // len(known[0]), ROWS_A_GROUP):
            ids = [[row % 90 + 1] * (1 + row % 50) for row in range(ROWS_A_GROUP)]
            source = [known[row % len(known)] for row in range(ROWS_A_GROUP)]
            writer.write_table(pa.table([ids, source], schema=schema))
    return path


def test_texts_of_columns_are_not_held(texts, tmp_path):
    options = ("--max-length", "64", "--keep", "source", "--groups", "source", "--memory-limit", "4GB")
    done = run_limited(2 * MORE, "pack", texts, "-o", tmp_path / "out", *options)
    assert done.returncode == 0, done.stderr
    assert len(packsort.open_shards(tmp_path / "out").dictionaries["source"]) == 7
    done = run_limited(2 * MORE, texts, code="pyarrow.parquet.ParquetFile(sys.argv[2]).read(['source'])")
    assert "malloc" in done.stderr


def test_the_limit_ends_who_reads_all(data):
    code = "import pyarrow.parquet as pq; t = pq.ParquetFile('tokens.parquet').read()"
    done = run_limited(MORE, cwd=data, code=code)
    assert done.returncode == 1
    assert "MemoryError" in done.stderr or "malloc" in done.stderr
