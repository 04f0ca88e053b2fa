"""Lists of Parquet, and their lengths alone, are those that pyarrow decodes, and damage is never taken for lengths."""

from __future__ import annotations

import io
from collections import Counter
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from packsort._arrow import is_list
from packsort.errors import SourceError
from packsort.sources.formats.block_memory import BlockMemory
from packsort.sources.formats.parquet import ParquetReader
from packsort.sources.formats.parquet_footer import column_chunks
from packsort.sources.formats.parquet_levels import count_lists
from packsort.sources.formats.parquet_values import read_lists

CODECS = ["none", "snappy", "gzip", "brotli", "zstd", "lz4"]
ENCODINGS = ["dictionary", "PLAIN", "DELTA_BINARY_PACKED", "BYTE_STREAM_SPLIT"]


def lists(draw: Any) -> tuple[pa.Array, pa.Field]:
    """Draw a list column: short and long lists, empty ones, nulls, and nulls in them."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    nulls, nulls_inside = draw(st.booleans()), draw(st.booleans())
    longest = draw(st.sampled_from([1, 3, 40, 4000]))
    empty = draw(st.sampled_from([0.0, 0.3, 1.0]))
    least, most = draw(st.sampled_from([(0, 9), (-100, 100_000), (7, 8)]))
    rows: list[Any] = []
    for _ in range(draw(st.integers(0, 60))):
        row: list[Any] = rng.integers(least, most, 0 if rng.random() < empty else rng.integers(0, longest + 1)).tolist()
        if nulls_inside:
            row = [None if rng.random() < 0.3 else value for value in row]
        rows.append(None if nulls and rng.random() < 0.3 else row)
    make = draw(st.sampled_from([pa.list_, pa.large_list]))
    kind = make(pa.field("element", draw(st.sampled_from([pa.int32(), pa.int64()])), nullable=nulls_inside))
    return pa.array(rows, kind), pa.field("input_ids", kind, nullable=nulls or draw(st.booleans()))


@given(st.data(), st.sampled_from(CODECS), st.sampled_from(ENCODINGS), st.sampled_from(["1.0", "2.0"]))
@settings(max_examples=200, deadline=None)
def test_lengths_are_those_that_pyarrow_decodes(data: st.DataObject, codec: str, encoding: str, version: str) -> None:
    column, field = lists(data.draw)
    others = [pa.array([{"input_ids": [1, 2]}] * len(column)), pa.array([[[1], []]] * len(column))]
    schema = pa.schema([("before", others[0].type), field, ("after", others[1].type)])
    file = io.BytesIO()
    pq.write_table(
        pa.table([others[0], column, others[1]], schema=schema),
        file,
        compression=codec,
        data_page_version=version,
        use_dictionary=encoding == "dictionary",
        column_encoding=None if encoding == "dictionary" else {"input_ids.list.element": encoding},
        data_page_size=data.draw(st.sampled_from([64, 1000, 1 << 20])),
        write_batch_size=data.draw(st.sampled_from([1, 7, 1024])),
        row_group_size=data.draw(st.sampled_from([1, 9, 1000])),
        store_schema=data.draw(st.booleans()),
        use_compliant_nested_type=True,
        write_page_checksum=data.draw(st.booleans()),
    )
    found = count_lists(pq.ParquetFile(file), file, "input_ids")
    assert found is not None
    assert found.tolist() == pc.fill_null(pc.list_value_length(column), -1).to_pylist()
    footer = pq.ParquetFile(file).metadata
    groups = [footer.row_group(group) for group in range(footer.num_row_groups)]
    columns = [[group.column(index) for index in range(group.num_columns)] for group in groups]
    assert [[(one.path, one.compression, one.values, one.size) for one in group] for group in column_chunks(file)] == [
        [(one.path_in_schema, one.compression, one.num_values, one.total_compressed_size) for one in group]
        for group in columns
    ]
    whole = pq.ParquetFile(file)
    for group, chunks in enumerate(column_chunks(file)):
        expected = whole.read_row_group(group, columns=["input_ids"])["input_ids"].combine_chunks()
        lists_found = read_lists(whole, file, ["input_ids"], chunks, len(expected), BlockMemory())
        if len(expected) and encoding in ("dictionary", "PLAIN") and codec in ("none", "snappy", "lz4"):
            assert bool(lists_found) == (expected.null_count + expected.flatten().null_count == 0)
        for found_lists in lists_found.values():
            assert found_lists.type == expected.type
            assert found_lists.equals(expected)


@pytest.mark.parametrize("codec", ["uncompressed", "snappy", "zstd", "lz4", "gzip", "brotli"])
@pytest.mark.parametrize("writer", ["polars", "duckdb"])
def test_files_of_other_writers_are_decoded_without_pyarrow(writer: str, codec: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    rows = [rng.integers(0, 50_000, count).tolist() for count in rng.integers(0, 900, 500)]
    table = pa.table(
        {"input_ids": pa.array(rows, pa.list_(pa.int32())), "labels": pa.array(rows, pa.list_(pa.int64()))}
    )
    path = str(tmp_path / "rows.parquet")
    if writer == "polars":
        pl.DataFrame(table).write_parquet(path, compression=codec, row_group_size=200)  # type: ignore[arg-type]
    else:
        kind = codec.replace("lz4", "lz4_raw")
        duckdb.from_arrow(table).query(
            "rows", f"COPY rows TO '{path}' (FORMAT parquet, COMPRESSION {kind}, PARQUET_VERSION V1)"
        )
    file, memory = pq.ParquetFile(path), BlockMemory()
    with open(path, "rb") as data:
        groups = column_chunks(data)
    for group, chunks in enumerate(groups):
        expected = file.read_row_group(group)
        found = read_lists(file, path, table.column_names, chunks, expected.num_rows, memory)
        assert set(found) == (set() if codec in ("gzip", "brotli") else set(table.column_names))
        assert all(pa.chunked_array([lists]).equals(expected[name]) for name, lists in found.items())


def test_a_damaged_footer_ends_no_process(tmp_path: Path) -> None:
    rows = pa.array([[1, 2], [], [3]], pa.list_(pa.int32()))
    pq.write_table(pa.table({"input_ids": rows, "n": [1, 2, 3]}), tmp_path / "rows.parquet", store_schema=False)
    whole = (tmp_path / "rows.parquet").read_bytes()
    start = len(whole) - 8 - int.from_bytes(whole[-8:-4], "little")
    outcomes = Counter()
    for at in range(start, len(whole)):
        damaged = bytearray(whole)
        damaged[at] ^= 1 << at % 8
        (tmp_path / "rows.parquet").write_bytes(damaged)
        try:
            reader = ParquetReader(tmp_path / "rows.parquet", len(damaged))
            reader.decoded_bytes(reader.schema.names)
            reader.list_lengths([field.name for field in reader.schema if is_list(field.type)])
            outcomes["taken"] += 1
        except SourceError as error:
            outcomes["refused"] += "rows.parquet" in str(error)
    assert outcomes.total() == len(whole) - start
    assert min(outcomes.values()) > 20, outcomes


@pytest.mark.parametrize("codec", CODECS)
def test_damage_is_no_length(codec: str) -> None:
    rng = np.random.default_rng(0)
    rows = [[int(value) for value in rng.integers(0, 100_000, n)] for n in rng.integers(0, 30, 200)]
    table = pa.table({"input_ids": pa.array(rows, pa.list_(pa.int32()))})
    file = io.BytesIO()
    pq.write_table(table, file, compression=codec, data_page_size=500, write_page_checksum=False)
    whole = file.getvalue()
    file = pq.ParquetFile(io.BytesIO(whole))
    levels = sum(max(1, len(row)) for row in rows)
    chunks = column_chunks(io.BytesIO(whole))[0]
    for number in range(3000):
        damaged = bytearray(whole)
        for at in rng.integers(4, len(whole) - 8, rng.integers(1, 4)):
            damaged[at] = rng.integers(0, 256)
        found = count_lists(file, io.BytesIO(damaged), "input_ids")
        # Levels that were changed may be levels still, but of as many rows, and of no more values than levels.
        assert found is None or (len(found) == len(rows) and found.sum() <= levels)
        if number % 10 == 0:
            found_lists = read_lists(file, io.BytesIO(damaged), ["input_ids"], chunks, len(rows), BlockMemory())
            for lists_found in found_lists.values():
                lists_found.validate(full=True)
                assert len(lists_found) == len(rows)
    for end in range(0, len(whole), 97):
        assert count_lists(file, io.BytesIO(whole[:end]), "input_ids") is None or end > 0.9 * len(whole)


def test_columns_of_a_row_group_share_its_memory() -> None:
    lengths = np.random.default_rng(0).integers(0, 999, 1001)
    ends = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
    values = np.arange(ends[-1]) % 3001
    columns = {"input_ids": values.astype(np.int32), "labels": values - 100, "weights": values.astype(np.int32) + 7}
    table = pa.table({name: pa.ListArray.from_arrays(ends, own) for name, own in columns.items()})
    file = io.BytesIO()
    pq.write_table(table, file)
    (chunks,) = column_chunks(file)
    found = read_lists(pq.ParquetFile(file), file, table.column_names, chunks, len(lengths), BlockMemory())
    assert pa.table(found).equals(table)
    assert all(lists.values.buffers()[1].address % 64 == 0 for lists in found.values())
    assert table.nbytes > 4 << 20


def test_a_page_whose_checksum_differs_is_left_to_pyarrow() -> None:
    table = pa.table({"input_ids": pa.array([[1, 2, 3], [4]], pa.list_(pa.int32()))})
    file = io.BytesIO()
    pq.write_table(table, file, write_page_checksum=True)
    whole = file.getvalue()
    ((chunk,),) = column_chunks(file)
    opened, memory = pq.ParquetFile(file), BlockMemory()
    right = read_lists(opened, file, ["input_ids"], [chunk], 2, memory)
    assert right["input_ids"].to_pylist() == [[1, 2, 3], [4]]
    for at in range(chunk.at, chunk.at + chunk.size):
        damaged = bytearray(whole)
        damaged[at] ^= 1
        for lists_found in read_lists(opened, io.BytesIO(damaged), ["input_ids"], [chunk], 2, memory).values():
            assert lists_found.to_pylist() == [[1, 2, 3], [4]]  # what was changed is a part that nothing needs


def test_columns_that_are_no_lists_of_numbers_are_decoded() -> None:
    table = pa.table({"n": [1], "texts": [["a"]], "nested": [[[1]]], "struct": [{"a": [1]}], "text": ["a"]})
    file = io.BytesIO()
    pq.write_table(table, file)
    assert [count_lists(pq.ParquetFile(file), file, name) is None for name in table.column_names] == [
        True, False, True, True, True,
    ]  # fmt: skip
