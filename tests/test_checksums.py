"""Checksums of shards are those of what was written, and of the files that hold it."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import packsort
from packed_rows import packed, rows
from packsort._checksum import ChecksumWriter, checksum
from packsort.shards import shard_writer
from packsort.shards.shard_writing import write_packs

FORMATS = pytest.mark.parametrize("format", ["arrow", "parquet"])


@pytest.mark.parametrize("sizes", [(), (0,), (1, 0, 7), (2**20, 2**20 - 1, 1), (3_000_001, 2**22)])
def test_the_checksum_is_that_of_the_file(tmp_path: Path, sizes: tuple[int, ...]) -> None:
    path, parts = tmp_path / "file", [os.urandom(size) for size in sizes]
    with path.open("wb") as file:
        written = ChecksumWriter(file)
        for part in parts:
            assert written.write(memoryview(part)) == len(part)
    assert (written.size, written.checksum) == (path.stat().st_size, checksum(path))
    assert path.read_bytes() == b"".join(parts)


@FORMATS
@pytest.mark.parametrize("count", [1, 3, 4_000])
def test_the_manifest_has_the_checksum_of_each_shard(tmp_path: Path, format: Any, count: int) -> None:
    path = packed(tmp_path, rows(max(3, count)), format=format, shard_size="1B" if count == 3 else "100kB")
    manifest = packsort.open_shards(path).manifest
    assert (len(manifest.shards) > 1) == (count > 1)
    for shard in manifest.shards:
        assert (shard.bytes, shard.checksum) == ((path / shard.name).stat().st_size, checksum(path / shard.name))
    assert packsort.verify(path).ok


def test_the_manifest_has_the_checksum_of_each_shard_of_an_index(tmp_path: Path) -> None:
    pq.write_table(rows(500), tmp_path / "rows.parquet", row_group_size=50)
    packsort.write_shards(tmp_path / "rows.parquet", tmp_path / "index", 64, index_only=True)
    for shard in packsort.open_shards(tmp_path / "index").manifest.shards:
        assert shard.checksum == checksum(tmp_path / "index" / shard.name)


class Damaging(io.BytesIO):
    """File that changes one bit of the largest block on the way to the disk."""

    def write(self, content: Any) -> int:
        block = bytearray(content)
        if len(block) > 4_000:
            block[2_000] ^= 1
        return super().write(block)


@FORMATS
def test_damage_on_the_way_to_the_disk_is_no_part_of_the_checksum(tmp_path: Path, format: Any) -> None:
    packs = packsort.pack(rows(4_000), 64)
    whole, damaged = tmp_path / "whole", tmp_path / "damaged"
    shards = []
    for path, file in ((whole, io.BytesIO()), (damaged, Damaging())):
        shards.append(write_packs(file, "train", packs, format, 64))
        path.write_bytes(file.getvalue())
    assert whole.read_bytes() != damaged.read_bytes()
    assert shards[0] == shards[1]
    assert checksum(whole) == shards[1].checksum != checksum(damaged)


@FORMATS
def test_a_shard_that_was_damaged_while_it_was_written_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, format: Any
) -> None:
    def damaging(file: Any, *args: Any) -> Any:
        other = Damaging()
        shard = write_packs(other, *args)
        file.write(other.getvalue())
        file.flush()
        return shard

    monkeypatch.setattr(shard_writer, "write_packs", damaging)
    path = packed(tmp_path, rows(4_000), format=format)
    result = packsort.verify(path)
    assert any("its checksum is" in problem for problem in result.problems)
    with pytest.raises(packsort.DamagedError, match="was changed"):
        packsort.open_shards(path)[0]


def test_a_writer_that_goes_back_fails() -> None:
    file = pa.PythonFile(ChecksumWriter(io.BytesIO()), mode="w")
    file.write(b"tokens")
    with pytest.raises((OSError, pa.ArrowException, AttributeError)):
        file.seek(0)
