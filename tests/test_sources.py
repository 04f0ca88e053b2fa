from __future__ import annotations

import gzip
import os
import pickle
import re
from pathlib import Path

import datasets
import duckdb
import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.ipc as ipc
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from packsort.errors import SourceError, SourceNotFoundError
from packsort.sources.source import open_source
from packsort.sources.tokens.read import read_tokens

LISTS = [[1, 2, 3], [4], [5, 6]]


def lists(values=LISTS, kind=None):
    return pa.array(values, kind or pa.list_(pa.int32()))


def table(**columns):
    return pa.table({"input_ids": lists(), **columns})


def parquet(path: Path, content: pa.Table, **options) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(content, path, **options)
    return path


def arrow(path: Path, content: pa.Table, *, stream: bool = False, compression: str | None = None) -> Path:
    options = ipc.IpcWriteOptions(compression=compression)
    make = ipc.new_stream if stream else ipc.new_file
    with make(str(path), content.schema, options=options) as writer:
        writer.write_table(content, max_chunksize=2)
    return path


def rows(source) -> list[list[int]]:
    return open_source(source).read(["input_ids"])["input_ids"].to_pylist()


def says(*parts: str) -> str:
    """A pattern for messages that hold all parts, in order."""
    return ".*".join(re.escape(part) for part in parts)


# What files hold


@pytest.mark.parametrize("compression", ["zstd", "snappy", "none"])
def test_parquet_is_read(tmp_path, compression):
    assert rows(parquet(tmp_path / "a.parquet", table(), compression=compression)) == LISTS


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("compression", [None, "zstd", "lz4"])
def test_arrow_is_read(tmp_path, stream, compression):
    path = arrow(tmp_path / "a.arrow", table(other=["x", "y", "z"]), stream=stream, compression=compression)
    source = open_source(path)
    assert source.num_rows == 3
    assert source.read(["input_ids"])["input_ids"].to_pylist() == LISTS
    assert source.read(["other", "input_ids"]).column_names == ["other", "input_ids"]
    found = [(i, first, batch.column(0).to_pylist()) for i, first, batch in source.batches(["other"], 1)]
    assert found == [(0, 0, ["x"]), (0, 1, ["y"]), (0, 2, ["z"])]


def test_format_is_told_by_content_not_by_name(tmp_path):
    assert rows(parquet(tmp_path / "really-parquet.arrow", table())) == LISTS
    assert rows(arrow(tmp_path / "really-arrow.parquet", table())) == LISTS


@pytest.mark.parametrize("stream", [False, True])
def test_two_columns_of_one_name_do_not_matter_unless_they_are_read(tmp_path, stream):
    arrays = [pa.array([0, 0, 0]), pa.array([0, 0, 0]), lists()]
    path = arrow(tmp_path / "a.arrow", pa.Table.from_arrays(arrays, ["id", "id", "input_ids"]), stream=stream)
    assert rows(path) == LISTS
    with pytest.raises(SourceError, match=says("a.arrow", "more than one column `id`")):
        open_source(path).read(["id"])


@pytest.mark.parametrize("stream", [False, True])
def test_mapped_arrow_is_not_copied(tmp_path, stream):
    big = pa.table({"input_ids": lists([list(range(1000))] * 1000), "other": list(range(1000))})
    path = arrow(tmp_path / "a.arrow", big, stream=stream)
    before = pa.total_allocated_bytes()
    tokens = read_tokens(open_source(path))
    assert pa.total_allocated_bytes() - before < 200_000
    assert tokens.table["input_ids"].chunk(0)[0].as_py() == list(range(1000))


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (b"a,b\n1,2\n", "looks like text, 'a,b'"),
        (gzip.compress(b"x" * 50, mtime=0), "looks like text, 'xxx"),
        ("a,b".encode("utf-16"), "UTF-16"),
        (b"\x00\x01\x02" * 20, "starts with the bytes 00 01 02"),
        (b"version https://git-lfs.github.com/spec/v1\n", "Git LFS pointer"),
    ],
    ids=["text", "gzip", "utf-16", "bytes", "git-lfs"],
)
def test_other_formats_are_said(tmp_path, content, found):
    path = tmp_path / "a.parquet"
    path.write_bytes(content)
    with pytest.raises(SourceError, match=says("a.parquet", found, "a Parquet, Arrow, JSON Lines, JSON or CSV file")):
        open_source(path)


def test_empty_file_is_named(tmp_path):
    (tmp_path / "a.parquet").touch()
    with pytest.raises(SourceError, match=says("a.parquet", "empty (0 bytes)")):
        open_source(tmp_path)


