"""Small Arrow and Parquet files of many schemas and encodings, which the tests of hostile sources change."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.feather as feather
import pyarrow.parquet as pq

_ROWS = 24


@dataclass(frozen=True)
class File:
    """A file that is whole.

    Attributes:
        name: Schema, and the suffix that tells the format.
        holds: What its rows are: `tokens` or `chats`.
        content: Its bytes.
    """

    name: str
    holds: str
    content: bytes

    @property
    def is_arrow(self) -> bool:
        return not self.name.endswith("parquet")


def _ids(most: int = 12) -> list[list[int]]:
    return [[(row * 7 + at) % 1000 + 1 for at in range(1 + row * 5 % most)] for row in range(_ROWS)]


def _tokens(kind: pa.DataType, ids: list[list[int]]) -> dict[str, pa.Array]:
    """Token rows with a column for each option that names one."""
    return {
        "input_ids": pa.array(ids, kind),
        "labels": pa.array([[-100, *row[1:]] for row in ids], kind),
        "length": pa.array([len(row) for row in ids]),
        "groups": pa.array([f"group {row % 3}" for row in range(_ROWS)]).dictionary_encode(),
        "source": pa.array(["code" if row % 2 else "math" for row in range(_ROWS)]),
        "score": pa.array([row / 7 for row in range(_ROWS)], pa.float32()),
        "starts": pa.array([[0, len(row) // 2] if len(row) > 1 else [0] for row in ids], pa.list_(pa.int32())),
        "flag": pa.array([row % 2 == 0 for row in range(_ROWS)]),
    }


def _chats(text: pa.DataType) -> dict[str, pa.Array]:
    turn = pa.struct({"role": pa.string(), "content": text})
    chats = [
        [{"role": "user", "content": f"where is boat {row}?"}, {"role": "assistant", "content": "here " * (row % 5)}]
        for row in range(_ROWS)
    ]
    return {"messages": pa.array(chats, pa.list_(turn)), "source": pa.array(["code"] * _ROWS)}


def _tables() -> Iterator[tuple[str, str, pa.Table]]:
    ids = _ids()
    yield "list", "tokens", pa.table(_tokens(pa.list_(pa.int32()), ids))
    wide = _tokens(pa.large_list(pa.int64()), ids)
    wide["attention_mask"] = pa.array([[1] * len(row) for row in ids], pa.list_(pa.int8()))
    wide["groups"] = pa.array([row % 3 for row in range(_ROWS)])
    wide["weights"] = pa.array([[0.5] * len(row) for row in ids], pa.list_(pa.float64()))
    yield "large_list", "tokens", pa.table(wide)
    views = _tokens(pa.list_view(pa.int32()), ids)
    views["source"] = views["source"].cast(pa.string_view())
    views["groups"] = pa.array([f"a long name of group {row % 3}" for row in range(_ROWS)], pa.string_view())
    yield "list_view", "tokens", pa.table(views)
    fixed = _tokens(pa.list_(pa.int32(), 8), [[row + at + 1 for at in range(8)] for row in range(_ROWS)])
    fixed["completion_mask"] = pa.array([[False, True] * 4] * _ROWS, pa.list_(pa.bool_(), 8))
    del fixed["labels"]
    yield "fixed_size_list", "tokens", pa.table(fixed)
    encoded = _tokens(pa.list_(pa.int32()), ids)
    encoded["other"] = pa.RunEndEncodedArray.from_arrays([5, 11, _ROWS], pa.array(["a", "b", "a"]))
    yield "run_end_encoded", "tokens", pa.table(encoded)
    chats = _chats(pa.string())
    yield "messages", "chats", pa.table(chats)
    prompts = {
        "prompt": pa.array([f"where is boat {row}?" for row in range(_ROWS)], pa.large_string()),
        "completion": pa.array(["here", "there"] * (_ROWS // 2)).dictionary_encode(),
        "source": chats["source"],
    }
    yield "prompts", "chats", pa.table(prompts)
    text = {"text": pa.array([f"the boat {row} is here" for row in range(_ROWS)]), "source": chats["source"]}
    yield "text", "chats", pa.table(text)


def _written(table: pa.Table) -> Iterator[tuple[str, bytes]]:
    for name, new, compression in (
        ("arrow", pa.ipc.new_file, None),
        ("zstd.arrow", pa.ipc.new_file, "zstd"),
        ("stream.arrow", pa.ipc.new_stream, None),
        ("lz4.stream.arrow", pa.ipc.new_stream, "lz4"),
    ):
        sink = io.BytesIO()
        with new(sink, table.schema, options=pa.ipc.IpcWriteOptions(compression=compression)) as writer:
            writer.write_table(table, max_chunksize=10)
        yield name, sink.getvalue()
    kinds = [str(kind) for kind in table.schema.types]
    if not any("run_end" in kind for kind in kinds):
        sink = io.BytesIO()
        feather.write_feather(table, sink, compression="lz4", chunksize=10)
        yield "feather", sink.getvalue()
    if any("run_end" in kind or "view" in kind for kind in kinds):
        return
    for name, options in (
        ("snappy.parquet", {"compression": "snappy", "write_page_checksum": True}),
        ("plain.parquet", {"compression": None, "use_dictionary": False, "write_page_index": True}),
        ("v2.parquet", {"compression": "zstd", "data_page_version": "2.0", "store_schema": False}),
        (
            "delta.parquet",
            {"compression": "gzip", "use_dictionary": False, "store_schema": False, "column_encoding": _delta(table)},
        ),
    ):
        sink = io.BytesIO()
        pq.write_table(table, sink, row_group_size=10, **options)
        yield name, sink.getvalue()


def _delta(table: pa.Table) -> dict[str, str]:
    """Return encodings of text and integers that dictionaries do without."""
    sink = io.BytesIO()
    pq.write_table(table, sink)
    schema = pq.ParquetFile(sink).schema
    kinds = {"BYTE_ARRAY": "DELTA_BYTE_ARRAY", "INT32": "DELTA_BINARY_PACKED", "INT64": "DELTA_BINARY_PACKED"}
    columns = [schema.column(at) for at in range(len(schema))]
    return {column.path: kinds[column.physical_type] for column in columns if column.physical_type in kinds}


def files() -> list[File]:
    """Return every schema in every format that holds it."""
    return [
        File(f"{schema}.{suffix}", holds, content)
        for schema, holds, table in _tables()
        for suffix, content in _written(table)
    ]
