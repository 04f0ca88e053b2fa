"""Files that cannot be read end a call that packs, or are left out, named and counted."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import packsort
from commands import Run

FILES = 50
GUARDED = {"write_page_checksum": True, "compression": "none"}  # a changed value is noticed


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "source").mkdir()
    for index in range(FILES):
        rows = [[index * 10 + row + 1] * (1 + row) for row in range(5)]
        table = pa.table({"input_ids": pa.array(rows, pa.list_(pa.int32()))})
        pq.write_table(table, tmp_path / "source" / f"{index:04}.parquet", **GUARDED)
    return tmp_path / "source"


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-20])


def flip(path: Path) -> None:
    damaged = bytearray(path.read_bytes())
    damaged[damaged.index(b"\x83\x00\x00\x00") + 1] ^= 1  # within the values, which a checksum guards
    path.write_bytes(damaged)


@pytest.mark.parametrize("damage", [cut, flip])
def test_one_broken_file_is_named_or_left_out(
    folder: Path, tmp_path: Path, run: Run, damage: Callable[[Path], None]
) -> None:
    broken = folder / "0013.parquet"
    damage(broken)
    with pytest.raises(packsort.SourceError, match=f"`{broken}`"):
        packsort.write_shards(folder, tmp_path / "out", 64)
    assert not (tmp_path / "out").exists()
    manifest = packsort.write_shards(folder, tmp_path / "out", 64, on_error="skip")
    assert manifest.counts.rows == 5 * (FILES - 1)
    assert [(one.reason, one.count, one.example) for one in manifest.skipped] == [("unreadable", 1, str(broken))]
    assert str(broken) not in [source.path for source in manifest.sources]
    assert packsort.verify(tmp_path / "out", folder).ok
    done = run("pack", folder, "-o", tmp_path / "again", "--max-length", 64, "--on-error", "skip")
    assert done.returncode == 0
    assert f"1 that cannot be read: `{broken}`" in done.stdout
    dry = run("pack", folder, "--dry-run", "--max-length", 64, "--on-error", "skip")
    assert f"1 that cannot be read: `{broken}`" in dry.stdout


@pytest.mark.parametrize("damage", [cut, flip])
@pytest.mark.parametrize(
    "door",
    [
        ("pack", "-o", "out", "--max-length", 64, "--index-only"),
        ("pack", "--dry-run", "--max-length", 64, "--index-only"),
        ("plan", "--max-length", 64),
        ("compare", "--max-length", 64),
        ("inspect", "--rows"),
    ],
    ids=lambda door: " ".join(map(str, door)),
)
def test_every_command_leaves_it_out_and_says_so(
    folder: Path, tmp_path: Path, run: Run, damage: Callable[[Path], None], door: tuple[Any, ...], monkeypatch: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    broken = folder / "0013.parquet"
    damage(broken)
    command, *options = door
    unread = damage is flip and command != "pack"  # lengths, and the first rows, do not touch what is bad
    refused = run(command, folder, *options)
    assert refused.returncode == (0 if unread else 1), refused.stderr
    if not unread:
        assert f"`{broken}`" in refused.stderr
    assert not (tmp_path / "out").exists()
    done = run(command, folder, *options, "--on-error", "skip")
    assert done.returncode == 0, done.stderr
    assert (f"1 that cannot be read: `{broken}`" in done.stdout) is not unread
    if (tmp_path / "out").exists():
        assert packsort.verify(tmp_path / "out", folder).ok


@pytest.mark.parametrize("damage", [cut, flip])
def test_tokenizing_reads_all_files_before_it_begins(
    tmp_path: Path, run: Run, tokenizer_folder: Path, damage: Callable[[Path], None]
) -> None:
    source = tmp_path / "source"
    source.mkdir()
    for index in range(5):
        table = pa.table({"text": [f"hello {index}"] * 5})
        pq.write_table(table, source / f"{index}.parquet", **GUARDED)
    if damage is cut:
        cut(source / "3.parquet")
    else:
        content = bytearray((source / "3.parquet").read_bytes())
        content[content.index(b"hello")] ^= 1
        (source / "3.parquet").write_bytes(content)
    command = ("tokenize", source, "-o", tmp_path / "tokens", "--tokenizer", tokenizer_folder)
    failed = run(*command)
    assert failed.returncode == 1
    assert f"`{source / '3.parquet'}`" in failed.stderr
    assert not (tmp_path / "tokens").exists()
    done = run(*command, "--on-error", "skip")
    assert done.returncode == 0, done.stderr
    assert f"1 that cannot be read: `{source / '3.parquet'}`" in done.stdout
    assert sorted(path.stem for path in (tmp_path / "tokens").iterdir()) == ["0", "1", "2", "4"]
    written = packsort.write_tokens(source, tmp_path / "again", tokenizer_folder, on_error="skip")
    assert [(one.reason, one.count) for one in written.skipped] == [("unreadable", 1)]
    manifest = packsort.write_shards(source, tmp_path / "out", 64, tokenizer=tokenizer_folder, on_error="skip")
    assert manifest.counts.rows == 20
    assert packsort.verify(tmp_path / "out", source, tokenizer=tokenizer_folder).ok


def test_a_wrong_value_is_no_broken_file(folder: Path, tmp_path: Path) -> None:
    pq.write_table(pa.table({"input_ids": [[1, -5]]}), folder / "0007.parquet")
    with pytest.raises(packsort.SourceError, match=r"0007\.parquet` row 0: column `input_ids` must hold"):
        packsort.write_shards(folder, tmp_path / "out", 64, on_error="skip")


def test_without_a_sound_file_the_first_error_stays(folder: Path, tmp_path: Path) -> None:
    for path in folder.iterdir():
        cut(path)
    with pytest.raises(packsort.SourceError, match=r"0000\.parquet` is a truncated Parquet file"):
        packsort.write_shards(folder, tmp_path / "out", 64, on_error="skip")
