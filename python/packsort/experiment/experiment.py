"""`run`: an experiment from its source to its report."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from packsort._atomic import replace_file
from packsort._interrupts import note_unfinished
from packsort._paths import printable
from packsort._progress import Stage, log_stage
from packsort.errors import IsolationError, OutputError
from packsort.experiment.budget import choose_conversations
from packsort.experiment.checkpoints import Checkpoint
from packsort.experiment.conversations import Conversations, divide, fit_vocabulary, read
from packsort.experiment.methods import PACKINGS, make_batches
from packsort.experiment.models import SIZES, check_tokens, is_size, make_model, pick_device
from packsort.experiment.records import NAME as RESULTS
from packsort.experiment.records import Records, Run
from packsort.experiment.report import check_report, write_report
from packsort.experiment.settings import RunSettings
from packsort.experiment.studies import Study
from packsort.experiment.training import train
from packsort.schema import INPUT_IDS, LABELS
from packsort.torch import check_isolation

_FACTS = "experiment.json"


@dataclass(frozen=True)
class Experiment:
    """A finished experiment.

    Attributes:
        report: The report, `report.md`.
        results: The raw figures, `results.jsonl`.
        runs: Figures of the runs.
    """

    report: Path
    results: Path
    runs: tuple[Run, ...]


@dataclass(frozen=True)
class Data:
    """Facts about the data of an experiment, for its report.

    Attributes:
        conversations: Conversations with loss.
        multi_turn: Those of them that are multi-turn.
        tokens: Their tokens.
        without_loss: Conversations left out because none of their tokens carries loss.
        shared: Share of tokens that share one id in the vocabulary of a model of random weights, by its size.
        digest: Digest of lengths, tokens and labels.
    """

    conversations: int
    multi_turn: int
    tokens: int
    without_loss: int
    shared: Mapping[str, float]
    digest: str


def run(
    source: Any,
    out: str | os.PathLike[str],
    study: Study,
    *,
    tokenizer: Any = None,
    by: str | None = None,
    split: str | None = None,
    columns: Mapping[str, str] | None = None,
    device: Any = "auto",
    stage: Stage = log_stage,
) -> Experiment:
    """Train a model by each method from the same initial weights on the same conversations, and report the figures.

    Runs that `out` has figures of are not run again, and one that was stopped goes on where it was saved last. On a CPU
    its figures are those of a run that was never stopped, times apart.

    Args:
        source: Conversations, as `packsort.tokenize` takes them, or tokens with labels.
        out: Folder of the results; it is made where there is none.
        study: The runs, from `compare_methods` or `load_study`.
        tokenizer: A tokenizer, its folder or its name on the Hub. None is that of the checkpoint.
        by: Column with the kind of each conversation, whose losses are reported apart. None is that of the study.
        split: Split to read, where the source has several.
        columns: Column of the source for each column that packsort looks for.
        device: `auto`, the first GPU or else the CPU, or a device of PyTorch.
        stage: Called to report progress.

    Returns:
        The report, and the figures.

    Raises:
        OptionError: A value is not allowed.
        SourceError: The source cannot be read, or has too few conversations.
        TokenizerError: There is no tokenizer, or it has no chat template.
        IsolationError: The model does not keep the conversations of a batch apart.
        OutputError: `out` holds something else, or cannot be written.
    """
    begin = time.perf_counter()
    check_report()
    chosen, folder = pick_device(device), _open_folder(Path(out))
    if tokenizer is None and not is_size(study.models[0]):
        tokenizer = study.models[0]
    with stage("tokenizing"):
        every = read(source, tokenizer, by=by or study.by, split=split, columns=columns)
    by_model, facts = _vocabularies(every, study.models)
    kept = _recall(folder, facts)
    with stage("checking"):
        for settings in study.runs:
            divide(by_model[settings.model], settings)
        _check_models(by_model, study.runs, chosen)
    if study.minutes is not None:
        if "conversations" not in kept:
            with stage("measuring speed"):
                spent = time.perf_counter() - begin
                seconds = study.minutes * 60
                count = choose_conversations(by_model[study.models[0]], study.runs, seconds, spent, chosen)
            kept["conversations"] = count
        study = study.with_conversations(kept["conversations"])
    _remember(folder, facts, kept)
    note_unfinished(printable(folder))
    found = _run_all(by_model, study, folder, chosen, stage)
    return Experiment(write_report(folder, study, found, asdict(facts)), folder / RESULTS, tuple(found))


def _run_all(
    by_model: Mapping[str, Conversations], study: Study, folder: Path, device: torch.device, stage: Stage
) -> list[Run]:
    records = Records(folder)
    for number, settings in enumerate(study.runs, 1):
        if settings in records:
            continue
        train_on, held_out = divide(by_model[settings.model], settings)
        checkpoint = Checkpoint(folder, settings.key)
        with stage(f"run {number} of {len(study.runs)}, {settings.method}", unit="steps") as advance:
            found = train(train_on, held_out, settings, device, checkpoint, lambda done, steps: advance(1))
        if not study.times:
            found = replace(found, seconds=None)
        records.add(found)
        checkpoint.remove()
    return [records[settings] for settings in study.runs]


def _vocabularies(every: Conversations, models: Iterable[str]) -> tuple[dict[str, Conversations], Data]:
    """Return the conversations with the token ids of each model."""
    found, shared = {}, {}
    for model in models:
        found[model] = every
        if is_size(model):
            found[model], shared[model] = fit_vocabulary(every, SIZES[model].vocab_size)
    tokens = every.values(INPUT_IDS)
    multi_turn = int(every.multi_turn.sum())
    return found, Data(len(every), multi_turn, len(tokens), every.without_loss, shared, _digest(every))


def _digest(conversations: Conversations) -> str:
    """Return 12 hexadecimal digits that two sets of conversations share only if tokens and labels are equal."""
    found = hashlib.sha256()
    for numbers in (conversations.lengths, conversations.values(INPUT_IDS), conversations.values(LABELS)):
        found.update(np.ascontiguousarray(numbers).data)
    return found.hexdigest()[:12]


def _check_models(by_model: Mapping[str, Conversations], runs: Sequence[RunSettings], device: torch.device) -> None:
    """Refuse models that do not know the tokens, or that mix conversations, before anything is trained."""
    for name, conversations in by_model.items():
        masked = [one for one in runs if one.model == name and one.method in PACKINGS and PACKINGS[one.method].masked]
        settings = masked[0] if masked else runs[0]
        few = conversations.take(np.argsort(conversations.lengths, kind="stable")[: 8 * settings.batch_size])
        model = make_model(name, settings.seed, settings.max_length, "sdpa")
        check_tokens(model, int(conversations.values(INPUT_IDS).max()))
        if not masked:
            continue
        one = replace(settings, batch_size=1, max_length=int(few.lengths.sum()), method="ffd")
        batches = make_batches(few, one, device)
        model.set_attn_implementation(batches.attention)
        with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
            isolation = check_isolation(model.to(device), [batch.tensors for batch in batches.epoch(0)])
        if not isolation:
            raise IsolationError(
                f"model `{name}` would not keep conversations apart, so nothing was trained: {isolation}"
            )


def _open_folder(folder: Path) -> Path:
    if folder.exists() and not folder.is_dir():
        raise OutputError(f"`{folder}` is a file: pass a folder")
    if folder.is_dir() and any(folder.iterdir()) and not (folder / _FACTS).exists():
        raise OutputError(f"`{folder}` holds other files: pass an empty folder")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"`{folder}` cannot be made: {(error.strerror or str(error)).lower()}") from error
    return folder


def _recall(folder: Path, facts: Data) -> dict[str, Any]:
    """Return what an earlier call chose for the same data."""
    path = folder / _FACTS
    if not path.exists():
        return {}
    found = json.loads(path.read_text(encoding="utf-8"))
    if found["data"]["digest"] != facts.digest:
        raise OutputError(f"`{folder}` has results of other data: pass another folder")
    chosen: dict[str, Any] = found["chosen"]
    return chosen


def _remember(folder: Path, facts: Data, chosen: Mapping[str, Any]) -> None:
    with replace_file(folder / _FACTS) as file:
        file.write((json.dumps({"data": asdict(facts), "chosen": chosen}, indent=1) + "\n").encode())
