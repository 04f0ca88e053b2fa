"""docs/format.md names every key and column that packed directories have."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import xxhash

import packsort
from packed_rows import packed, rows
from packsort.shards.references import sample_checksum
from packsort.sources.files.skipped import Skipped
from packsort.tokenization.info import TokenizerInfo

PAGE = (Path(__file__).parents[1] / "docs" / "format.md").read_text("utf-8")


def keys(value):
    """Yield the keys of a JSON object and of the objects in it that have fixed keys."""
    for key, inner in value.items():
        yield key
        for one in inner if isinstance(inner, list) else [inner]:
            if isinstance(one, dict) and key not in ("columns", "uneven", "dictionaries"):
                yield from keys(one)


def test_the_page_names_every_key_and_column_of_an_index(tmp_path):
    pq.write_table(
        pa.table({"input_ids": [[1, 2, 0], [3]], "attention_mask": [[1, 1, 0], [1]]}), tmp_path / "a.parquet"
    )
    with pytest.warns(UserWarning, match="1 token of padding"):
        packsort.write_shards(tmp_path / "a.parquet", tmp_path / "packed", 8, index_only=True)
    manifest = json.loads((tmp_path / "packed" / "manifest.json").read_text("utf-8"))
    sequences = pa.ipc.open_file(tmp_path / "packed" / "sequences.arrow").schema
    named = set(re.findall(r"`([a-z_]+)`", PAGE))
    assert {*keys(manifest["index"]), *sequences.names, "trained"} <= named
    assert manifest["format_version"] == 2
    sample = xxhash.xxh3_128(b"%d" % os.path.getsize(tmp_path / "a.parquet") + (tmp_path / "a.parquet").read_bytes())
    assert manifest["index"]["files"][0]["sample"] == f"xxh3_128:{sample.hexdigest()}"


def test_a_sample_of_a_large_file_is_what_the_page_says(tmp_path):
    content = np.random.default_rng(0).bytes(3_000_001)
    (tmp_path / "large").write_bytes(content)
    digest = xxhash.xxh3_128(b"3000001" + content[:65536])
    for number in range(64):
        begin = 65536 + (len(content) - 1118208) * number // 63
        digest.update(content[begin : begin + 4096])
    digest.update(content[-1048576:])
    assert sample_checksum(tmp_path / "large") == f"xxh3_128:{digest.hexdigest()}"


def test_the_page_names_every_key_and_column(tmp_path):
    path = packed(tmp_path, rows(), pad_to_multiple_of=8, overlong="split", max_length=40)
    manifest = json.loads((path / "manifest.json").read_text("utf-8"))
    assert packsort.open_shards(path).manifest.tokenizer is None
    fixed = {*keys(manifest), *TokenizerInfo.__dataclass_fields__, *Skipped.__dataclass_fields__}
    schema = pa.ipc.open_file(path / manifest["shards"][0]["name"]).schema
    named = set(re.findall(r"`([a-z_]+)`", PAGE))
    assert fixed | set(schema.names) <= named
    assert json.loads(schema.metadata[b"packsort"]).keys() == {"format_version", "max_length"}
