"""JSON Lines and other JSON: what the file says, letter for letter, or an error that names line and row."""

from __future__ import annotations

import gzip
import json
import math
import pickle
import re
from pathlib import Path
from typing import Any

import datasets
import pandas
import polars as pl
import pyarrow as pa
import pyarrow.json
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import packsort
from packsort.errors import SourceError
from packsort.sources.formats import blocks, json_lines, json_types, json_values
from packsort.sources.formats.detect import open_file
from packsort.sources.source import open_source

Rows = list[dict[str, Any]]


@pytest.fixture
def write(tmp_path: Path) -> Any:
    """Write text or bytes to a file, and return its path."""

    def call(content: str | bytes, name: str = "a.jsonl") -> Path:
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return call


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (json_lines, json_values):
        monkeypatch.setattr(module, "BLOCK_BYTES", 64)


def lines(rows: Rows, **options: Any) -> str:
    return "".join(json.dumps(row, **options) + "\n" for row in rows)


def read(path: Path, *columns: str) -> Rows:
    """Rows of a file, JSON text decoded; by `read`, which must equal `batches`."""
    source = open_source(path)
    names = list(columns) or source.schema.names
    table = source.read(names)
    batches = [batch for _, _, batch in source.batches(names, 3)]
    assert pa.Table.from_batches(batches, table.schema).equals(table)
    rows = table.to_pylist()
    for name in names:
        if table.schema.field(name).type == json_types.JSON:
            for row in rows:
                row[name] = row[name] and json.loads(row[name])
    return rows


def says(*parts: str) -> str:
    return ".*".join(re.escape(part) for part in parts)


def without_nulls(value: Any) -> Any:
    """A value without the null members that a struct column adds."""
    if isinstance(value, dict):
        return {key: without_nulls(item) for key, item in value.items() if item is not None}
    if isinstance(value, list):
        return [without_nulls(item) for item in value]
    return value


def exact(value: Any) -> str:
    return json.dumps(without_nulls(value), sort_keys=True)


# Values

CHATS: Rows = [
    {"messages": [{"role": "user", "content": "2024-01-01"}, {"role": "assistant", "content": "007"}], "id": 1},
    {"messages": [{"role": "user", "content": "a\n\u2028b\u0000 \U0001f600"}], "tag": "2024-01-01T00:00:00Z"},
    {"messages": [{"role": "tool", "content": "", "name": "f"}], "tag": "null", "id": None},
    {"messages": [], "tag": "NaN"},
]


@pytest.mark.parametrize("ascii_only", [True, False])
@pytest.mark.parametrize("repeat", [1, 400])
def test_rows_are_what_python_reads(write, small_blocks, ascii_only, repeat):
    text = lines(CHATS * repeat, ensure_ascii=ascii_only)
    expected = [without_nulls(json.loads(line)) for line in text.split("\n") if line]
    assert without_nulls(read(write(text))) == expected
    assert without_nulls(read(write(text.replace("\n", "\r\n")))) == expected
    assert without_nulls(read(write("\ufeff\n \n" + text.replace("\n", "\n\n")))) == expected


@pytest.mark.parametrize("name", ["a.jsonl.gz", "a.jsonl.zst", "a.data"])
def test_compression_is_told_by_content(write, name):
    text = lines(CHATS).encode()
    for packed in (gzip.compress(text), gzip.compress(text[:100]) + gzip.compress(text[100:])):
        assert without_nulls(read(write(packed, name))) == without_nulls(CHATS)
    assert without_nulls(read(write(pa.compress(text, "zstd", asbytes=True), name))) == without_nulls(CHATS)


@pytest.mark.parametrize("codec", ["gzip", "zstd"])
def test_truncated_compression_is_refused(write, codec):
    packed = pa.compress(lines(CHATS * 100).encode(), codec, asbytes=True)
    for keep in (len(packed) - 1, len(packed) // 2):
        with pytest.raises(SourceError, match=says("a.jsonl", "Truncated compressed stream")):
            open_source(write(packed[:keep]))


def test_compressed_parquet_is_refused(write):
    with pytest.raises(SourceError, match="gzip-compressed Parquet or Arrow file: decompress it first"):
        open_source(write(gzip.compress(b"PAR1...PAR1"), "a.parquet.gz"))


json_values_ = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from(["2024-01-01", "2024-01-01 10:00:00", "12", "null", "{", "[[", '"', "\\", "\u2028", "\x00", ""])
    | st.text(st.characters(codec="utf-8"), max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["role", "content", "x"]), inner, max_size=3)
    ),
    max_leaves=8,
)
json_rows_ = st.lists(
    st.dictionaries(st.sampled_from(["a", "b", "text"]), json_values_, max_size=3), min_size=1, max_size=12
)