@pytest.mark.parametrize("keep", [4, 11, 200, -1])
def test_truncated_parquet_is_named(tmp_path, keep):
    path = parquet(tmp_path / "a.parquet", table())
    content = path.read_bytes()[:keep]
    path.write_bytes(content)
    with pytest.raises(SourceError, match=says("a.parquet", "truncated", f"{len(content)} bytes")):
        open_source(path)


@pytest.mark.parametrize("stream", [False, True])
def test_truncated_arrow_is_named(tmp_path, stream):
    path = arrow(tmp_path / "a.arrow", table(), stream=stream)
    content = path.read_bytes()
    for keep in (20, len(content) // 2, len(content) - 8):
        path.write_bytes(content[:keep])
        with pytest.raises(SourceError, match=says("a.arrow", "truncated")):
            open_source(path)


@pytest.mark.parametrize("checksum", [True, False])
def test_corrupted_pages_are_named_when_read(tmp_path, checksum):
    content = pa.table({"input_ids": pa.array(np.arange(30_000).reshape(-1, 3).tolist(), pa.list_(pa.int32()))})
    path = parquet(tmp_path / "a.parquet", content, compression="zstd", write_page_checksum=checksum)
    damaged = bytearray(path.read_bytes())
    # Without checksums only what no longer decompresses can be told from data: the page's whole start has to go.
    damaged[30:5000] = b"\xff" * 4970
    path.write_bytes(damaged)
    source = open_source(path)
    with pytest.raises(SourceError, match=r"a\.parquet"):
        source.read(["input_ids"])
    with pytest.raises(SourceError, match=r"a\.parquet"):
        list(source.batches(["input_ids"]))


@pytest.fixture
def nobody():
    """Root may read everything, so it becomes another user for this test."""
    user = os.geteuid()
    if user == 0:
        os.seteuid(65534)
    yield
    os.seteuid(user)


@pytest.mark.skipif(os.name != "posix", reason="only POSIX has file modes that keep a reader out")
def test_denied_file_is_named(tmp_path, request):
    path = parquet(tmp_path / "a.parquet", table())
    path.chmod(0)
    request.getfixturevalue("nobody")
    with pytest.raises(SourceError, match=says("a.parquet", "permission denied")):
        open_source(path)


def test_no_rows_at_all_is_refused_but_empty_files_among_others_are_fine(tmp_path):
    empty = parquet(tmp_path / "a.parquet", table().slice(0, 0))
    with pytest.raises(SourceError, match=says("a.parquet", "no rows")):
        open_source(empty)
    full = parquet(tmp_path / "b.parquet", table())
    assert rows([empty, full]) == LISTS
    assert open_source([empty, full]).where(0) == f"`{full}` row 0"


# Several files


def test_rows_run_on_through_files(tmp_path):
    a = parquet(tmp_path / "a.parquet", table())
    b = arrow(tmp_path / "b.arrow", pa.table({"input_ids": lists([[7], [8]])}))
    source = open_source([a, b])
    assert [file.rows for file in source.files] == [3, 2]
    assert [file.bytes for file in source.files] == [a.stat().st_size, b.stat().st_size]
    assert source.read(["input_ids"])["input_ids"].to_pylist() == [*LISTS, [7], [8]]
    assert [source.where(row) for row in (0, 2, 3, 4)] == [
        f"`{a}` row 0",
        f"`{a}` row 2",
        f"`{b}` row 0",
        f"`{b}` row 1",
    ]
    with pytest.raises(IndexError):
        source.where(5)


@pytest.mark.parametrize(
    ("first", "second", "both"),
    [
        (pa.list_(pa.int32()), pa.list_(pa.int64()), pa.list_(pa.int64())),
        (pa.large_list(pa.int32()), pa.list_(pa.uint16()), pa.large_list(pa.int32())),
        (pa.list_(pa.field("element", pa.int32(), nullable=False)), pa.list_(pa.int32()), pa.list_(pa.int32())),
        (pa.list_(pa.uint32()), pa.list_(pa.int32()), pa.list_(pa.int64())),
    ],
)
def test_types_that_differ_in_width_are_widened(tmp_path, first, second, both):
    a = arrow(tmp_path / "a.arrow", pa.table({"input_ids": lists(kind=first)}))
    b = arrow(tmp_path / "b.arrow", pa.table({"input_ids": lists(kind=second)}))
    source = open_source([a, b])
    assert source.schema.field("input_ids").type == both
    read = source.read(["input_ids"])["input_ids"]
    assert read.type == both
    assert read.to_pylist() == LISTS * 2
    assert [batch.column(0).type for *_, batch in source.batches(["input_ids"])] == [both] * 4


def test_types_that_differ_otherwise_name_both_files(tmp_path):
    a = parquet(tmp_path / "a.parquet", pa.table({"input_ids": lists(), "source": ["x"] * 3}))
    b = parquet(tmp_path / "b.parquet", pa.table({"input_ids": lists(), "source": [1, 2, 3]}))
    source = open_source([a, b])
    assert len(source.read(["input_ids"])) == 6
    with pytest.raises(SourceError, match=says("`source` is string", "a.parquet", "int64", "b.parquet")):
        source.read(["source"])


@pytest.mark.parametrize("swapped", [False, True])
def test_column_that_one_file_lacks_is_not_left_out_in_silence(tmp_path, swapped):
    a = parquet(tmp_path / "a.parquet", table(labels=lists()))
    b = parquet(tmp_path / "b.parquet", table())
    with pytest.raises(SourceError, match=says("a.parquet", "`labels`", "b.parquet", "none")):
        read_tokens(open_source([b, a] if swapped else [a, b]))


def test_unknown_column_lists_those_there_are():
    with pytest.raises(SourceError, match=says("no column `text`", "`input_ids`")):
        open_source(table()).read(["text"])


# In memory


def test_tables_readers_and_frames_are_sources():
    reader = pa.RecordBatchReader.from_batches(table().schema, table().to_batches(max_chunksize=1))
    frame = pl.DataFrame({"input_ids": LISTS})
    relation = duckdb.sql("select * from (values ([1, 2, 3]), ([4]), ([5, 6])) as rows(input_ids)")
    for source in (table(), reader, table().to_batches()[0], frame, relation):
        tokens = read_tokens(open_source(source))
        assert tokens.table["input_ids"].to_pylist() == LISTS
        assert tokens.table["input_ids"].type.value_type == pa.int32()


def test_dataset_gives_the_rows_it_selects():
    dataset = datasets.Dataset.from_dict({"input_ids": LISTS}).select([2, 0])
    assert rows(dataset) == [[5, 6], [1, 2, 3]]
    assert rows(dataset.with_format("numpy")) == [[5, 6], [1, 2, 3]]


def test_what_is_no_source_is_said():
    with pytest.raises(SourceError, match=says("source must be a path", "got a int")):
        open_source(7)


def test_errors_travel_between_processes(tmp_path):
    with pytest.raises(SourceNotFoundError) as caught:
        open_source(tmp_path / "missing.parquet")
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)


