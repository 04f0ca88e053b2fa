"""Other libraries read the shards as they are: datasets, polars, duckdb; for TRL see test_trl.py."""

from __future__ import annotations

from glob import glob

import datasets
import duckdb
import polars as pl
import pyarrow.dataset as dataset
import pyarrow.parquet as pq
import pytest

import packsort
from packed_rows import MAX_LENGTH, packed
from packsort.shards import shard_writing

FORMATS = pytest.mark.parametrize("format", ["arrow", "parquet"])


def shards_in(tmp_path, format):
    """Pack several shards; return the glob of their files, and their packs as lists."""
    path = packed(tmp_path, format=format, shard_size="2KB")
    shards = packsort.open_shards(path)
    assert len(shards.manifest.shards) > 1
    packs = [{name: values.tolist() for name, values in pack.items()} for pack in shards]
    return f"{path}/train-*.{format}", packs


def load(tmp_path, format, files):
    return datasets.load_dataset(format, data_files=files, split="train", cache_dir=str(tmp_path / "cache"))


@FORMATS
def test_datasets_loads_the_packs_in_order(tmp_path, format):
    files, packs = shards_in(tmp_path, format)
    dataset = load(tmp_path, format, files)
    assert dataset.to_list() == packs
    assert {name: feature.feature.dtype for name, feature in dataset.features.items()} == {
        "input_ids": "int32",
        "labels": "int32",
        "seq_lengths": "int32",
        "sequence_ids": "int64",
    }


@FORMATS
def test_polars_reads_the_packs_in_order(tmp_path, format):
    files, packs = shards_in(tmp_path, format)
    read = {"arrow": pl.read_ipc, "parquet": pl.read_parquet}[format]
    assert read(files).to_dicts() == packs


@FORMATS
def test_duckdb_reads_the_packs_in_order(tmp_path, format):
    files, packs = shards_in(tmp_path, format)
    if format == "arrow":  # duckdb reads Arrow through pyarrow
        shards = dataset.dataset(sorted(glob(files)), format="ipc")
        found = duckdb.from_arrow(shards)
    else:
        found = duckdb.sql(f"select * from read_parquet('{files}')")
    assert [dict(zip(found.columns, row, strict=True)) for row in found.fetchall()] == packs


def test_shards_of_several_row_groups_are_read(tmp_path, monkeypatch):
    monkeypatch.setattr(shard_writing, "_TOKENS_PER_ROW_GROUP", MAX_LENGTH)
    files, packs = shards_in(tmp_path, "parquet")
    assert any(pq.ParquetFile(file).num_row_groups > 1 for file in glob(files))
    found = duckdb.sql(f"select * from read_parquet('{files}')").to_arrow_table()
    assert load(tmp_path, "parquet", files).to_list() == packs
    assert pl.read_parquet(files).to_dicts() == packs
    assert found.to_pylist() == packs
