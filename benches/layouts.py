"""Time of batches in each layout, against a bare copy of the packs' columns; time of block masks."""

from __future__ import annotations

import sys
import tempfile
from typing import Any

import numpy as np
import torch
from bench import MAX_LENGTH, Figure, Way, arguments, measure, show, write_json
from read import last, table
from torch.nn.attention.flex_attention import create_block_mask

import packsort
from packsort.torch import Batcher, document_mask
from packsort.torch.masks import _TENSORS

PACKS_PER_BATCH = 8


def copy(packs: list[dict[str, Any]], names: tuple[str, ...]) -> list[torch.Tensor]:
    """Copy columns of packs to int64, and do nothing else."""
    tokens = sum(len(pack["input_ids"]) for pack in packs)
    columns = []
    for name in names:
        out = np.empty(tokens, np.int64)
        np.concatenate([pack[name] for pack in packs], out=out)
        columns.append(torch.from_numpy(out))
    return columns


def batches(rounds: int) -> list[Figure]:
    with tempfile.TemporaryDirectory() as folder:
        packsort.write_shards(table(), f"{folder}/packed", MAX_LENGTH)
        shards = packsort.open_shards(f"{folder}/packed")
        packs = list(shards)
        groups = [packs[i : i + PACKS_PER_BATCH] for i in range(0, len(packs) - PACKS_PER_BATCH + 1, PACKS_PER_BATCH)]
        tokens = sum(len(pack["input_ids"]) for group in groups for pack in group)
        most = max(len(pack["seq_lengths"]) for pack in packs)

        def all_batches(layout: Any, **options: Any) -> Any:
            batcher = Batcher(layout, MAX_LENGTH, **options)
            return lambda: last(map(batcher, groups))

        flat = Batcher(max_length=MAX_LENGTH)
        for group in groups:
            assert torch.equal(flat(group)["input_ids"][0], copy(group, ("input_ids",))[0])
        columns = ("input_ids", "labels")
        weighted = Batcher(max_length=MAX_LENGTH, loss_weights="sample")
        ways = [
            Way("flat", all_batches("flat"), note=f"batches of {PACKS_PER_BATCH} packs"),
            Way("copy of tokens and labels", lambda: last(copy(g, columns) for g in groups), 0.5, "int32 to int64"),
            Way("copy of tokens", lambda: last(copy(g, columns[:1]) for g in groups), note="int32 to int64"),
            Way("flat, no seq_idx", all_batches("flat", seq_idx=False)),
            Way("flat, static", all_batches("flat", max_sequences=most)),
            Way("flat, loss_weights", lambda: last(weighted(g, step_packs=g) for g in groups)),
            Way("flat, block_mask", all_batches("flat", block_mask="full"), note="of all packs in one row"),
            Way("rows", all_batches("rows")),
            Way("rows, block_mask", all_batches("rows", block_mask="full")),
            Way("megatron", all_batches("megatron")),
            Way("torchtune", all_batches("torchtune")),
        ]
        return measure(f"layouts/{MAX_LENGTH}", tokens, ways, rounds)


def masks(rounds: int) -> list[Figure]:
    lengths = [1000, 3000, 92, 2000, 100, 500, 1500]
    documents = torch.arange(len(lengths)).repeat_interleave(torch.tensor(lengths))[None].int()
    starts = torch.tensor([0, *lengths]).cumsum(0).int()
    tokens = documents.shape[1]
    assert tokens == MAX_LENGTH

    def mod(b: Any, h: Any, q_idx: Any, kv_idx: Any) -> Any:
        return (documents[b, q_idx] == documents[b, kv_idx]) & (q_idx >= kv_idx)

    def created() -> Any:
        return create_block_mask(mod, 1, None, tokens, tokens, device="cpu")

    found, expected = document_mask(starts, documents), created()
    assert all(torch.equal(getattr(found, name), getattr(expected, name)) for name in _TENSORS)
    ways = [Way("document_mask", lambda: document_mask(starts, documents)), Way("create_block_mask", created, 30)]
    return measure(f"block_mask/{MAX_LENGTH}", tokens, ways, rounds)


def main() -> int:
    args = arguments(__doc__).parse_args()
    figures = [*batches(args.rounds or 7), *masks(args.rounds or 3)]
    show(figures, "tokens")
    write_json(figures, args.json)
    return int(not all(figure.met for figure in figures))


if __name__ == "__main__":
    sys.exit(main())
