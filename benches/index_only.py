"""An epoch from an index-only directory, of mapped Arrow and of Parquet by row group, against one from shards."""

from __future__ import annotations

import mmap
import shutil
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from bench import MAX_LENGTH, Figure, Way, arguments, lognormal, measure, show, write_json
from read import last

import packsort
from packsort.sources.formats.block_memory import BlockMemory
from packsort.torch import PackedLoader

SEQUENCES = 100_000
MEDIAN = 350
FILES = 4
ROW_GROUP = 5_000
ARROW, PARQUET = 0.9, 0.5  # least share of the shards' speed
STRETCH, CACHE = "32MB", "200MB"  # a directory whose row groups do not fit into the cache: each epoch decodes them all


def write_source(folder: Path) -> None:
    """Write the same rows as Arrow and as Parquet; the first half of each sequence is a prompt without loss."""
    draw = np.random.default_rng(1)
    for kind in ("arrow", "parquet"):
        (folder / kind).mkdir()
    for number in range(FILES):
        lengths = lognormal(SEQUENCES // FILES, MEDIAN, seed=number)
        offsets = np.concatenate([[0], np.cumsum(lengths, dtype=np.int32)])
        tokens = draw.integers(0, 128_000, offsets[-1], np.int32)
        positions = np.arange(len(tokens)) - np.repeat(offsets[:-1], lengths)
        labels = np.where(positions < np.repeat(lengths // 2, lengths), np.int32(-100), tokens)
        columns = {"input_ids": tokens, "labels": labels}
        table = pa.table({name: pa.ListArray.from_arrays(offsets, values) for name, values in columns.items()})
        with pa.ipc.new_file(folder / "arrow" / f"{number}.arrow", table.schema) as writer:
            writer.write_table(table, max_chunksize=1000)
        pq.write_table(table, folder / "parquet" / f"{number}.parquet", row_group_size=ROW_GROUP)


def assert_equal(folder: Path) -> None:
    """Assert that batches are equal: one by one from Arrow, and each pack's rows from Parquet."""
    loaders = [PackedLoader(folder / name) for name in ("shards", "arrow index")]
    for one, other in zip(*loaders, strict=True):
        assert all(torch.equal(torch.as_tensor(one[name]), torch.as_tensor(other[name])) for name in one)
    rows = pa.concat_tables(pq.read_table(path) for path in sorted((folder / "parquet").iterdir()))
    source = {name: rows[name].combine_chunks() for name in rows.column_names}
    seen = 0
    for pack in packsort.open_shards(folder / "parquet index"):
        ends = np.cumsum(pack["seq_lengths"])
        for row, first, end in zip(pack["sequence_ids"].tolist(), ends - pack["seq_lengths"], ends, strict=True):
            for name, lists in source.items():
                assert np.array_equal(pack[name][first:end], lists[row].values)
        seen += len(ends)
    assert seen == SEQUENCES


def beyond_the_cache(folder: Path, rounds: int) -> list[Figure]:
    """Measure epochs of which each decodes all row groups, after the first."""
    tokens = packsort.open_shards(folder / "shards").manifest.counts.tokens
    packsort.write_shards(folder / "parquet", folder / "stretches", MAX_LENGTH, index_only=True, shard_size=STRETCH)
    figures = []
    for size in (1, 8):
        shards = PackedLoader(folder / "shards", batch_size=size)
        index = PackedLoader(packsort.open_shards(folder / "stretches", cache_size=CACHE), batch_size=size)
        ways = [
            Way("shards", lambda shards=shards: last(shards), note="open already"),
            Way("parquet index", lambda index=index: last(index), allowed=1 / PARQUET, note=f"cache of {CACHE}"),
        ]
        figures += measure(f"index_only/{size}x8192/beyond the cache", tokens, ways, rounds)
    return figures


def touch(tokens: int) -> None:
    """Write to a byte of each page of memory for two columns of tokens: a first epoch from Parquet needs as much."""
    BlockMemory().take(8 * tokens)[:: mmap.PAGESIZE] = 1


def epochs(folder: Path, rounds: int) -> list[Figure]:
    """Measure whole epochs, from opening the directory on; and epochs of a loader that is open, after its first."""
    tokens = packsort.open_shards(folder / "shards").manifest.counts.tokens
    least = {"shards": None, "arrow index": ARROW, "parquet index": PARQUET}
    figures = []
    for size in (1, 8):
        opening = [
            Way(
                name,
                lambda name=name: last(PackedLoader(folder / name, batch_size=size)),  # noqa: B023
                allowed=None if share is None else 1 / share,
                note="opened, checked and read",
            )
            for name, share in least.items()
        ]
        opening.append(
            Way("fresh memory", lambda: touch(tokens), note="as much as the row groups take, from the system")
        )
        figures += measure(f"index_only/{size}x8192/first epoch", tokens, opening, rounds)
        loaders = {name: PackedLoader(folder / name, batch_size=size) for name in least}
        later = [
            Way(
                name,
                lambda loader=loaders[name]: last(loader),
                allowed=None if share is None else 1 / share,
                note="open already",
            )
            for name, share in least.items()
        ]
        figures += measure(f"index_only/{size}x8192/later epoch", tokens, later, rounds)
    return figures


def plans(folder: Path) -> None:
    """Print what an index costs, and another one of the same files."""
    for kind in ("arrow", "parquet"):
        for source, out, width in ((kind, f"{kind} index", MAX_LENGTH), (f"{kind} index", "again", 2 * MAX_LENGTH)):
            shutil.rmtree(folder / out, ignore_errors=True)
            start = time.perf_counter()
            packsort.write_shards(folder / source, folder / out, width, index_only=True)
            seconds = time.perf_counter() - start
            size = sum(path.stat().st_size for path in (folder / out).iterdir())
            print(f"index of {source}: {1e3 * seconds:,.0f} ms, {size / 1e6:,.1f} MB", file=sys.stderr)


def main() -> int:
    args = arguments(__doc__).parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_source(folder)
        packsort.write_shards(folder / "arrow", folder / "shards", MAX_LENGTH)
        plans(folder)
        assert_equal(folder)
        figures = epochs(folder, args.rounds or 5) + beyond_the_cache(folder, args.rounds or 5)
    show(figures, "tokens")
    write_json(figures, args.json)
    return int(not all(figure.met for figure in figures))


if __name__ == "__main__":
    sys.exit(main())
