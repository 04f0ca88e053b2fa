"""Accelerate on two CPU processes: equal steps, each pack once, gradients summed over ranks with `world_size`."""

from __future__ import annotations

import sys

import numpy as np
import torch
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader

import packsort
from packed_rows import VOCABULARY, packed, rows
from packsort.torch import Batcher, PackedCollator, PackedDataset, weighted_loss
from ranks import launch
from tiny_models import assert_shifted_once, assert_unseen, gradients, llama

RANKS, SIZE = 2, 2


def train(path: str, out: str) -> None:
    """Train on one rank."""
    from accelerate import Accelerator

    accelerator = Accelerator(cpu=True)
    assert accelerator.num_processes == RANKS
    dataset = PackedDataset(path)
    plain = llama(VOCABULARY)
    optimizer = torch.optim.SGD(plain.parameters(), lr=0.0)
    data = DataLoader(dataset, batch_size=1, collate_fn=PackedCollator(max_length=dataset.max_length))
    model, optimizer, data = accelerator.prepare(plain, optimizer, data)
    firsts, steps, several = [], 0, 0
    for batch in data:
        assert_shifted_once(batch)
        if len(batch["cu_seq_lens_q"]) > 3 and not several:
            several += 1
            assert_unseen(plain, batch)
        accelerator.backward(model(**batch).loss)
        optimizer.step()
        optimizer.zero_grad()
        firsts.append(batch["input_ids"][0].tolist())
        steps += 1
    assert several

    # one step with loss weights over the packs of both ranks
    step = [dataset[i] for i in range(RANKS * SIZE)]
    mine = step[accelerator.process_index * SIZE :][:SIZE]
    batch = Batcher(max_length=dataset.max_length, loss_weights="sample")(mine, step_packs=step)
    labels, weights = batch.pop("labels"), batch.pop("loss_weights")
    accelerator.backward(weighted_loss(model(**batch).logits, labels, weights, world_size=RANKS))
    torch.save(
        {"steps": steps, "packs": firsts, "gradients": gradients(plain)}, f"{out}/{accelerator.process_index}.pt"
    )
    accelerator.end_training()


def test_two_processes_take_equal_steps_and_have_the_gradients_of_a_padded_run(tmp_path):
    source = rows()
    path = packed(tmp_path, source, num_packs_multiple_of=RANKS)
    launch(__file__, path, tmp_path, ranks=RANKS)
    found = [torch.load(tmp_path / f"{rank}.pt") for rank in range(RANKS)]
    shards = packsort.open_shards(path)
    assert [rank["steps"] for rank in found] == [len(shards) // RANKS] * RANKS
    taken = sorted(pack for rank in found for pack in rank["packs"])
    assert taken == sorted(pack["input_ids"].tolist() for pack in shards)

    assert torch.equal(found[0]["gradients"], found[1]["gradients"])
    model = llama(VOCABULARY)
    ids = np.concatenate([shards[i]["sequence_ids"] for i in range(RANKS * SIZE)])
    chosen = source.take(ids).to_pydict()
    losses = []
    for tokens, labels in zip(chosen["input_ids"], chosen["labels"], strict=True):
        if any(label != -100 for label in labels[1:]):
            logits = model(input_ids=torch.tensor([tokens])).logits[0, :-1]
            losses.append(cross_entropy(logits, torch.tensor(labels[1:])))
    torch.stack(losses).mean().backward()
    expected = gradients(model)
    assert ((found[0]["gradients"] - expected).norm() / expected.norm()).item() < 1e-5


if __name__ == "__main__":
    train(*sys.argv[1:])
