"""A `Trainer` that is resumed sees the batches of the run before it, in any loop and on two processes."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import torch
from transformers import Trainer, TrainerState, TrainingArguments

from loading import spawn
from packed_rows import rows
from packsort.errors import OptionError
from packsort.torch import PackedCollator, PackedDataset
from ranks import free_port

TABLE = rows(36)


class Toy(torch.nn.Module):
    """A model of one weight that notes what it is given."""

    def __init__(self, fails_above=None):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(()))
        self.seen = []
        self.fails_above = fails_above

    def forward(self, input_ids, **batch):
        if self.fails_above is not None and input_ids.shape[1] > self.fails_above:
            raise RuntimeError("CUDA out of memory.")  # as `auto_find_batch_size` looks for it
        if self.training:
            self.seen.append(input_ids.flatten().tolist())
        return {"loss": self.weight * input_ids.float().mean() * 1e-3}


def run(out, dataset, *, resume=None, callback=True, model=None, **options):
    """Train for two epochs and return the tokens of each batch."""
    from packsort.hf import ResumeCallback

    arguments = TrainingArguments(
        output_dir=str(out),
        num_train_epochs=2,
        use_cpu=True,
        report_to="none",
        disable_tqdm=True,
        remove_unused_columns=False,
        save_strategy="steps",
        save_steps=options.pop("save_steps", 5),
        **{"per_device_train_batch_size": 1} | options,
    )
    model = model or Toy()
    Trainer(
        model,
        arguments,
        train_dataset=dataset,
        eval_dataset=dataset,
        data_collator=PackedCollator(max_length=dataset.max_length),
        callbacks=[ResumeCallback()] if callback else [],
    ).train(resume_from_checkpoint=None if resume is None else f"{out}/checkpoint-{resume}")
    return model.seen


def dataset():
    return PackedDataset(TABLE, 64)


LOOPS = {
    "evaluated": {"eval_strategy": "steps", "eval_steps": 5},
    "accumulated": {"gradient_accumulation_steps": 3},
    "workers": {"dataloader_num_workers": 2, "dataloader_persistent_workers": True},
    "sequential": {"train_sampling_strategy": "sequential"},
    "unseeded": {"accelerator_config": {"use_seedable_sampler": False}},
    "by length": {"train_sampling_strategy": "group_by_length"},
}


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:.*pin_memory.*:UserWarning")
@pytest.mark.parametrize("loop", LOOPS)
def test_a_resumed_trainer_sees_the_batches_of_the_whole_run(tmp_path, loop):
    accumulation = LOOPS[loop].get("gradient_accumulation_steps", 1)
    packs = len(dataset())
    steps = -(-packs // accumulation)
    cut = steps + 2  # inside the second epoch
    whole = run(tmp_path, dataset(), save_steps=cut, **LOOPS[loop])
    assert sorted(whole[:packs]) == sorted(whole[packs:])
    assert (whole[:packs] == whole[packs:]) == (loop == "sequential")
    rest = run(tmp_path, dataset(), save_steps=99, resume=cut, **LOOPS[loop])
    assert rest == whole[packs + 2 * accumulation :]


def test_without_the_callback_one_process_resumes_as_well(tmp_path):
    packs = len(dataset())
    whole = run(tmp_path, dataset(), callback=False, save_steps=packs + 3)
    assert run(tmp_path, dataset(), callback=False, resume=packs + 3) == whole[packs + 3 :]


def test_data_that_is_not_skipped_begins_the_epoch_again(tmp_path):
    packs = len(dataset())
    whole = run(tmp_path, dataset(), save_steps=packs + 3)
    again = run(tmp_path, dataset(), save_steps=99, resume=packs + 3, ignore_data_skip=True)
    assert len(again) == packs - 3  # the run has as many steps as it would have had
    assert again == whole[packs:][: packs - 3]


def test_a_batch_size_that_was_found_is_resumed(tmp_path):
    """The first batch of two packs runs out of memory, so the run continues with one pack a batch."""
    packs = len(dataset())
    options = {"per_device_train_batch_size": 2, "auto_find_batch_size": True, "max_grad_norm": 0.0}
    whole = run(tmp_path, dataset(), model=Toy(fails_above=100), save_steps=packs + 3, **options)
    rest = run(tmp_path, dataset(), model=Toy(fails_above=100), save_steps=99, resume=packs + 3, **options)
    assert sorted(whole[:packs]) == sorted(whole[packs:]) == sorted(p["input_ids"].tolist() for p in dataset())
    assert rest == whole[packs + 3 :]


def train_on_a_rank(rank, port, out):
    """Train on one of two ranks, resume, and resume with a sampler without a seed; write what it saw."""
    from accelerate.state import AcceleratorState, PartialState

    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2", "ACCELERATE_USE_CPU": "true"}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    AcceleratorState._reset_state(reset_partial_state=True)
    assert PartialState(cpu=True).num_processes == 2
    cut = -(-len(dataset()) // 2) + 2
    found = []
    for options in ({}, {"accelerator_config": {"use_seedable_sampler": False}}):
        found += [run(out, dataset(), resume=resume, save_steps=cut, **options) for resume in (None, cut)]
    Path(out, f"{rank}.json").write_text(json.dumps(found))
    torch.distributed.destroy_process_group()


def test_two_processes_resume(tmp_path):
    port = free_port()
    ranks = [spawn(train_on_a_rank, rank, port, tmp_path) for rank in range(2)]
    for rank in ranks:
        rank.join(120)
    assert [rank.exitcode for rank in ranks] == [0, 0]
    packs, steps = len(dataset()), -(-len(dataset()) // 2)
    seen = [json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(2)]
    for whole, rest in ((0, 1), (2, 3)):
        for rank in range(2):
            assert len(seen[rank][whole]) == 2 * steps
            assert seen[rank][rest] == seen[rank][whole][steps + 2 :]
        first = [seen[rank][whole][step] for step in range(steps) for rank in range(2)]
        assert len({tuple(pack) for pack in first}) == packs


def test_packs_never_change():
    one = dataset()
    before = [pack["sequence_ids"].tolist() for pack in one]
    one.set_epoch(1)
    assert [pack["sequence_ids"].tolist() for pack in one] == before
    assert one.epoch == 0
    other = one.with_epoch(1)
    assert [pack["sequence_ids"].tolist() for pack in other] != before
    assert [pack["sequence_ids"].tolist() for pack in other.with_epoch(0)] == before


@pytest.mark.parametrize("epoch", ["1", True, float("nan"), -1.0, [0.5], 10**5000], ids=range(6))
def test_an_epoch_of_a_checkpoint_that_is_none_is_refused(epoch):
    from packsort.hf import ResumeCallback

    with pytest.raises(OptionError, match="epoch of the trainer's state must be"):
        ResumeCallback().on_train_begin(None, TrainerState(epoch=epoch), None)


@pytest.mark.parametrize("step", ["1", True, 1.5, -1, None, 2**64, 10**5000], ids=range(7))
def test_a_step_of_a_checkpoint_that_is_none_is_refused(step):
    from packsort.hf import ResumeCallback

    state = TrainerState()
    state.global_step = step
    with pytest.raises(OptionError, match="global_step of the trainer's state must be"):
        ResumeCallback().on_train_begin(None, state, None)