@given(rows=json_rows_, form=st.sampled_from(["lines", "list", "indented", "following"]), size=st.integers(1, 300))
@settings(deadline=None, max_examples=100)
def test_no_value_changes(tmp_path_factory, rows, form, size):
    path = tmp_path_factory.mktemp("x") / "a.json"
    made = {
        "lines": lambda: lines(rows, ensure_ascii=False),
        "list": lambda: json.dumps(rows),
        "indented": lambda: json.dumps(rows, indent=1, ensure_ascii=False),
        "following": lambda: "".join(json.dumps(row, indent=2) for row in rows),
    }[form]
    path.write_text(made(), "utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_lines, "BLOCK_BYTES", size)
        patch.setattr(json_values, "BLOCK_BYTES", size)
        patch.setattr(blocks, "KEPT_BYTES", size * 20)
        try:
            schema = open_source(path).schema
        except SourceError as error:
            assert re.search("holds one object|no character", str(error)), error  # noqa: PT017
            return
        assert open_source(path).num_rows == len(rows)
        assert set(schema.names) == {name for row in rows for name in row}
        for name in schema.names:
            try:
                found = read(path, name)
            except SourceError as error:
                place = re.search(r"row (\d+): column `(.*)` (is|has)", str(error))
                named = int(place[1]) if place else -1
                assert rows[named].get(name) is not None, error  # noqa: PT017
                continue
            for row, value in zip(rows, found, strict=True):
                if "struct" in str(schema.field(name).type) or schema.field(name).type == json_types.JSON:
                    assert exact(row.get(name)) == exact(value[name])
                else:  # numbers, or lists of them, may become floats of the same value
                    assert row.get(name) == value[name]


def test_integers_become_no_floats_where_a_template_may_show_them(write):
    rows = [{"messages": [{"role": "a", "content": "", "args": {"n": n}}]} for n in (1, 1.5, 2**64, 1e3)]
    for text in (lines(rows), json.dumps(rows)):
        assert exact(read(write(text))) == exact(rows)


def test_content_that_is_text_or_parts_is_kept_as_json(write, small_blocks):
    parts = [{"type": "text", "text": "2024-01-01"}]
    rows = [{"messages": [{"role": "user", "content": content}], "n": 1} for content in ("x", parts, "y") * 30]
    path = write(lines(rows))
    assert open_source(path).schema.field("messages").type == pa.json_()
    assert read(path) == rows


def test_mixed_columns_are_refused_only_where_they_are_read(write, small_blocks):
    rows = [{"text": "x", "id": i} for i in range(20)] + [{"text": "x", "id": "twenty"}, {"text": 7, "id": 3}]
    path = write(lines(rows))
    with pytest.raises(SourceError, match=says("a.jsonl` row 20: column `id` is text, but a number in rows before")):
        read(path, "id")
    with pytest.raises(SourceError, match=says("a.jsonl` row 21: column `text` is a number, but text in rows before")):
        read(path, "text")


def test_large_integers_are_refused_where_they_are_read(write):
    path = write(lines([{"n": 1, "text": "x"}, {"n": 2**64, "text": "y"}]))
    assert read(path, "text") == [{"text": "x"}, {"text": "y"}]
    with pytest.raises(SourceError, match=says("row 1: column `n` has a number")):
        read(path, "n")


def test_objects_with_keys_of_their_own_stay_json(write):
    """A struct of these would have 30,000 fields in each of 3,000 rows, and take a gigabyte."""
    rows = [{"text": "x", "votes": {f"user-{i * 10 + k}": k for k in range(10)}} for i in range(3_000)]
    rows.append({"text": "y", "votes": None})
    path = write(lines(rows))
    before = pa.total_allocated_bytes()
    source = open_source(path)
    assert pa.total_allocated_bytes() - before < 10_000_000
    assert source.schema.field("votes").type == json_types.JSON
    assert read(path) == rows


def test_lines_longer_than_a_block(write, small_blocks):
    rows = [{"text": "x" * n} for n in (1, 1000, 10, 5000)]
    assert read(write(lines(rows))) == rows
    assert read(write(json.dumps(rows))) == rows
    assert read(write(json.dumps(rows[1]))) == rows[1:2]


def test_late_columns_and_keys(write, small_blocks):
    rows: Rows = [{"a": i, "b": {"x": "1"}} for i in range(50)]
    rows += [{"c": [], "b": {"y": 1}}, {"c": ["z"]}, {"b": {"y": 2, "x": "2024-01-01"}}]
    assert without_nulls(read(write(lines(rows)))) == rows


# Other JSON


def test_lists_of_objects(write, small_blocks):
    for options in ({}, {"indent": 2}, {"separators": (",", ":")}):
        assert without_nulls(read(write(json.dumps(CHATS * 50, **options), "a.json"))) == without_nulls(CHATS * 50)
    for empty in ("[]", "[ ]\n"):
        with pytest.raises(SourceError, match="holds no rows"):
            open_source(write(empty, "a.json"))


def test_objects_that_follow_one_another(write, small_blocks):
    for join in ("", " ", "\n\n"):
        text = join.join(json.dumps(row, indent=None if join == "" else 3) for row in CHATS * 9)
        assert without_nulls(read(write(text))) == without_nulls(CHATS * 9)


def test_one_object_that_holds_the_rows_is_refused(write):
    with pytest.raises(SourceError, match=says("whose `data` is a list of objects", "jq -c '.data[]'")):
        open_source(write(json.dumps({"data": [{"text": "x"}]}, indent=1), "a.json"))
    assert len(read(write(json.dumps({"messages": CHATS[0]["messages"]}), "a.json"))) == 1


@pytest.mark.parametrize(
    ("content", "where", "what"),
    [
        ('{"a": 1}\n{"a": ', "line 2 (row 1)", "is the file cut off?"),
        ('{"a": 1}\n{"a": "x', "line 2 (row 1)", "unterminated string at character 7; is the file cut off?"),
        ('{"a": 1}\n\n{"a": 1} x\n', "line 3 (row 2)", "not valid JSON"),
        ('{"a": 1},\n{"a": 2}\n', "line 1 (row 1)", "not valid JSON"),
        ('{"a": 1}\nnull\n{"a": 2}', "line 2 (row 1)", "a row must be a JSON object, got null"),
        ("null\n{}\n", "line 1 (row 0)", "a row must be a JSON object, got null"),
        ('{"a": 1}\n[{"a": 2}]\n', "line 2 (row 1)", "a row must be a JSON object, got a list"),
        ('["x"]', "line 1 (row 0)", "a row must be a JSON object, got text"),
        ('{"a": 1}\n{"a": 1, "b": 2, "a": 1}', "line 2 (row 1)", "key `a` is there twice"),
        ('{"a": {"b": 1, "b": 1}}', "line 1 (row 0)", "key `b` is there twice"),
        ('{"a": 1}\n{"a": "\\ud800"}', "row 1", "\\ud800, is no character"),
        (b'{"a": 1}\n{"a": "\xff"}\n', "line 2", "not valid UTF-8"),
        (b'[\n{"a": 1},\n{"a": "\xff"}]\n', "line 3", "not valid UTF-8"),
        ('{"a": 1}\n{"a": ' + "[" * 100_000 + "]" * 100_000 + "}\n", "line 2 (row 1)", "nested deeper than 100 levels"),
        ('{"a": ' + "[" * 120 + "]" * 120 + "}\n", "line 1 (row 0)", "nested deeper than 100 levels"),
        ('{"a":\n' * 120 + "1" + "}" * 120 + "\n", "line 1 (row 0)", "nested deeper than 100 levels"),
        ('{"a": 1}\n{"a": "\n"}\n', "line 2 (row 1)", "control character"),
        ("hello\n", "line 1 (row 0)", "not valid JSON"),
        ('[{"a": 1}', "line 1 (row 1)", "the list has no end: the file is cut off"),
        ('[{"a": 1},\n', "line 2 (row 1)", "is the file cut off?"),
        ('{"a": 1}\n{"a": 1\n{"a": 1}\n', "line 2 (row 1)", "expecting ',' delimiter at character 8"),
        ('{"a": 1}\n{"a": 1\n', "line 2 (row 1)", "is the file cut off?"),
        ('[{"a": 1}\n{"a": 2}]', "line 2 (row 1)", "`,` or `]` is missing"),
        ('[{"a": 1}]\n[{"a": 1}]', "line 2 (row 1)", "more after the end of the list of rows"),
        ('{"a": 1}\n{"a": "tab\there"}\n', "line 2 (row 1)", "control character"),
    ],
)
def test_faults_name_line_and_row(write, content, where, what):
    with pytest.raises(SourceError, match=says("a.jsonl` ", where, ": ", what)):
        open_source(write(content))


def test_faults_are_numbered_through_all_blocks(write, small_blocks):
    text = lines([{"a": "x" * (i % 50)} for i in range(500)]) + "{]\n"
    with pytest.raises(SourceError, match=says("line 501 (row 500)")):
        open_source(write(text))
    with pytest.raises(SourceError, match=says("line 502 (row 500)")):
        open_source(write("[\n" + text.replace("}\n", "},\n")))


def test_brackets_in_text_are_not_nesting(write):
    rows = [{"text": "[" * 500 + "{" * i} for i in range(200)] + [{"text": "}" * 300}]
    assert read(write(lines(rows))) == rows


def test_a_file_that_changes_is_noticed(write, monkeypatch):
    monkeypatch.setattr(blocks, "KEPT_BYTES", 0)
    path = write(lines([{"a": 1}, {"a": 2}]))
    source = open_source(path)
    path.write_text('{"a": 1}\n')
    with pytest.raises(SourceError, match=says("a.jsonl` changed while it was read")):
        source.read(["a"])


# Several files


def test_files_of_a_folder_are_like_one_file(tmp_path):
    parts = [{"type": "text", "text": "2024-01-01"}]
    rows = [{"messages": [{"role": "user", "content": "2024-01-01"}]}]
    rows += [{"messages": [{"content": "y", "role": "user", "name": "n"}], "tools": [{"a": 1}]}]
    rows += [{"messages": [{"role": "user", "content": parts}]}]
    for number in (2, 3):
        for i, row in enumerate(rows[:number]):
            (tmp_path / f"{i}.jsonl").write_text(lines([row]))
        (tmp_path / "all").mkdir(exist_ok=True)
        (tmp_path / "all" / "all.json").write_text(lines(rows[:number]))
        whole = read(tmp_path / "all")
        (tmp_path / "all" / "all.json").unlink()
        assert read(tmp_path) == whole
        assert without_nulls(whole) == rows[:number]


# Real writers


def test_writers(tmp_path):
    rows = [{"text": "2024-01-01", "n": 1}, {"text": "é\n\u2028", "n": 2}, {"text": "", "n": 3}]
    datasets.Dataset.from_list(rows).to_json(tmp_path / "datasets.jsonl")
    datasets.Dataset.from_list(rows).to_json(tmp_path / "datasets.json", lines=False)
    datasets.Dataset.from_list(rows).to_json(tmp_path / "datasets.jsonl.gz", compression="gzip")
    pl.DataFrame(rows).write_ndjson(tmp_path / "polars.ndjson")
    pandas.DataFrame(rows).to_json(tmp_path / "pandas.json", orient="records")
    pandas.DataFrame(rows).to_json(tmp_path / "pandas.jsonl", orient="records", lines=True)
    for path in tmp_path.iterdir():
        assert read(path) == rows, path


def test_rows_equal_those_of_datasets(write, tmp_path):
    path = write(lines(CHATS * 100))
    theirs = datasets.load_dataset("json", data_files=str(path), split="train", cache_dir=tmp_path / "cache")
    assert exact(read(path, "messages")) == exact(theirs.select_columns("messages").to_list())


def test_token_rows_are_packed(write):
    rows = [{"input_ids": [1, 2, 3], "labels": [-100, 2, 3]}, {"input_ids": [4], "labels": [4]}]
    packed = packsort.pack(str(write(lines(rows))), 4, seed=None)
    assert packed["input_ids"].to_pylist() == [[1, 2, 3, 4]]
    weights = [{"input_ids": [1, 2], "weights": [0.5, 1]}, {"input_ids": [3], "weights": [math.pi]}]
    assert packsort.pack(open_source(write(lines(weights))).read(["input_ids", "weights"]), 4)["weights"].type


# Against pyarrow


def test_types_are_those_of_pyarrow_but_for_dates(write):
    rows = [{"a": i, "b": i / 3, "c": [i], "d": {"e": str(i)}, "f": bool(i % 2), "g": None} for i in range(100)]
    path = write(lines(rows))
    assert open_file(path).schema.equals(pa.json.read_json(path).schema)


def test_sources_can_be_pickled_without_what_they_keep(write):
    source = open_source(write(lines([{"text": "x" * 1000}] * 1000)))
    sent = pickle.dumps(source)
    assert len(sent) < 10_000
    assert pickle.loads(sent).read(["text"]).equals(source.read(["text"]))


def test_readers_together_keep_no_more_than_allowed(write, monkeypatch):
    monkeypatch.setattr(blocks, "KEPT_BYTES", blocks._room._taken + 150_000)
    rows = [{"text": "x" * 1000}] * 100
    first, second = (open_file(write(lines(rows), name)) for name in ("a.jsonl", "b.jsonl"))
    assert [one._kept[0] is None for one in (first, second)] == [False, True]
    assert second.read(["text"]).to_pylist() == rows
    del first
    assert open_file(write(lines(rows)))._kept[0] is not None
