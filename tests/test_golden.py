"""Packed directories that earlier versions wrote are read, verified and loaded as before.

`golden/0.1` was written by version 0.1 from the rows below, and `golden/index`, whose manifest is of format 2, from the
token columns: the first 8 rows as Arrow, the others as Parquet in row groups of 4.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

import packsort
from packsort.tokenization.loss import LossRule

GOLDEN = Path(__file__).parent / "golden" / "0.1"
INDEX = Path(__file__).parent / "golden" / "index"
TEMPLATE = (
    "{% for m in messages %}{{ '<|start|>' + m['role'] + '\n' }}"
    "{% if m['role'] == 'assistant' %}{% generation %}{{ m['content'] + '<|end|>' }}{% endgeneration %}"
    "{% else %}{{ m['content'] + '<|end|>' }}{% endif %}{{ '\n' }}{% endfor %}"
)
SPECIAL = ["<pad>", "<|start|>", "<|end|>"]


def tokenizer() -> Any:
    """One token for each byte, so that no training decides which."""
    from transformers import PreTrainedTokenizerFast

    names = [*SPECIAL, *sorted(pre_tokenizers.ByteLevel.alphabet())]
    backend = Tokenizer(models.BPE({name: i for i, name in enumerate(names)}, []))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    backend.add_special_tokens(SPECIAL)
    made = PreTrainedTokenizerFast(tokenizer_object=backend, pad_token="<pad>", eos_token="<|end|>")
    made.chat_template = TEMPLATE
    return made


def chats() -> pa.Table:
    """Written with max_length 112, overlong="split_turns", strategy="bfd", a separator and a multiple of 8."""

    def chat(i: int) -> list[dict[str, str]]:
        turns = []
        for turn in range(1 + i % 3):
            turns += [
                {"role": "user", "content": f"ask {i} {turn}"},
                {"role": "assistant", "content": "yes " * (1 + (i + turn) % 4)},
            ]
        return turns

    return pa.table({"messages": [chat(i) for i in range(8)], "id": list(range(8))})


def tokens() -> pa.Table:
    """Written with max_length 16, overlong="truncate" on the left, groups, at most 4 sequences, format="parquet"."""
    rows = [[(7 * i + j) % 100 for j in range(1 + (5 * i) % 23)] for i in range(20)]
    labels = [[-100 if j % 3 == 0 else token for j, token in enumerate(row)] for row in rows]
    kind = pa.list_(pa.int32())
    return pa.table(
        {
            "input_ids": pa.array(rows, kind),
            "labels": pa.array(labels, kind),
            "source": ["ab"[i % 2] for i in range(20)],
        }
    )


@pytest.mark.parametrize("name", ["chats", "tokens"])
def test_directories_of_version_0_1_hold_their_source(name: str) -> None:
    shards = packsort.open_shards(GOLDEN / name)
    assert shards.manifest.packsort_version == "0.1.0"
    shards.check_unchanged()
    assert packsort.verify(GOLDEN / name)
    source = chats() if name == "chats" else tokens()
    result = shards.verify(source, tokenizer=tokenizer() if name == "chats" else None)
    assert result, str(result)
    assert result.against_source


def test_the_reader_of_the_page_reads_directories_of_version_0_1_and_of_today(tmp_path: Path) -> None:
    page = (Path(__file__).parents[1] / "docs" / "format.md").read_text("utf-8")
    names: dict[str, Any] = {}
    exec(page.rsplit("```python\n", 1)[1].split("```", 1)[0], names)
    packsort.write_shards(tokens(), tmp_path / "packed", 32, pad_to_multiple_of=8, separator=7)
    for path in (GOLDEN / "chats", GOLDEN / "tokens", tmp_path / "packed"):
        expected = []
        for pack in packsort.open_shards(path):
            start = 0
            for row, length in zip(pack["sequence_ids"].tolist(), pack["seq_lengths"].tolist(), strict=True):
                part = slice(start, start + length)
                if row >= 0:
                    expected.append((row, pack["input_ids"][part].tolist(), pack["labels"][part].tolist()))
                start += length
        assert list(names["read"](path)) == expected != []


def test_manifests_of_version_0_1_are_read_as_dataclasses() -> None:
    facts = json.loads((GOLDEN / "chats" / "manifest.json").read_text("utf-8"))
    manifest = packsort.open_shards(GOLDEN / "chats").manifest
    assert _part(manifest.options, facts["options"]) == facts["options"]
    assert (manifest.options.strategy, manifest.options["strategy"]) == ("bfd", "bfd")
    assert manifest.options.get("max_sequences") is None
    assert [_part(*pair) for pair in zip(manifest.sources, facts["sources"], strict=True)] == facts["sources"]
    assert manifest.tokenizer is not None
    assert facts["tokenizer"]["loss_rule"] == "assistant turns, where the chat template marks generation"
    assert manifest.tokenizer.loss_rule is LossRule.GENERATION
    assert [str(note) for note in manifest.tokenizer["notes"]] == facts["tokenizer"]["notes"]
    assert manifest.skipped == ()


def _part(now: Mapping[str, Any], then: Mapping[str, Any]) -> dict[str, Any]:
    """The items of a record that version 0.1 had: later ones have defaults."""
    return {name: now[name] for name in then}


def test_loaders_read_directories_of_version_0_1() -> None:
    import torch

    from packsort.torch import PackedLoader

    for name in ("chats", "tokens"):
        shards = packsort.open_shards(GOLDEN / name)
        batches = list(PackedLoader(str(GOLDEN / name), seed=None))
        assert len(batches) == len(shards)
        for batch, pack in zip(batches, shards, strict=True):
            assert torch.equal(batch["input_ids"][0], torch.as_tensor(pack["input_ids"].astype("int64")))


@pytest.fixture
def index(tmp_path: Path) -> Path:
    """The index with its files, which have the time at which they were packed; a checkout has its own."""
    shutil.copytree(INDEX, tmp_path / "index")
    for name in ("rows.arrow", "rows.parquet"):
        os.utime(tmp_path / "index" / "data" / name, ns=(1_700_000_000_000_000_000,) * 2)
    return tmp_path / "index" / "packed"


def test_an_index_of_format_2_holds_its_source(index: Path) -> None:
    assert json.loads((index / "manifest.json").read_text("utf-8"))["format_version"] == 2
    shards = packsort.open_shards(index)
    shards.check_unchanged()
    assert packsort.verify(index)
    result = shards.verify(tokens())
    assert result, str(result)
    assert result.against_source
    assert shards.dictionaries == {"source": ("a", "b")}
    rows = tokens()["input_ids"].to_pylist()
    for pack in shards:
        parts = [[1] if row < 0 else rows[row][-16:] for row in pack["sequence_ids"].tolist()]
        assert pack["input_ids"].tolist() == [token for part in parts for token in part]


def test_loaders_read_an_index_of_format_2_and_it_is_planned_anew(index: Path, tmp_path: Path) -> None:
    import torch

    from packsort.torch import PackedLoader

    shards = packsort.open_shards(index)
    batches = list(PackedLoader(index, seed=None, keep=[]))
    assert len(batches) == len(shards) == 15
    for batch, pack in zip(batches, shards, strict=True):
        assert torch.equal(batch["input_ids"][0], torch.as_tensor(pack["input_ids"].astype("int64")))
    again = packsort.write_shards(index, tmp_path / "again", 32, index_only=True)
    assert (again.counts.tokens, again.index.files[1].rows) == (234, 12)
    assert packsort.verify(tmp_path / "again", tokens())


def test_the_manifest_written_today_holds_identifiers(tmp_path: Path) -> None:
    manifest = packsort.write_shards(chats(), tmp_path / "packed", 128, tokenizer=tokenizer())
    facts = json.loads((tmp_path / "packed" / "manifest.json").read_text("utf-8"))
    golden = json.loads((GOLDEN / "chats" / "manifest.json").read_text("utf-8"))
    assert set(facts) >= set(golden)
    for part in ("options", "tokenizer", "counts"):
        assert set(facts[part]) >= set(golden[part])
    assert set(facts["sources"][0]) >= set(golden["sources"][0])
    assert facts["tokenizer"]["loss_rule"] == "generation"
    assert manifest == packsort.open_shards(tmp_path / "packed").manifest
