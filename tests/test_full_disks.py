"""Every command that writes names what a full disk keeps it from writing, and leaves nothing behind."""

from __future__ import annotations

import resource
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import packsort
from commands import Run

TOKENS, TEXT = ("tokens.parquet", "--max-length", 64), ("text.parquet", "--tokenizer", "TOKENIZER")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with tokens, text and packs, in which the commands run."""
    monkeypatch.chdir(tmp_path)
    ids = [[(7 * row + at) % 997 for at in range(1 + row % 60)] for row in range(2000)]
    pq.write_table(pa.table({"input_ids": ids}), tmp_path / "tokens.parquet")
    pq.write_table(pa.table({"text": [f"hello {row} " * 20 for row in range(500)]}), tmp_path / "text.parquet")
    packsort.write_shards("tokens.parquet", "packed", 64)
    return tmp_path


@pytest.mark.parametrize(
    "command",
    [
        ("pack", *TOKENS, "-o", "out"),
        ("pack", *TOKENS, "-o", "out", "--format", "parquet"),
        ("pack", *TOKENS, "-o", "out", "--index-only"),
        ("pack", *TEXT, "-o", "out", "--max-length", 512),
        ("tokenize", *TEXT, "-o", "out"),
        ("tokenize", *TEXT, "-o", "out.parquet"),
        ("export", "packed", "-o", "out", "--format", "megatron"),
        ("export", "packed", "-o", "out", "--format", "megatron-bin", "--pad-token-id", 0),
        ("export", "packed", "-o", "out", "--format", "trl"),
        ("plan", *TOKENS, "-o", "out.arrow"),
        ("compare", *TOKENS, "--html", "out.html"),
    ],
    ids=lambda command: " ".join(str(one) for one in command if one not in (*TOKENS, *TEXT)),
)
def test_a_full_disk_is_named_and_leaves_nothing(
    folder: Path, run: Run, tokenizer_folder: Path, command: tuple[Any, ...]
) -> None:
    arguments = [tokenizer_folder if one == "TOKENIZER" else one for one in command]
    before = sorted(folder.rglob("*"))
    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (5_000, old[1]))
    try:
        done = run(*arguments)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old)
    assert done.returncode == 1
    assert "error: cannot write `out" in done.stderr
    assert "file too large" in done.stderr
    assert sorted(folder.rglob("*")) == before
