"""Seconds of one core for each task of `packsort.ray.pack`, and bytes that pass through the driver.

The tasks run in this process, one after another, without Ray: what Ray adds is the way of the pieces through shared
memory and the network. Processor seconds are measured, so that other work on the machine counts as little as it can.
"""

from __future__ import annotations

import argparse
import json
import os
import pickle
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ["RAYON_NUM_THREADS"] = "1"  # as every task of a cluster has one core

import numpy as np
import pyarrow as pa
from bench import MAX_LENGTH, lognormal

from packsort import plan
from packsort._options.input import InputConfig
from packsort.planning.counted import plan_of_counts
from packsort.ray.blocks import Stretch
from packsort.ray.exchange import Reading, _scatter, token_schema
from packsort.ray.numbering import _fingerprint, counts_before, summed
from packsort.ray.shards import ShardOrder, _write, no_packs
from packsort.ray.survey import _survey
from packsort.shards.config import shard_config
from packsort.shards.division import shard_schema

STRETCHES, SEQUENCES, SHARDS = 4, 100_000, 16


def measured(work: Callable[[], Any]) -> tuple[Any, float]:
    start = time.process_time()
    result = work()
    return result, time.process_time() - start


def stretch_of(seed: int) -> pa.Table:
    """Tokens and labels of a stretch."""
    lengths = lognormal(SEQUENCES, 500, seed)
    offsets = np.concatenate([[0], np.cumsum(lengths, dtype=np.int32)])
    tokens = np.random.default_rng(seed).integers(0, 128_000, offsets[-1], np.int32)
    lists = pa.ListArray.from_arrays(pa.array(offsets), pa.array(tokens))
    return pa.table({"input_ids": lists, "labels": lists})


def run(folder: Path) -> dict[str, Any]:
    config, options = InputConfig(), shard_config("bench", MAX_LENGTH, {}, seed=0)
    tables = [stretch_of(seed) for seed in range(STRETCHES)]
    stretches = [Stretch("<dataset>", 0, at * SEQUENCES, at * SEQUENCES, (SEQUENCES,)) for at in range(STRETCHES)]
    tokens = sum(len(table["input_ids"].combine_chunks().values) for table in tables)
    sequences = STRETCHES * SEQUENCES
    figures: dict[str, Any] = {"tokens": tokens, "sequences": sequences, "bytes": sum(table.nbytes for table in tables)}

    surveyed, seconds = measured(
        lambda: [_survey(stretch, config, (), table) for stretch, table in zip(stretches, tables, strict=True)]
    )
    figures["survey"] = seconds
    surveys = [survey for survey, _ in surveyed]
    figures["driver_bytes_of_a_stretch"] = len(pickle.dumps(surveys[0]))
    planned = plan_of_counts(summed([survey.counts for survey in surveys]), options.plan)
    before = list(counts_before([survey.counts for survey in surveys], planned.longest, truncates=False))
    found, seconds = measured(
        lambda: _fingerprint(
            planned, before, [SEQUENCES] * STRETCHES, 250_000_000, *(lengths for _, lengths in surveyed)
        )
    )
    lengths = np.concatenate([np.diff(table["input_ids"].combine_chunks().offsets.to_numpy()) for table in tables])
    assert found == plan(lengths, MAX_LENGTH, seed=0).fingerprint
    figures["fingerprint"] = seconds

    schema, packed = surveys[0].schema, ["input_ids", "labels"]
    bounds = [planned.num_packs * at // SHARDS for at in range(SHARDS + 1)]
    reading = Reading(config, schema, packed, (), {})
    cut, seconds = measured(
        lambda: [
            _scatter(stretch, reading, bounds, planned, counts, table)
            for stretch, counts, table in zip(stretches, before, tables, strict=True)
        ]
    )
    figures["exchange"] = seconds
    fillers = options.fillers(None)
    shards = shard_schema(no_packs(token_schema(schema, packed), planned, fillers).schema, planned, {})
    orders = [ShardOrder(f"{at}.arrow", folder / f"{at}.arrow", bounds[at], bounds[at + 1]) for at in range(SHARDS)]
    _, seconds = measured(
        lambda: [
            _write(order, planned, shards, fillers, "arrow", True, *(pieces[at] for pieces in cut))
            for at, order in enumerate(orders)
        ]
    )
    figures["write"] = seconds
    return figures


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        figures = run(Path(folder))
    print(f"{figures['tokens']:,} tokens, {figures['sequences']:,} sequences, {figures['bytes'] / 1e9:.2f} GB")
    for name in ("survey", "fingerprint", "exchange", "write"):
        seconds = figures[name]
        print(
            f"{name:12} {seconds:6.2f} s of a core, {figures['tokens'] / seconds / 1e6:7,.0f} M tokens/s, "
            f"{figures['sequences'] / seconds / 1e6:6.2f} M sequences/s"
        )
    print(f"a stretch sends the driver {figures['driver_bytes_of_a_stretch']:,} bytes")
    if args.json:
        args.json.write_text(json.dumps(figures, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
