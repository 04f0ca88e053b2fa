"""One run: a model trained by one method, from its initial weights to its figures."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable
from dataclasses import asdict
from datetime import date
from importlib.metadata import version
from math import cos, pi
from typing import Any

import torch
from torch.nn.utils import clip_grad_norm_

import packsort
from packsort.experiment import memory
from packsort.experiment.checkpoints import Checkpoint
from packsort.experiment.conversations import Conversations
from packsort.experiment.evaluation import evaluate
from packsort.experiment.methods import Batch, make_batches
from packsort.experiment.models import make_model
from packsort.experiment.records import Run
from packsort.experiment.settings import RunSettings
from packsort.experiment.steps import Step, Steps
from packsort.schema import NO_LOSS
from packsort.torch import weighted_loss

OnStep = Callable[[int, int], None]
"""Called after each step with the steps done and all steps."""


def train(
    conversations: Conversations,
    held_out: Conversations,
    settings: RunSettings,
    device: torch.device,
    checkpoint: Checkpoint,
    on_step: OnStep = lambda done, steps: None,
) -> Run:
    """Train a model, and return the figures of the run.

    A run with a checkpoint goes on there. On a CPU it ends in the same weights as one that was never stopped, bit for
    bit, with the same number of threads.

    Args:
        conversations: Conversations to train on.
        held_out: Conversations that are held out.
        settings: Settings of the run.
        device: Device to train on.
        checkpoint: Checkpoint of this run.
        on_step: Called after each step.
    """
    batches = make_batches(conversations, settings, device)
    model = make_model(settings.model, settings.seed, settings.max_length, batches.attention).to(device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=settings.learning_rate, weight_decay=0.01)
    steps, before = Steps(), None
    if (saved := checkpoint.load()) is not None:
        model.load_state_dict(saved["model"])
        optimizer.load_state_dict(saved["optimizer"])
        batches.load_state_dict(saved["batches"])
        steps, before = Steps.from_list(saved["steps"]), saved["before"]
    costs = packsort.CostModel.from_config(model.config)
    per_epoch = len(batches)
    total = per_epoch * settings.epochs
    memory.reset(device)
    with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
        if before is None:
            before = asdict(evaluate(model, held_out, settings.max_length, device))
        while len(steps) < total:
            source = batches.epoch(len(steps) // per_epoch)
            while True:
                begin = time.perf_counter()
                batch = next(source, None)
                if batch is None:
                    break
                rate = settings.learning_rate * rate_share(len(steps), total, settings.warmup)
                loss = _step(model, optimizer, batch, rate)
                seconds = time.perf_counter() - begin
                cost = costs.linear * batch.tokens + costs.quadratic * batch.squares
                steps.done.append(Step(seconds, batch.samples, batch.real_tokens, batch.tokens, loss, cost))
                if checkpoint.is_due:
                    checkpoint.save(
                        {
                            "model": model.state_dict(),
                            "optimizer": optimizer.state_dict(),
                            "batches": batches.state_dict(),
                            "steps": steps.to_list(),
                            "before": before,
                        }
                    )
                on_step(len(steps), total)
        peak = memory.peak(device)
        timed_only = settings.method == "padding_fixed"
        after = None if timed_only else asdict(evaluate(model, held_out, settings.max_length, device))
    return Run(
        settings=settings,
        steps=total,
        samples_per_step=steps.total("samples") / total,
        tokens=int(steps.total("tokens")),
        real_tokens=int(steps.total("real_tokens")),
        seconds=steps.seconds(),
        peak_memory=peak,
        **vars(batches.losses),
        waiting=steps.waiting(),
        curve=steps.curve(),
        without_loss=steps.without_loss(),
        before=before,
        after=after,
        weights=sum(weight.numel() for weight in model.parameters()),
        machine=machine(device),
    )


def _step(model: Any, optimizer: Any, batch: Batch, rate: float) -> float | None:
    """Take one step, and return the loss before it; None where no token carries loss, so that gradients are zero."""
    for group in optimizer.param_groups:
        group["lr"] = rate
    if batch.loss_weights is None:
        loss = model(**batch.tensors).loss
    else:
        given = dict(batch.tensors)
        labels = given.pop("labels")
        loss = weighted_loss(model(**given).logits, labels, batch.loss_weights)
    loss.backward()
    clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    optimizer.zero_grad()
    found = float(loss.detach())  # waits for the device
    return found if (batch.tensors["labels"] != NO_LOSS).any() else None


def rate_share(done: int, total: int, warmup: float) -> float:
    """Return the learning rate of a step as a share of the highest: it rises, then falls as a cosine to a tenth.

    Example:
        >>> [round(rate_share(done, 5, 0.4), 2) for done in range(5)]
        [0.5, 1.0, 1.0, 0.78, 0.33]
    """
    rising = round(total * warmup)
    if done < rising:
        return (done + 1) / rising
    return 0.1 + 0.9 * (1 + cos(pi * (done - rising) / max(1, total - rising))) / 2


def machine(device: torch.device) -> dict[str, str]:
    """Return the device, the versions and the date of today."""
    threads = torch.get_num_threads()
    name = f"CPU, {threads} thread{'s' if threads > 1 else ''}"
    if device.type == "cuda":
        name = torch.cuda.get_device_name(device)
    libraries = {library: version(library) for library in ("torch", "transformers")}
    return {
        "device": name,
        "packsort": packsort.__version__,
        **libraries,
        "python": platform.python_version(),
        "date": date.today().isoformat(),
    }
