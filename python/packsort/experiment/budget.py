"""Number of conversations that fit into a budget of minutes: measured speed, and counted work.

The work of each method is counted on a sample of the lengths, in the unit of `packsort.CostModel`. Three short trial
runs measure how much of it the device does in a second: padded rows, packs with document masks, and without.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

import packsort
from packsort.comparison.packs import like_lengths
from packsort.errors import OptionError
from packsort.experiment.conversations import Conversations, divide
from packsort.experiment.methods import FIXED_STEPS, PACKINGS, make_batches
from packsort.experiment.models import make_model
from packsort.experiment.settings import RunSettings

_SAMPLE = 4000
_TRIAL_SECONDS = 4.0
_MARGIN = 0.75  # of the budget: trials, setting up, and what else a run does
_EVALUATION = 2 / 3  # of the work of a training step on the same tokens: before and after, forward only


def choose_conversations(
    every: Conversations, runs: Sequence[RunSettings], seconds: float, spent: float, device: torch.device
) -> int:
    """Return how many conversations to train on so that everything takes about `seconds`.

    Args:
        every: All conversations.
        runs: The runs, with any number of conversations.
        seconds: The budget.
        spent: Seconds of it that reading and tokenizing took.
        device: Device to train on.

    Raises:
        OptionError: Not even one step of each run fits into the budget.
    """
    least = max(_fewest(every, run) for run in runs)
    model = make_model(runs[0].model, 0, max(run.max_length for run in runs), "sdpa")
    costs = packsort.CostModel.from_config(model.config)
    speeds: dict[tuple[str, int], float] = {}
    sample = np.random.default_rng(0).permutation(len(every))[:_SAMPLE]
    lengths, multi = every.lengths[sample], every.multi_turn[sample]
    each = fixed = 0.0
    for run in runs:
        family = _family(run.method)
        if (family, run.max_length) not in speeds:
            speeds[family, run.max_length] = _speed(every, run, family, least, costs, device)
        speed = speeds[family, run.max_length]
        work = method_work(run, lengths, multi, costs)
        if run.method == "padding_fixed":
            fixed += work / speed
        else:
            each += run.epochs * work / len(lengths) / speed
        evaluated = float(costs.of(np.minimum(lengths, run.max_length)).mean()) * run.held_out
        fixed += _EVALUATION * evaluated / speed
    most = len(every) - max(run.held_out for run in runs)
    found = int(((seconds - spent) * _MARGIN - fixed) / each)
    if found < least:
        needed = ((least * each + fixed) / _MARGIN + spent) / 60
        raise OptionError(
            f"minutes={seconds / 60:g} is too little for {len(runs)} runs, which need about {needed:.0f} with reading: "
            "pass more `minutes`, fewer `methods`, or a smaller `max_length` or `batch_size`"
        )
    return min(found, most)


def method_work(
    run: RunSettings, lengths: NDArray[np.int64], multi_turn: NDArray[np.bool_], costs: packsort.CostModel
) -> float:
    """Count the work of training on conversations of these lengths once.

    Args:
        run: Settings of the run.
        lengths: Lengths of the conversations, in random order.
        multi_turn: Whether each is multi-turn.
        costs: Costs of the model.
    """
    limit = run.max_length
    cut = np.minimum(lengths, limit)
    row = float(costs.of([limit])[0])
    if run.method == "padding_fixed":
        return min(FIXED_STEPS, len(cut) // run.batch_size) * run.batch_size * row
    if run.method == "padding_best":
        ordered = np.sort(cut)[::-1]
        firsts = like_lengths(ordered, run.batch_size * limit)
        return float((np.diff(firsts, append=len(ordered)) * costs.of(ordered[firsts])).sum())
    if run.method == "padding":
        full = len(cut) // run.batch_size * run.batch_size
        return float(costs.of(cut[:full].reshape(-1, run.batch_size).max(1)).sum() * run.batch_size)
    packing = PACKINGS[run.method]
    if packing.masked:
        return float(costs.of(cut).sum())
    packed = cut[~multi_turn] if packing.alone else cut
    return row * float(packed.sum() / limit + (multi_turn.sum() if packing.alone else 0))


def _fewest(every: Conversations, run: RunSettings) -> int:
    """Return how many conversations fill two steps of packs."""
    mean = float(np.minimum(every.lengths, run.max_length).mean())
    return int(2 * run.batch_size * run.max_length / mean * 1.2) + run.batch_size


def _family(method: str) -> str:
    """Return the method whose speed stands for that of another."""
    if method not in PACKINGS:
        return "padding"
    return "ffd" if PACKINGS[method].masked else "ffd_unmasked"


def _speed(
    every: Conversations, run: RunSettings, family: Any, count: int, costs: packsort.CostModel, device: torch.device
) -> float:
    """Measure the work that a trial run does in a second."""
    facts: Mapping[str, Any] = {**run.to_dict(), "method": family, "conversations": count, "only": run.only}
    trial = RunSettings(**facts)
    batches = make_batches(divide(every, trial)[0], trial, device)
    model = make_model(run.model, 0, run.max_length, batches.attention).to(device)
    optimizer = torch.optim.AdamW(model.parameters())
    begin, speeds = time.perf_counter(), []
    with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
        for batch in batches.epoch(0):
            start = time.perf_counter()
            loss = model(**batch.tensors).loss
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            float(loss.detach())
            done = time.perf_counter()
            speeds.append((costs.linear * batch.tokens + costs.quadratic * batch.squares) / (done - start))
            if done - begin > _TRIAL_SECONDS and len(speeds) > 1:
                break
    return float(np.median(speeds[1:]))  # the first step also sets up the device
