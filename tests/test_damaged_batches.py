"""No batch of a damaged shard reaches a training loop, and no check is done more often than it must be."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import random
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from torch.utils.data import DataLoader

import packsort
from packsort._checksum import checksum
from packsort.errors import DamagedError, OptionError, SourceError
from packsort.hf import load
from packsort.torch import PackedCollator, PackedDataset, PackedLoader

REPEATS = int(os.environ.get("PACKSORT_REPEATS", "1"))


def rows(count: int = 120) -> pa.Table:
    generator = np.random.default_rng(3)
    ids = [generator.integers(0, 50, int(n)).tolist() for n in generator.integers(1, 30, count)]
    return pa.table({"input_ids": pa.array(ids, pa.list_(pa.int32()))})


@pytest.fixture(params=["arrow", "parquet"])
def packed(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    packsort.write_shards(rows(), tmp_path / "packed", 32, format=request.param, shard_size="1kB")
    return tmp_path / "packed"


def damage(folder: Path, index: int, at: int) -> Path:
    """Flip one bit of a shard in place."""
    file = folder / packsort.open_shards(folder).manifest.shards[index].name
    content = bytearray(file.read_bytes())
    content[at % len(content)] ^= 64
    file.write_bytes(content)
    return file


def receive(received: list[bytes], folder: Path, **options: int) -> None:
    for batch in PackedLoader(folder, **options):  # type: ignore[arg-type]
        received.append(batch["input_ids"][0].numpy().astype(np.int32).tobytes())


def test_no_flipped_byte_of_a_shard_reaches_a_batch(packed: Path) -> None:
    whole = {pack["input_ids"].tobytes() for pack in packsort.open_shards(packed)}
    generator = random.Random(1)
    for _ in range(12 * REPEATS):
        index, at = generator.randrange(3), generator.randrange(10**6)
        file = damage(packed, index, at)
        received: list[bytes] = []
        with pytest.raises(DamagedError, match=file.name):
            receive(received, packed, prefetch=generator.choice([0, 2]), seed=generator.randrange(9))
        assert set(received) <= whole
        damage(packed, index, at)
    assert len(list(PackedLoader(packed, seed=None))) == len(whole)


def test_every_door_to_a_damaged_shard_refuses_it(packed: Path) -> None:
    shards = packsort.open_shards(packed)
    first = shards.manifest.shards[0].packs
    dataset = PackedDataset(packed)
    file = damage(packed, 1, 500)
    collate = PackedCollator("rows", 32)
    for call in (
        lambda: dataset[first],
        lambda: list(DataLoader(dataset, batch_size=4, collate_fn=collate)),
        lambda: list(DataLoader(PackedDataset(packed), batch_size=4, collate_fn=collate, num_workers=2)),
        lambda: list(PackedLoader(packed, balance=True, world_size=2, rank=0)),
        lambda: PackedLoader(packed, verify="open"),
        lambda: PackedDataset(packed, verify="open"),
        lambda: load(packed),
        lambda: packsort.export(packed, packed.parent / "out"),
    ):
        with pytest.raises(DamagedError, match=file.name):
            call()
    assert not (packed.parent / "out").exists()
    assert not packsort.verify(packed)


def test_files_are_trusted_where_it_is_asked_for(tmp_path: Path) -> None:
    packsort.write_shards(rows(), tmp_path, 32)
    (shard,) = packsort.open_shards(tmp_path).manifest.shards
    position = int(np.frombuffer((tmp_path / shard.name).read_bytes(), np.uint8).size // 3)
    damage(tmp_path, 0, position)
    assert len(list(PackedLoader(tmp_path, verify="never"))) == shard.packs
    assert load(tmp_path, verify="never").num_rows == shard.packs


def test_a_pass_across_an_overwrite_ends_before_it_mixes_two_packings(packed: Path) -> None:
    loader = PackedLoader(packed, prefetch=0, seed=None, keep=[])
    batches = iter(loader)
    next(batches)
    format = packsort.open_shards(packed).manifest.options.format
    packsort.write_shards(rows(), packed, 32, format=format, shard_size="1kB", seed=1, overwrite=True)
    with pytest.raises(DamagedError, match="while the packed directory was open: open it anew"):
        list(batches)


def test_forked_and_pickled_copies_share_what_was_compared(packed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shards = packsort.open_shards(packed)
    counted = multiprocessing.get_context("fork").Value("i", 0)

    def counting(path: Path) -> str:
        with counted.get_lock():
            counted.value += 1
        return checksum(path)

    monkeypatch.setattr("packsort.shards.files.checksum", counting)
    if (child := os.fork()) == 0:
        os._exit(len(list(shards)) != len(shards))
    assert os.waitpid(child, 0)[1] == 0
    list(shards)
    again = pickle.loads(pickle.dumps(PackedDataset(shards)))
    list(again)
    assert counted.value == len(shards.manifest.shards)
    for file in packed.iterdir():  # another file of the same content is compared again
        os.utime(file, ns=(1, 1))
    list(pickle.loads(pickle.dumps(PackedDataset(shards))))
    assert counted.value > len(shards.manifest.shards)


def test_a_file_that_is_shortened_does_not_end_a_process_that_reads_it(tmp_path: Path) -> None:
    packsort.write_shards(rows(), tmp_path / "packed", 32, shard_size="1kB")
    loader = PackedLoader(tmp_path / "packed", memory_map=False, prefetch=0)
    batches = iter(loader)
    next(batches)
    for file in (tmp_path / "packed").glob("train-*"):
        os.truncate(file, 0)
    with pytest.raises(DamagedError, match="open it anew"):
        list(batches)


@pytest.mark.parametrize("memory_map", [True, False])
@pytest.mark.parametrize("kind", ["file", "stream"])
def test_arrow_sources_that_changed_since_they_were_opened_are_refused(
    tmp_path: Path, memory_map: bool, kind: str
) -> None:
    from packsort._options.input import InputConfig
    from packsort.sources.source import open_source

    def write(table: pa.Table) -> None:
        new = pa.ipc.new_file if kind == "file" else pa.ipc.new_stream
        with pa.OSFile(str(tmp_path / "rows.arrow"), "wb") as file, new(file, table.schema) as writer:
            writer.write_table(table)

    write(rows())
    source = open_source(tmp_path / "rows.arrow", InputConfig(memory_map=memory_map))
    assert source.read(["input_ids"]).equals(rows())
    write(rows(60))
    with pytest.raises(SourceError, match=r"rows\.arrow` was changed since it was opened: open the source anew"):
        source.read(["input_ids"])


def test_options_that_do_nothing_are_refused(packed: Path) -> None:
    shards = packsort.open_shards(packed)
    for source, options, words in (
        (packed, {"verify": "always"}, "verify must be one of 'open', 'first', 'never', got 'always'"),
        (rows(), {"max_length": 32, "verify": "open"}, "verify='open' is for packed directories, got a Table"),
        (shards, {"verify": "open"}, "which is open: pass it to open_shards"),
        (shards, {"memory_map": False}, "which is open: pass it to open_shards"),
        (packed, {"memory_map": 0}, "memory_map must be True or False, got 0"),
    ):
        for door in (PackedLoader, PackedDataset):
            with pytest.raises(OptionError, match=words):
                door(source, **options)  # type: ignore[operator]
