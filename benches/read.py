"""Read batches from mapped shards, compared with the collators of transformers and TRL on the same sequences."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterable
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from bench import MAX_LENGTH, Figure, Way, arguments, lognormal, measure, show, write_json
from transformers import DataCollatorWithFlattening
from trl.trainer.sft_trainer import DataCollatorForLanguageModeling

import packsort
from packsort.torch import PackedLoader

SEQUENCES = 7_000
MEDIAN = 350
Features = list[dict[str, Any]]


def table() -> pa.Table:
    """Return random tokens; the first half of each sequence is a prompt without loss."""
    lengths = lognormal(SEQUENCES, MEDIAN)
    offsets = np.concatenate([[0], np.cumsum(lengths, dtype=np.int32)])
    tokens = np.random.default_rng(1).integers(0, 128_000, offsets[-1], np.int32)
    positions = np.arange(len(tokens)) - np.repeat(offsets[:-1], lengths)
    labels = np.where(positions < np.repeat(lengths // 2, lengths), np.int32(-100), tokens)
    return pa.table({n: pa.ListArray.from_arrays(offsets, v) for n, v in (("input_ids", tokens), ("labels", labels))})


def features(pack: dict[str, Any]) -> Features:
    """Return the sequences of a pack as NumPy arrays."""
    cuts = np.cumsum(pack["seq_lengths"])[:-1]
    parts = (np.split(pack[name], cuts) for name in ("input_ids", "labels"))
    return [{"input_ids": ids, "labels": labels} for ids, labels in zip(*parts, strict=True)]


def as_row(pack: dict[str, Any]) -> dict[str, Any]:
    """Return a pack in the form that TRL's collator processes fastest."""
    row = {name: pack[name].astype(np.int64) for name in ("input_ids", "labels")}
    return row | {"seq_lengths": pack["seq_lengths"].tolist()}


def as_lists(sequences: Features) -> Features:
    return [{name: values.tolist() for name, values in sequence.items()} for sequence in sequences]


def last(batches: Iterable[Any]) -> Any:
    """Iterate to the end and keep one batch, as a training loop does."""
    batch = None
    for batch in batches:  # noqa: B007
        pass
    return batch


def run(rounds: int) -> list[Figure]:
    collate = DataCollatorWithFlattening(return_flash_attn_kwargs=True, return_seq_idx=True)
    by_trl = DataCollatorForLanguageModeling(pad_token_id=0, padding_free=True)
    with tempfile.TemporaryDirectory() as folder:
        manifest = packsort.write_shards(table(), f"{folder}/packed", MAX_LENGTH)
        shards = packsort.open_shards(f"{folder}/packed")
        loader = PackedLoader(shards, batch_size=1, layout="flat", seed=None)
        arrays = [features(pack) for pack in shards]
        lists = [as_lists(sequences) for sequences in arrays]
        rows = [[as_row(pack)] for pack in shards]
        for batch, by_arrays, by_lists, row in zip(loader, arrays, lists, rows, strict=True):
            for expected in (collate(by_arrays), collate(by_lists), by_trl(row)):
                assert batch.keys() == expected.keys()
                for name, value in batch.items():
                    assert torch.equal(torch.as_tensor(expected[name]), torch.as_tensor(value)), name
        ways = [
            Way("packsort", lambda: last(loader), note=f"{len(loader)} batches of one pack"),
            Way("collator, lists", lambda: last(map(collate, lists)), 30, "lists of ints, in memory already"),
            Way("collator, arrays", lambda: last(map(collate, arrays)), 30, "NumPy arrays, in memory already"),
            Way("TRL's collator", lambda: last(map(by_trl, rows)), 10, "padding-free, whole packs as NumPy arrays"),
        ]
        return measure("read/8192/flat", manifest.counts.tokens, ways, rounds)


def main() -> int:
    args = arguments(__doc__).parse_args()
    figures = run(args.rounds or 7)
    show(figures, "tokens")
    write_json(figures, args.json)
    return int(not all(figure.met for figure in figures))


if __name__ == "__main__":
    sys.exit(main())
