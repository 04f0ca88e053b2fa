"""Cost of comparing shards with their checksums when a loader first uses them."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from bench import MAX_LENGTH, Figure, Way, arguments, lognormal, measure, show, write_json
from read import last
from torch.utils.data import DataLoader

import packsort
from packsort.torch import PackedLoader

SEQUENCES = 20_000
MEDIAN = 350
WORKERS = 2
TIMES = ("never", "first", "open")


def write(folder: Path) -> int:
    """Write shards of about 90 MB, and return their bytes."""
    lengths = lognormal(SEQUENCES, MEDIAN)
    offsets = np.concatenate([[0], np.cumsum(lengths, dtype=np.int32)])
    tokens = pa.array(np.random.default_rng(1).integers(0, 128_000, offsets[-1], np.int32))
    lists = pa.ListArray.from_arrays(pa.array(offsets), tokens)
    table = pa.table({"input_ids": lists, "labels": lists})
    manifest = packsort.write_shards(table, folder, MAX_LENGTH, shard_size="16MB")
    return sum(shard.bytes for shard in manifest.shards)


def same(one: dict[str, Any], other: dict[str, Any]) -> bool:
    return all(torch.equal(torch.as_tensor(one[name]), torch.as_tensor(other[name])) for name in one)


def run(rounds: int) -> list[Figure]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name, "packed")
        size = write(folder)

        def loader(verify: Any) -> PackedLoader:
            return PackedLoader(folder, verify=verify)

        loaders = [loader(verify) for verify in TIMES]
        for batches in zip(*loaders, strict=True):
            assert all(same(batches[0], batch) for batch in batches)
        figures = []
        for case, read in (
            ("first batch", lambda verify: next(iter(loader(verify)))),
            ("first epoch", lambda verify: last(loader(verify))),
            (
                f"first epoch, {WORKERS} workers",
                lambda verify: last(DataLoader(loader(verify), batch_size=None, num_workers=WORKERS)),
            ),
        ):
            ways = [Way(verify, lambda verify=verify, read=read: read(verify)) for verify in TIMES]
            figures += measure(f"checks/{size / 1e6:.0f} MB/{case}", size, ways, rounds, 0)
        return figures


if __name__ == "__main__":
    args = arguments(__doc__).parse_args()
    figures = run(args.rounds or 5)
    show(figures, "bytes")
    write_json(figures, args.json)
    sys.exit(not all(figure.met for figure in figures))
