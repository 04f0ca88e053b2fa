"""The README's commands and loops run as they are written, on small files in the place of its data and model."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest
import torch
from transformers import AutoTokenizer, LlamaModel

import packsort
from tiny_models import llama

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text("utf-8")
CHATS, LENGTH = 80, 512  # attention to 4,096 tokens takes a minute on a CPU
MODEL = "Qwen/Qwen3-0.6B"
BLOCKS = [part.split("```", 1)[0] for part in README.split("```python\n")[1:]]


@pytest.fixture(scope="module")
def work(tmp_path_factory, tokenizer_folder):
    """A folder with the README's conversations, and a tiny model under the name of its model."""
    folder = tmp_path_factory.mktemp("readme")
    chats = [
        [{"role": role, "content": f"{role} {i} " + "the harbour " * (i % 9)} for role in ("user", "assistant")]
        for i in range(CHATS)
    ]
    (folder / "chats.jsonl").write_text("".join(json.dumps({"messages": chat}) + "\n" for chat in chats))
    tokenizer = AutoTokenizer.from_pretrained(tokenizer_folder)
    # As published: in bfloat16, and with the cache that makes transformers overlook the sequences of a batch.
    model = llama(
        len(tokenizer),
        max_position_embeddings=4096,
        use_cache=True,
        pad_token_id=0,
        eos_token_id=tokenizer.eos_token_id,
    )
    model.bfloat16().save_pretrained(folder / MODEL)
    tokenizer.save_pretrained(folder / MODEL)
    return folder


def test_the_readme_is_short_and_shows_three_loops():
    assert len(README.splitlines()) <= 100
    assert len(BLOCKS) == 3


def test_the_commands_run(work, monkeypatch, run):
    monkeypatch.chdir(work)
    commands = [line for line in README.splitlines() if line.startswith(("packsort pack ", "packsort verify "))]
    assert len(commands) == 2
    for command in commands:
        result = run(*shlex.split(command.replace("4096", str(LENGTH)))[1:])
        assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.filterwarnings("ignore:'pin_memory' argument is set as true but no accelerator:UserWarning")
@pytest.mark.parametrize("block", BLOCKS, ids=["own loop", "Trainer", "SFTTrainer"])
def test_the_loops_train_on_every_sequence(work, block, monkeypatch):
    monkeypatch.chdir(work)
    if not (work / "packed").exists():
        packsort.write_shards("chats.jsonl", "packed", LENGTH, tokenizer=MODEL)
    seen = []

    def noted(model, *args, forward=LlamaModel.forward, **batch):
        if batch.get("position_ids") is not None and torch.is_grad_enabled():
            seen.append(int((batch["position_ids"] == 0).sum()))
        return forward(model, *args, **batch)

    monkeypatch.setattr(LlamaModel, "forward", noted)
    names = {"__name__": "readme"}
    exec(compile(block, "README.md", "exec"), names)
    assert sum(seen) == CHATS
    assert len(seen) > 1
