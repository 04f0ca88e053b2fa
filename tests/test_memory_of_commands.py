"""Commands on data several times larger than the memory that they may take."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import packsort
from limited import run_limited
from packsort._checks import byte_size

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
    # By default a call takes half of RLIMIT_DATA, which here is hardly more than the process has at its start.
    done = run_limited(MORE, *arguments, "--memory-limit", "1GB", cwd=data)
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


PEAK = """
import sys
from packsort.cli import main

status = main(sys.argv[1:])
with open("/proc/self/status") as file:
    print(*(line.split()[1] for line in file if line.startswith("VmHWM")), file=sys.stderr)
sys.exit(status)
"""


def peak(folder, *arguments):
    """Run a command, and return what it says and the most resident memory that it took, in bytes."""
    environment = {**os.environ, "MALLOC_ARENA_MAX": "2", "ARROW_DEFAULT_MEMORY_POOL": "system"}
    command = [sys.executable, "-c", PEAK, *arguments]
    done = subprocess.run(command, cwd=folder, env=environment, text=True, capture_output=True, timeout=300)
    *lines, last = done.stderr.splitlines()
    return done.returncode, "\n".join(lines), int(last) * 1024


@pytest.mark.parametrize(
    "arguments",
    [
        ("pack", "tokens.parquet", "-o", "again", "--max-length", "1600", "--shard-size", "8MB"),
        ("verify", "packed"),
        ("verify", "packed", "--source", "tokens.parquet"),
        ("compare", "tokens.parquet", "--max-length", "1600", "3200", "--json"),
        ("export", "packed", "-o", "limited", "--format", "trl"),
    ],
    ids=" ".join,
)
def test_the_least_that_would_do_is_named_and_does(data, arguments):
    status, said, _ = peak(data, *arguments, "--memory-limit", "1MB")
    assert status == 1
    least = re.search(r"memory_limit must be at least (\S+) for .*, got 1MB: raise it", said)
    assert least, said
    limit = int(1.03 * byte_size("memory_limit", least[1]))  # the process itself takes some more or less
    status, said, taken = peak(data, *arguments, "--memory-limit", str(limit))
    assert status == 0, said
    assert taken <= limit


def test_the_limit_ends_who_reads_all(data):
    code = "import pyarrow.parquet as pq; t = pq.ParquetFile('tokens.parquet').read()"
    done = run_limited(MORE, cwd=data, code=code)
    assert done.returncode == 1
    assert "MemoryError" in done.stderr or "malloc" in done.stderr
