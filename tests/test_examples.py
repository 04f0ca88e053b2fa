"""The examples that the pages of the site include run as they are: each trainer trains on every sequence."""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

import pytest
import torch
from transformers import AutoTokenizer, LlamaModel

from documented import EXAMPLES, example
from packed_rows import MAX_LENGTH, VOCABULARY, packed, rows
from packsort.torch import PackedLoader
from tiny_models import llama

PAGES = Path(__file__).parents[1] / "docs" / "trainers"


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return packed(tmp_path_factory.mktemp("examples"))


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory, tokenizer_folder):
    """A small model as it is published: with a cache, and with its tokenizer."""
    folder = tmp_path_factory.mktemp("model")
    tokenizer = AutoTokenizer.from_pretrained(tokenizer_folder)
    tokenizer.save_pretrained(folder)
    size = max(VOCABULARY, len(tokenizer))
    llama(size, use_cache=True, pad_token_id=0, eos_token_id=tokenizer.eos_token_id).save_pretrained(folder)
    return str(folder)


@pytest.fixture
def trained(monkeypatch):
    """Numbers of sequences in the batches that a model of transformers trains on."""
    seen = []

    def noted(model, *args, forward=LlamaModel.forward, **batch):
        if torch.is_grad_enabled() and batch.get("position_ids") is not None:
            seen.append(int((batch["position_ids"] == 0).sum()))
        return forward(model, *args, **batch)

    monkeypatch.setattr(LlamaModel, "forward", noted)
    return seen


def test_a_loop_of_ones_own(path, model_folder, trained):
    steps = example("trainers/own_loop.py")["main"](path, model_folder)
    loader = PackedLoader(path, accumulation=4)
    assert steps == 2 * len(loader) // 4
    assert len(trained) == 2 * len(loader)


@pytest.mark.filterwarnings("ignore:'pin_memory' argument is set as true but no accelerator:UserWarning")
@pytest.mark.parametrize("name", ["trainer", "sft_trainer"])
def test_the_trainers_of_hugging_face(path, model_folder, trained, tmp_path, name):
    trainer = example(f"trainers/{name}.py")["main"](str(path), model_folder, str(tmp_path / "run"))
    assert sum(trained) == len(rows())
    assert trainer.state.global_step == len(trained)


def test_megatron(path, monkeypatch):
    # The file of Megatron-Core that the example needs, without the rest, which takes eight seconds to import.
    core = ModuleType("megatron.core")
    core.__path__ = [str(Path(folder) / "core") for folder in find_spec("megatron").submodule_search_locations]
    monkeypatch.setitem(sys.modules, "megatron.core", core)
    monkeypatch.delitem(sys.modules, "megatron.core.packed_seq_params", raising=False)

    class Model(torch.nn.Module):
        """Takes what `GPTModel` takes, and looks at single tokens."""

        def __init__(self):
            super().__init__()
            self.embedding = torch.nn.Embedding(VOCABULARY, VOCABULARY)
            self.sequences = 0

        def forward(self, input_ids, position_ids, attention_mask, *, labels, packed_seq_params, padding_mask):
            assert packed_seq_params.qkv_format == "thd"
            assert int(packed_seq_params.cu_seqlens_q_padded[-1]) == input_ids.numel() == padding_mask.numel()
            self.sequences += len(packed_seq_params.cu_seqlens_q) - 1
            logits = self.embedding(input_ids).transpose(1, 2)
            return torch.nn.functional.cross_entropy(logits, labels, reduction="none")

    model = Model()
    losses = list(example("trainers/megatron_step.py")["train"](str(path), model, rank=0, world_size=1))
    assert len(losses) == len(PackedLoader(path))
    assert model.sequences == len(rows())
    assert torch.stack(losses).isfinite().all()


def test_torchtune(path):
    losses = example("trainers/torchtune_loop.py")["main"](str(path), VOCABULARY)
    assert len(losses) == len(PackedLoader(path, batch_size=2))
    assert losses[-1] < losses[0]


def test_packs_in_input_order_are_those_of_torchtune():
    packed_block_causal_mask = example("trainers/torchtune_loop.py")["packed_block_causal_mask"]
    from torchtune.data import padded_collate_packed
    from torchtune.datasets import PackedDataset

    table = rows()
    sequences = [{"tokens": row, "labels": row} for row in table["input_ids"].to_pylist()]
    theirs = PackedDataset(sequences, max_seq_len=MAX_LENGTH, padding_idx=0, split_across_pack=False)
    ours = PackedLoader(
        table, MAX_LENGTH, layout="torchtune", strategy="in_order", window=0, pad_token_id=0, device=None
    )
    assert len(ours) == len(theirs)
    for number, batch in enumerate(ours):
        expected = padded_collate_packed([theirs[number]])
        for name in ("tokens", "input_pos"):
            assert torch.equal(batch[name], expected[name]), name
        assert torch.equal(packed_block_causal_mask(batch["seq_lens"]), expected["mask"])


def test_the_picture_is_what_its_command_draws():
    assert example("draw_padding.py")["draw"]() == (PAGES.parent / "padding.svg").read_text("utf-8")


def test_every_trainer_has_a_page_that_includes_its_file():
    files = {file.name for file in (EXAMPLES / "trainers").glob("*.py")}
    pages = "".join(page.read_text("utf-8") for page in PAGES.glob("*.md"))
    assert {name for name in files if f'--8<-- "examples/trainers/{name}:' in pages} == files
