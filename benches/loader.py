"""Time of a loader's batches against a bare copy of their tokens; time to the first of a million sequences."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
from bench import MAX_LENGTH, Figure, Way, arguments, lognormal, measure, show, write_json
from read import last, table

import packsort
from packsort.torch import PackedLoader

ROWS_PER_BATCH = 1000  # as `datasets` writes them
SEQUENCES = 1_000_000
MEDIAN = 60
FIRST_BATCH_SECONDS = 0.1


def batches(folder: Path, rounds: int) -> list[Figure]:
    """Measure batches of shards and of a table against a copy of the same tokens to int64."""
    source = table()
    packsort.write_shards(source, folder / "packed", MAX_LENGTH)
    shards = packsort.open_shards(folder / "packed")
    figures = []
    for size in (1, 8):
        mapped = PackedLoader(shards, batch_size=size, seed=None)
        planned = PackedLoader(source, MAX_LENGTH, batch_size=size)
        for one, other in zip(mapped, planned, strict=True):
            assert all(torch.equal(torch.as_tensor(one[name]), torch.as_tensor(other[name])) for name in one)
        groups = [[shards[i % len(shards)] for i in mapped.packs_of(k)] for k in range(len(mapped))]

        def copy(groups: list = groups) -> None:
            """Copy `input_ids` and `labels` of each batch into new tensors."""
            for packs in groups:
                tokens = sum(len(pack["input_ids"]) for pack in packs)
                for name in ("input_ids", "labels"):
                    out, at = torch.empty((1, tokens), dtype=torch.int64).numpy()[0], 0
                    for pack in packs:
                        out[at : at + len(pack[name])] = pack[name]
                        at += len(pack[name])

        ways = [
            Way("from shards", lambda mapped=mapped: last(mapped), note=f"{len(mapped)} batches"),
            Way("on the fly", lambda planned=planned: last(planned), allowed=2, note="a pyarrow.Table, planned before"),
            Way("bare copy", copy, 0.5, "input_ids and labels, int32 to int64"),
        ]
        figures += measure(f"loader/{size}x8192", shards.manifest.counts.tokens, ways, rounds)
    return figures


def write_tokens(path: Path) -> None:
    """Write a million sequences with their lengths, in as many record batches as `datasets` does."""
    lengths = lognormal(SEQUENCES, MEDIAN)
    offsets = np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])
    tokens = np.random.default_rng(1).integers(0, 128_000, offsets[-1], np.int32)
    schema = pa.schema({"input_ids": pa.list_(pa.int32()), "length": pa.int32()})
    with pa.ipc.new_file(path, schema) as writer:
        for first in range(0, SEQUENCES, ROWS_PER_BATCH):
            ends = offsets[first : first + ROWS_PER_BATCH + 1]
            own = pa.array((ends - ends[0]).astype(np.int32))
            ids = pa.ListArray.from_arrays(own, pa.array(tokens[ends[0] : ends[-1]]))
            sizes = pa.array(lengths[first : first + ROWS_PER_BATCH])
            writer.write_batch(pa.record_batch([ids, sizes], schema=schema))


def first_batch(folder: Path, rounds: int) -> list[Figure]:
    """Measure the time from opening to the first batch."""
    write_tokens(folder / "tokens.arrow")

    def first() -> None:
        next(iter(PackedLoader(folder / "tokens.arrow", MAX_LENGTH)))

    figure = measure("loader/first_batch/1e6", SEQUENCES, [Way("packsort", first, note="<= 100 ms")], rounds)[0]
    assert figure.milliseconds <= 1e3 * FIRST_BATCH_SECONDS, f"{figure.milliseconds} ms to the first batch"
    return [figure]


def main() -> int:
    args = arguments(__doc__).parse_args()
    with tempfile.TemporaryDirectory() as folder:
        figures = batches(Path(folder), args.rounds or 7) + first_batch(Path(folder), args.rounds or 7)
    show(figures, "tokens")
    write_json(figures, args.json)
    return int(not all(figure.met for figure in figures))


if __name__ == "__main__":
    sys.exit(main())
