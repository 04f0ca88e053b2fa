"""CSV and TSV: cells are text, letter for letter, or the error names the row."""

from __future__ import annotations

import csv
import gzip
import io
import re
from pathlib import Path
from typing import Any

import datasets
import duckdb
import pandas
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from packsort.errors import SourceError
from packsort.sources.formats import csv_records
from packsort.sources.source import open_source

HOSTILE = [
    "007",
    "NA",
    "null",
    "2024-01-01",
    "true",
    "1e5",
    " x ",
    'say "hi"',
    "a,b",
    "a\nb",
    "a\r\nb",
    "\t",
    "é😀",
    "'",
]


@pytest.fixture
def write(tmp_path: Path) -> Any:
    """Write text or bytes to a file, and return its path."""

    def call(content: str | bytes, name: str = "a.csv") -> Path:
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return call


def read(path: Path) -> list[dict[str, Any]]:
    """Rows of a file; by `read`, which must equal `batches`."""
    source = open_source(path)
    table = source.read(source.schema.names)
    batches = [batch for _, _, batch in source.batches(source.schema.names, 3)]
    assert pa.Table.from_batches(batches, table.schema).equals(table)
    assert source.num_rows == table.num_rows
    return list(table.to_pylist())


def says(*parts: str) -> str:
    return ".*".join(re.escape(part) for part in parts)


cells = st.sampled_from([*HOSTILE, ""]) | st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=6)


@given(
    rows=st.lists(st.tuples(cells, cells, cells), min_size=1, max_size=20),
    delimiter=st.sampled_from([",", "\t"]),
    end=st.sampled_from(["\n", "\r\n"]),
    size=st.integers(1, 200),
)
@settings(deadline=None, max_examples=200)
def test_cells_are_what_python_wrote(tmp_path_factory, rows, delimiter, end, size):
    text = io.StringIO(newline="")
    writer = csv.writer(text, delimiter=delimiter, lineterminator=end, quoting=csv.QUOTE_ALL)
    writer.writerows([["a", "length", "a b"], *rows])
    path = tmp_path_factory.mktemp("x") / ("a.csv" if delimiter == "," else "a.TSV")
    path.write_bytes(text.getvalue().encode())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(csv_records, "BLOCK_BYTES", size)
        found = read(path)
    assert [tuple(str(cell) for cell in row.values()) for row in found] == [
        (a, str(int(b)) if all(re.fullmatch(r"\s*[+-]?\d+\s*", row[1]) for row in rows) else b, c) for a, b, c in rows
    ]


@pytest.mark.parametrize("name", ["a.csv", "a.CSV.gz", "a.csv.zst"])
def test_writers(tmp_path, name):
    rows = [{"text": text, "n": str(i)} for i, text in enumerate(HOSTILE)]
    datasets.Dataset.from_list(rows).to_csv(tmp_path / "datasets.csv")
    pandas.DataFrame(rows).to_csv(tmp_path / "pandas.csv", index=False)
    pl.DataFrame(rows).write_csv(tmp_path / "polars.csv")
    frame = pl.DataFrame(rows)  # noqa: F841 - duckdb finds it by name
    duckdb.sql(f"copy frame to '{tmp_path / 'duckdb.csv'}' (header)")
    for path in list(tmp_path.iterdir()):
        content = path.read_bytes()
        packed = tmp_path / f"{path.stem}-{name}"
        packed.write_bytes(gzip.compress(content) if "gz" in name else content)
        if name.endswith("zst"):
            packed.write_bytes(pa.compress(content, "zstd", asbytes=True))
        assert read(packed) == rows, path


def test_empty_cells_are_null_and_quotes_are_empty_text(write):
    assert read(write('a,b\n,""\n"",\n')) == [{"a": None, "b": ""}, {"a": "", "b": None}]
    assert read(write("text\nx\n\ny\n")) == [{"text": "x"}, {"text": None}, {"text": "y"}]
    assert read(write("\ufeff\n\na,b\r\n\r\n1,2\r\n\r\n")) == [{"a": "1", "b": "2"}]
    assert read(write("\ufeffa,b\n1,2")) == [{"a": "1", "b": "2"}]


def test_lengths_are_integers(write):
    assert read(write("length,text\n12,12\n7,x\n")) == [{"length": 12, "text": "12"}, {"length": 7, "text": "x"}]
    assert read(write("length\n12\nlong\n")) == [{"length": "12"}, {"length": "long"}]


@pytest.mark.parametrize(
    ("content", "where"),
    [
        ("a,b\n1,2\n1,2,3\n", "row 1: expected 2 columns, got 3"),
        ("a,b\n1,2\n\n1\n", "row 1: expected 2 columns, got 1"),
        (b"a,b\n1,2\n\xff,2\n", "row 1: not valid UTF-8: save the file as UTF-8"),
        ('a,b\n1,"x\n2,y\n', "line 2: a quote is opened and never closed"),
        ('a,b\n"x" ,1\n', "line 2: a quote stands inside a cell"),
        ('a,b\n1,2\n5" pipe,1\n', "line 3: a quote stands inside a cell"),
        ('a,b\n"Hello,1\n3,4\n"Bye,2\n', "line 4: a quote stands inside a cell"),
        (r"a,b" + "\n" + r'"say \"hi\"",2', "line 2: a quote stands inside a cell"),
        ("a,b\r1,2\r", "line 1: lines end in a carriage return"),
    ],
)
def test_faults_name_the_place(write, content, where):
    with pytest.raises(SourceError, match=says("a.csv` ", where)):
        open_source(write(content))


@pytest.mark.parametrize("content", ["a,b\n", "a,b", "\n\n"])
def test_no_rows(write, content):
    with pytest.raises(SourceError, match=r"holds no rows|has no header"):
        open_source(write(content))


def test_faults_are_numbered_through_all_blocks(write, monkeypatch):
    monkeypatch.setattr(csv_records, "BLOCK_BYTES", 64)
    text = "a,b\n" + '"1\n",2\n' * 100
    assert read(write(text)) == [{"a": "1\n", "b": "2"}] * 100
    with pytest.raises(SourceError, match="row 100: expected 2 columns"):
        open_source(write(text + "1\n"))
    with pytest.raises(SourceError, match="line 202: a quote is opened"):
        open_source(write(text + '"1\n'))


def test_columns_of_one_name_are_refused_only_where_they_are_read(write):
    source = open_source(write("a,a,text\n1,2,x\n"))
    assert source.read(["text"]).to_pylist() == [{"text": "x"}]
    with pytest.raises(SourceError, match="more than one column `a`"):
        source.read(["a"])


def test_json_lines_named_csv_are_json(write):
    assert read(write('{"a": 1}\n{"a": 2}\n')) == [{"a": 1}, {"a": 2}]