# Tokens


def test_per_token_columns_are_told_from_others():
    tokens = read_tokens(
        open_source(
            table(
                text=["a", "b", "c"],
                weights=pa.array([[0.5] * 3, [1.0], [2.0] * 2], pa.list_(pa.float32())),
                mask=pa.array([[True] * 3, [False], [True] * 2]),
                length=[3, 1, 2],
                tags=[["x"], [], []],
            )
        )
    )
    assert tokens.table.column_names == ["input_ids", "weights", "mask"]
    assert tokens.table.schema.field("weights").type == pa.list_(pa.float32())
    assert tokens.left_out == ("text", "length", "tags")
    assert tokens.lengths.to_pylist() == [3, 1, 2]


@pytest.mark.parametrize("value", [pa.int8(), pa.uint8(), pa.int16(), pa.int32(), pa.uint32(), pa.int64(), pa.uint64()])
@pytest.mark.parametrize("make", [pa.list_, pa.large_list, pa.list_view, pa.large_list_view])
def test_any_list_of_integers_becomes_int32_also_when_sliced(make, value):
    whole = pa.table({"input_ids": lists([[9, 9], *LISTS, [9]], make(value))})
    tokens = read_tokens(open_source(whole.slice(1, 3))).table["input_ids"]
    large = make in (pa.large_list, pa.large_list_view)
    assert tokens.type == (pa.large_list if large else pa.list_)(pa.int32())
    assert tokens.to_pylist() == LISTS
    tokens.validate(full=True)


def test_lists_of_one_size_become_lists():
    whole = pa.table({"input_ids": pa.array([[1, 2], [3, 4], [5, 6]], pa.list_(pa.int64(), 2))})
    tokens = read_tokens(open_source(whole.slice(1)))
    assert tokens.table["input_ids"].type == pa.list_(pa.int32())
    assert tokens.table["input_ids"].to_pylist() == [[3, 4], [5, 6]]


def test_int32_lists_are_not_copied():
    given = table(labels=lists())
    tokens = read_tokens(open_source(given)).table
    for name in ("input_ids", "labels"):
        assert tokens[name].chunk(0).buffers()[3].address == given[name].chunk(0).buffers()[3].address


def test_nulls_outside_a_slice_do_not_count():
    whole = pa.table({"input_ids": lists([[None], *LISTS, None, [-5]])})
    assert read_tokens(open_source(whole.slice(1, 3))).table["input_ids"].to_pylist() == LISTS


