"""`packsort experiment`: its figures, its report, going on after a stop, and what it refuses before it trains."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from transformers import MambaConfig, MambaForCausalLM

from commands import Run
from json_results import valid
from packsort._interrupts import OUTPUTS, Outputs
from packsort.errors import IsolationError, OptionError, OutputError, SourceError, TokenizerError
from packsort.experiment import RunSettings, Study, compare_methods, load_study, run
from packsort.experiment import checkpoints as checkpoints_module
from packsort.experiment.conversations import Conversations, divide, fit_vocabulary, read
from packsort.experiment.groups import Spread, difference, group_runs, is_difference
from packsort.experiment.methods import make_batches
from packsort.experiment.settings import METHODS
from packsort.experiment.steps import Step, Steps
from tiny_tokenizer import build

LIMIT = 96


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("tokenizer"))


@pytest.fixture(scope="module")
def chats(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sixty conversations of one to three turns."""
    random = Random(0)
    rows = []
    for _ in range(60):
        messages = []
        for _ in range(random.choice([1, 1, 3])):
            messages.append({"role": "user", "content": "boats " * random.randint(1, 12)})
            messages.append({"role": "assistant", "content": " ".join(random.choices(["two", "ferry"], k=6))})
        rows.append(messages)
    path = tmp_path_factory.mktemp("chats") / "chats.parquet"
    pq.write_table(pa.table({"messages": rows, "source": [random.choice("ab") for _ in rows]}), path)
    return path


@pytest.fixture(scope="module")
def conversations(chats: Path, tokenizer: Path) -> Conversations:
    return fit_vocabulary(read(chats, str(tokenizer), by="source"), 1024)[0]


def settings(method: Any = "ffd", **more: Any) -> RunSettings:
    facts = {"model": "50K", "max_length": LIMIT, "conversations": 40, "batch_size": 2, "held_out": 10}
    return RunSettings(method=method, **{**facts, **more})


def figures(line: str) -> dict[str, Any]:
    """What a run found, without what depends on the machine."""
    facts: dict[str, Any] = json.loads(line)
    return {name: value for name, value in facts.items() if name not in ("seconds", "peak_memory", "machine")}


def test_one_command_trains_every_method_and_reports(chats: Path, tokenizer: Path, tmp_path: Path, run: Run) -> None:
    out = tmp_path / "report"
    methods = ("padding", "padding_fixed", "padding_best", "random_unmasked", "ffd", "ffd_sample")
    call = ("experiment", chats, "--max-length", LIMIT, "-o", out, "--model", "50K", "--tokenizer", tokenizer,
            "--conversations", 40, "--held-out", 10, "--batch-size", 2,
            "--by", "source", "--methods", *methods)  # fmt: skip
    done = run(*call)
    assert done.returncode == 0, done.stderr
    lines = (out / "results.jsonl").read_text().splitlines()
    records = {one["settings"]["method"]: one for one in map(json.loads, lines)}
    assert set(records) == set(methods)
    # The same weights, and a model that has learnt something about the same tokens.
    assert len({one["before"]["loss"] for one in records.values()}) == 1
    for method, one in records.items():
        assert method == "padding_fixed" or one["after"]["loss"] < one["before"]["loss"]
        assert one["seconds"] > 0
        assert one["real_tokens"] <= one["tokens"]
    assert records["ffd"]["real_tokens"] == records["ffd"]["tokens"]
    assert records["ffd"]["split"] == 0 < records["random_unmasked"]["split"]
    assert records["ffd"]["after"]["loss"] != records["ffd_sample"]["after"]["loss"]
    assert set(records["ffd"]["after"]["kinds"]) == {"a", "b"}
    assert 0 <= records["ffd"]["after"]["calibration"] <= 1
    assert records["padding"]["waiting"] > 1
    report = (out / "report.md").read_text()
    for text in ("padding at its best", "66.7% of them", "Methods that were not run", "timed on 4 steps", "one seed"):
        assert text in report
    assert (out / "loss-0.svg").read_bytes().startswith(b"<?xml")
    assert not (out / "unfinished").exists()
    again = run(*call, "--json")  # finished runs are not run again
    assert valid(again.stdout, "experiment")["runs"] == len(records)
    assert (out / "results.jsonl").read_text().splitlines() == lines


