"""Accelerate on two CPU processes: equal steps, each pack once, gradients summed over ranks with `world_size`."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader

import packsort
from documented import example
from packed_rows import VOCABULARY, packed, rows
from packsort.torch import Batcher, PackedCollator, PackedDataset, PackedLoader, weighted_loss
from ranks import launch
from tiny_models import assert_shifted_once, assert_unseen, gradients, llama

RANKS, SIZE = 2, 2


def train(path: str, out: str) -> None:
    """Train on one rank."""
    from accelerate import Accelerator

    early = PackedLoader(path)  # before the processes know each other
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
        {"steps": steps, "packs": firsts, "gradients": gradients(plain), "ways": ways(path, early), "loop": loop(path)},
        f"{out}/{accelerator.process_index}.pt",
    )
    accelerator.end_training()


def loop(path: str) -> dict[str, Any]:
    """Run the documented loop; return the batches of this rank, the optimizer's steps and the weights."""
    names = example("trainers/accelerate_loop.py")["train"](path, llama(VOCABULARY))
    weights = torch.cat([parameter.detach().flatten() for parameter in names["model"].parameters()])
    (steps,) = {int(state["step"]) for state in names["optimizer"].state.values()}
    return {"batches": len(names["loader"]), "epoch": names["loader"].epoch, "steps": steps, "weights": weights}


def ways(path: str, early: PackedLoader) -> dict[str, int | str]:
    """Return how many tokens each way to iterate a loader on this rank gives, or the error."""
    from accelerate import Accelerator
    from accelerate.utils import DataLoaderConfiguration

    sharing = Accelerator(cpu=True, dataloader_config=DataLoaderConfiguration(dispatch_batches=False))
    dispatching = Accelerator(cpu=True)
    made = {
        "loader": lambda: PackedLoader(path),
        "prepared": lambda: sharing.prepare(PackedLoader(path)),
        "DataLoader": lambda: DataLoader(PackedLoader(path), batch_size=None),
        "all on each rank, shared out": lambda: sharing.prepare(
            DataLoader(PackedLoader(path, rank=0, world_size=1), collate_fn=first)
        ),
        "shared out": lambda: sharing.prepare(DataLoader(PackedLoader(path), collate_fn=first)),
        "shared out without batches": lambda: sharing.prepare(DataLoader(PackedLoader(path), batch_size=None)),
        "shared out to workers": lambda: sharing.prepare(
            DataLoader(PackedLoader(path), batch_size=None, num_workers=1)
        ),
        "dispatched": lambda: dispatching.prepare(DataLoader(PackedLoader(path), batch_size=None)),
        "made early": lambda: early,
    }
    found: dict[str, int | str] = {}
    for name, make in made.items():
        try:
            found[name] = sum(batch["input_ids"].numel() for batch in make())
        except packsort.OptionError as error:
            found[name] = str(error)
    return found


def first(batches: list[dict[str, Any]]) -> dict[str, Any]:
    return batches[0]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Packs, and what each of two ranks found."""
    folder = tmp_path_factory.mktemp("accelerate")
    path = packed(folder, rows(), num_packs_multiple_of=RANKS)
    launch(__file__, path, folder, ranks=RANKS)
    return packsort.open_shards(path), [torch.load(folder / f"{rank}.pt") for rank in range(RANKS)]


def test_two_processes_take_equal_steps_and_have_the_gradients_of_a_padded_run(trained):
    shards, found = trained
    source = rows()
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


def test_two_processes_train_on_each_token_once_or_are_refused(trained):
    shards, found = trained
    tokens = sum(len(pack["input_ids"]) for pack in shards)
    first, second = (rank["ways"] for rank in found)
    right = [name for name, value in first.items() if isinstance(value, int)]
    assert right == ["loader", "prepared", "DataLoader", "all on each rank, shared out"]
    assert [first[name] + second[name] for name in right] == [tokens] * len(right)

    way_out = "again: iterate the PackedLoader itself, which `accelerator.prepare` leaves as it is"
    for ways in (first, second):
        for name in ("shared out", "shared out without batches", "shared out to workers"):
            assert ways[name].endswith(f"accelerate's IterableDatasetShard would share them out {way_out}")
        assert ways["dispatched"].endswith(f"accelerate's DataLoaderDispatcher would share them out {way_out}")
    assert "made as rank 0 of 1 and `torch.distributed` now says 1 of 2" in second["made early"]


def test_the_documented_loop_takes_the_steps_of_all_ranks(trained):
    shards, found = trained
    first, second = (rank["loop"] for rank in found)
    batches = -(-len(shards) // (RANKS * 4)) * 4
    assert (first["batches"], first["epoch"], first["steps"]) == (batches, 2, 2 * batches // 4)
    assert torch.equal(first["weights"], second["weights"])


if __name__ == "__main__":
    train(*sys.argv[1:])