WRONG = {
    "null": ({"input_ids": [[1], None]}, ["row 1: column `input_ids` is null"]),
    "null_inside": ({"input_ids": [[1], [2, None]]}, ["row 1: column `input_ids` has a null at position 1"]),
    "empty": ({"input_ids": [[1], []]}, ["row 1: column `input_ids` is empty; every sequence needs"]),
    "negative": (
        {"input_ids": [[1], [2, -7]]},
        ["row 1: column `input_ids` must hold values from 0 to 2**31 - 1, got -7 at position 1"],
    ),
    "too_big": ({"input_ids": [[1], [2**31]]}, ["row 1: column `input_ids` must hold", "got 2147483648 at position 0"]),
    "label_too_small": (
        {"input_ids": [[1], [2]], "labels": [[-100], [-(2**31) - 1]]},
        ["row 1: column `labels` must hold values from -2**31 to 2**31 - 1, got -2147483649 at position 0"],
    ),
    "labels_longer": (
        {"input_ids": [[1], [2]], "labels": [[1], [2, 3]]},
        ["row 1: column `labels` has 2 values, but `input_ids` has 1"],
    ),
    "labels_null": ({"input_ids": [[1], [2]], "labels": [[1], [None]]}, ["row 1: column `labels` has a null"]),
    "length": ({"input_ids": [[1], [2]], "length": [1, 5]}, ["row 1: column `length` is 5, but `input_ids` has 1"]),
    "length_null": ({"input_ids": [[1], [2]], "length": [1, None]}, ["row 1: column `length` is None"]),
    "no_input_ids": (
        {"text": ["a"], "n": [1]},
        ["no usable column", "`text`: string", "`n`: int64", "`input_ids`", "pass `tokenizer`"],
    ),
    "strings": ({"input_ids": [["a"]]}, ["`input_ids` must hold a list of integers, got a list of string"]),
    "not_a_list": ({"input_ids": [1]}, ["no usable column", "`input_ids`: int64"]),
    "float_labels": (
        {"input_ids": [[1]], "labels": [[0.5]]},
        ["`labels` must hold a list of integers, got a list of double"],
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_values_are_named(tmp_path, name):
    columns, parts = WRONG[name]
    source = parquet(tmp_path / "bad.parquet", pa.table(columns))
    with pytest.raises(SourceError, match=says(*parts)) as caught:
        read_tokens(open_source(source))
    assert "row" not in parts[0] or "bad.parquet` row 1:" in str(caught.value)


def test_row_of_an_error_is_counted_within_its_file_and_chunk(tmp_path):
    a = parquet(tmp_path / "a.parquet", table())
    b = arrow(tmp_path / "b.arrow", pa.table({"input_ids": lists([[1], [2], [3], [4, -1]])}))
    with pytest.raises(SourceError, match=says("b.arrow` row 3:", "got -1 at position 1")):
        read_tokens(open_source([a, b]))


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.lists(st.integers(0, 2**31 - 1), min_size=1, max_size=5), min_size=1, max_size=20),
    st.data(),
    st.sampled_from([pa.list_, pa.large_list, pa.list_view]),
)
def test_one_wrong_value_is_found_wherever_it_is(values, data, make):
    row = data.draw(st.integers(0, len(values) - 1))
    at = data.draw(st.integers(0, len(values[row]) - 1))
    wrong = data.draw(st.sampled_from([None, -1, 2**31]))
    cut = data.draw(st.integers(0, len(values)))
    good = [list(one) for one in values]
    values[row][at] = wrong
    kind = make(pa.int64())

    def chunked(rows):
        # Chunks that are slices of something longer, as joins and filters leave them.
        parts = [pa.array([[0], *rows[:cut], [0, 0]], kind), pa.array([[0], *rows[cut:]], kind)]
        return pa.table({"input_ids": pa.chunked_array([parts[0].slice(1, cut), parts[1].slice(1)])})

    assert read_tokens(open_source(chunked(good))).table["input_ids"].to_pylist() == good
    with pytest.raises(SourceError, match=rf"row {row}: .*at position {at}"):
        read_tokens(open_source(chunked(values)))


def test_damaged_offsets_are_an_error_not_a_crash(tmp_path):
    offsets = pa.py_buffer(np.array([0, 50_000_000, 2], dtype=np.int32))
    array = pa.Array.from_buffers(pa.list_(pa.int32()), 2, [None, offsets], children=[pa.array([1, 2], pa.int32())])
    with pytest.raises(SourceError, match=says("`input_ids` is damaged")):
        read_tokens(open_source(pa.table({"input_ids": array})))