def test_a_stopped_experiment_goes_on_and_ends_in_the_same_figures(
    conversations: Conversations, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It stops at any step, within an epoch and between two, in padded and packed runs."""
    monkeypatch.setattr(checkpoints_module, "_LEAST_SECONDS", 0.0)
    monkeypatch.setattr(checkpoints_module, "_SHARE", 1e9)
    source = conversations.table
    runs = tuple(settings(method, epochs=2, conversations=24) for method in ("padding_best", "ffd"))
    study = Study("stopped", runs)
    run(source, tmp_path / "whole", study)
    steps = 0

    @contextmanager
    def stopping(name: str, *, total: int | None = None, unit: str = "") -> Iterator[Any]:
        def advance(done: int, note: str = "") -> None:
            nonlocal steps
            steps += done
            if steps in (3, 11, 23, 27):
                raise KeyboardInterrupt

        yield advance

    for _ in range(4):
        with pytest.raises(KeyboardInterrupt):
            run(source, tmp_path / "stopped", study, stage=stopping)
    run(source, tmp_path / "stopped", study, stage=stopping)
    whole, stopped = (
        list(map(figures, (tmp_path / name / "results.jsonl").read_text().splitlines()))
        for name in ("whole", "stopped")
    )
    assert whole == stopped


def test_a_run_is_refused_before_training(
    chats: Path, conversations: Conversations, tokenizer: Path, tmp_path: Path
) -> None:
    study = Study("refused", (settings(),))
    leaking = tmp_path / "mamba"
    config = MambaConfig(vocab_size=1024, hidden_size=16, num_hidden_layers=1, state_size=4)
    MambaForCausalLM(config).save_pretrained(leaking)
    with pytest.raises((IsolationError, OptionError)):
        run(
            conversations.table,
            tmp_path / "a",
            Study("leak", (settings(model=str(leaking)),)),
            tokenizer=str(tokenizer),
        )
    with pytest.raises(SourceError, match="held_out must be at least 10 and at most half of the 15 conversations"):
        run(conversations.table.slice(0, 15), tmp_path / "b", study)
    with pytest.raises(SourceError, match="100 conversations are asked for, and 50 are left"):
        run(conversations.table, tmp_path / "c", Study("many", (settings(conversations=100),)))
    bare = build(tmp_path / "bare", template=None)
    with pytest.raises(TokenizerError, match="chat template"):
        run(chats, tmp_path / "d", study, tokenizer=str(bare))
    with pytest.raises(SourceError, match="tokenizer"):
        run(chats, tmp_path / "e", study)
    with pytest.raises(OptionError, match="a size, one of 50K"):
        run(conversations.table, tmp_path / "f", Study("none", (settings(model="7B"),)), tokenizer=str(tokenizer))
    with pytest.raises(OptionError, match="minutes"):
        run(conversations.table, tmp_path / "g", compare_methods([LIMIT], model="50K", minutes=1e-5, held_out=10))
    assert not list(tmp_path.glob("?/results.jsonl"))
    (tmp_path / "h").mkdir()
    (tmp_path / "h" / "mine.txt").touch()
    with pytest.raises(OutputError, match="other files"):
        run(conversations.table, tmp_path / "h", study)


@pytest.mark.parametrize("method", METHODS)
def test_every_method_trains_on_the_conversations_it_is_given(method: str, conversations: Conversations) -> None:
    train, _ = divide(conversations, settings(method))
    batches = make_batches(train, replace(settings(method), batch_size=1), torch.device("cpu"))
    seen = list(batches.epoch(0))
    assert len(seen) == len(batches)
    real = sum(batch.real_tokens for batch in seen)
    cut = int(np.minimum(train.lengths, LIMIT).sum())
    expected = {"padding_fixed": real, "random": int(train.lengths.sum()), "random_unmasked": int(train.lengths.sum())}
    assert real == expected.get(method, cut)
    if "random" not in method and method not in ("padding_fixed", "hybrid"):
        assert sum(batch.samples for batch in seen) == len(train)
    trained = sum(int((batch.tensors["labels"] != -100).sum()) for batch in seen)
    assert trained > 0
    if method == "padding_fixed":
        assert {batch.tensors["input_ids"].shape[1] for batch in seen} == {LIMIT}


def test_settings_choose_the_data(conversations: Conversations) -> None:
    plain, held = divide(conversations, settings())
    mixed, _ = divide(conversations, settings(multi_turn=0.5, conversations=20))
    assert mixed.multi_turn.sum() == 10
    again, same = divide(conversations, settings(repeated=4))
    assert same.table.equals(held.table)
    assert len(again) == 40
    assert len({str(ids) for ids in again.table["input_ids"].to_pylist()}) <= 10
    shuffled, _ = divide(conversations, settings(labels="shuffled"))
    assert shuffled.lengths.tolist() == plain.lengths.tolist()
    assert not shuffled.table.equals(plain.table)
    only, _ = divide(conversations, settings(only=("a",), conversations=10))
    assert only.kinds is not None
    assert set(only.kinds) == {"a"}


def test_a_study_lists_every_combination(tmp_path: Path) -> None:
    path = tmp_path / "study.toml"
    path.write_text(
        "times = false\n[run]\nmodel = '50K'\nmax_length = 64\nconversations = 9\n[vary]\nseed = [0, 1]\n"
        "[[variants]]\nmethod = 'ffd'\n[[variants]]\nmethod = 'padding'\nonly = ['a']\n"
    )
    study = load_study(path)
    assert [(one.seed, one.method, one.only) for one in study.runs] == [
        (0, "ffd", None), (0, "padding", ("a",)), (1, "ffd", None), (1, "padding", ("a",))
    ]  # fmt: skip
    assert not study.times
    for text, message in (("x = 1", "'x'"), ("[run]\nrows = 1", "'rows'"), ("[run]\nmethod = 'ffd'", "conversations")):
        path.write_text(text)
        with pytest.raises(OptionError, match=message):
            load_study(path)


def test_a_difference_inside_its_spread_is_none(conversations: Conversations, tmp_path: Path) -> None:
    runs = tuple(settings(method, seed=seed, conversations=12) for method in ("ffd", "random") for seed in (0, 1))
    token = OUTPUTS.set(outputs := Outputs())
    found = run(conversations.table, tmp_path, Study("spread", runs))
    OUTPUTS.reset(token)
    assert not outputs.whole  # or Ctrl-C after the first run would be ignored
    assert outputs.unfinished == [str(tmp_path)]
    one, other = group_runs(found.runs)
    assert [len(group.runs) for group in (one, other)] == [2, 2]
    # Both runs of a seed are compared with each other, so what both have in common cancels out.
    assert difference(one, other, lambda run: float(run.settings.seed)) == Spread(0.0, 0.0)
    assert not is_difference(Spread(0.1, 0.1))
    assert not is_difference(Spread(0.1, None))
    assert is_difference(Spread(-0.2, 0.1))
    assert "±" in found.report.read_text()


def test_steps_without_loss_do_not_count_and_records_are_json(tmp_path: Path) -> None:
    """A row of a conversation that was cut may hold no answer."""
    steps = Steps([Step(1.0, 1, 10, 10, loss, 1.0) for loss in (3.0, None, 5.0, None)])
    assert steps.curve() == [(10, 3.0), (20, None), (30, 5.0), (40, None)]
    assert steps.without_loss() == 2
    ids = pa.array([[5] * 2 * LIMIT, [6] * LIMIT] * 30, pa.list_(pa.int32()))
    labels = pa.array([[-100] * LIMIT + [5] * LIMIT, [-100] * (LIMIT - 1) + [6]] * 30, pa.list_(pa.int32()))
    study = Study("cut", (settings("random", batch_size=1, conversations=20),))
    found = run(pa.table({"input_ids": ids, "labels": labels}), tmp_path, study)
    assert 0 < found.runs[0].without_loss < found.runs[0].steps
    assert found.runs[0].after is not None
    assert found.runs[0].after["loss"] > 0  # gradients of such a step are zero, not NaN
    assert "no token carries loss" in found.report.read_text()
    assert "NaN" not in found.results.read_text()
    diverged = replace(found.runs[0], after={**found.runs[0].after, "loss": float("nan")}).to_line()
    assert json.loads(diverged)["after"]["loss"] is None
