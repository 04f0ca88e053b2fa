"""Files that cannot be read end a call that packs, or are left out, named and counted."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import packsort
from commands import Run

FILES = 50


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "source").mkdir()
    for index in range(FILES):
        rows = [[index * 10 + row + 1] * (1 + row) for row in range(5)]
        table = pa.table({"input_ids": pa.array(rows, pa.list_(pa.int32()))})
        pq.write_table(table, tmp_path / "source" / f"{index:04}.parquet", write_page_checksum=True, compression="none")
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


def test_a_wrong_value_is_no_broken_file(folder: Path, tmp_path: Path) -> None:
    pq.write_table(pa.table({"input_ids": [[1, -5]]}), folder / "0007.parquet")
    with pytest.raises(packsort.SourceError, match=r"0007\.parquet` row 0: column `input_ids` must hold"):
        packsort.write_shards(folder, tmp_path / "out", 64, on_error="skip")


def test_without_a_sound_file_the_first_error_stays(folder: Path, tmp_path: Path) -> None:
    for path in folder.iterdir():
        cut(path)
    with pytest.raises(packsort.SourceError, match=r"0000\.parquet` is a truncated Parquet file"):
        packsort.write_shards(folder, tmp_path / "out", 64, on_error="skip")
