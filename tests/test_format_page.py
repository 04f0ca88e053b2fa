"""docs/format.md names every key and column that packed directories have."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pyarrow as pa

import packsort
from packed_rows import packed, rows
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


def test_the_page_names_every_key_and_column(tmp_path):
    path = packed(tmp_path, rows(), pad_to_multiple_of=8, overlong="split", max_length=40)
    manifest = json.loads((path / "manifest.json").read_text("utf-8"))
    assert packsort.open_shards(path).manifest.tokenizer is None
    fixed = {*keys(manifest), *TokenizerInfo.__dataclass_fields__, *Skipped.__dataclass_fields__}
    schema = pa.ipc.open_file(path / manifest["shards"][0]["name"]).schema
    named = set(re.findall(r"`([a-z_]+)`", PAGE))
    assert fixed | set(schema.names) <= named
    assert json.loads(schema.metadata[b"packsort"]).keys() == {"format_version", "max_length"}
