"""Block masks of a model's configuration are those that transformers makes for each kind of layers."""

from __future__ import annotations

import inspect
import pickle
import re
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest
import torch
import transformers
from torch.nn.attention.flex_attention import create_mask, flex_attention
from transformers import masking_utils
from transformers.integrations import flex_attention as integration

import packsort
from packs import make_pack
from packsort.torch import Batcher, PackedCollator, PackedLoader, PackedStream, check_isolation, dense_masks

SHAPE = {"vocab_size": 96, "hidden_size": 64, "intermediate_size": 64, "num_hidden_layers": 2}
SHAPE |= {"num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16, "initializer_range": 0.3}
SHAPE |= {"pad_token_id": 0, "use_cache": False}
PACKS = [make_pack([20, 3, 12], [0, 1, 2], labels=False), make_pack([9, 30], [3, 4], labels=False, seed=1)]
TWO_KINDS = {"layer_types": ["sliding_attention", "full_attention"], "sliding_window": 6}
MODELS = {
    "Llama": {},
    "Mistral": {"sliding_window": 6},
    "Phi3": {"sliding_window": 6},
    "Qwen2": {"use_sliding_window": True, "sliding_window": 6, "max_window_layers": 1},
    "Qwen3Moe": {"use_sliding_window": True, "sliding_window": 6, "num_experts": 2, "moe_intermediate_size": 32},
    "Gemma2": TWO_KINDS,
    "Gemma3Text": TWO_KINDS,
    "Cohere2": TWO_KINDS,
    "GptOss": TWO_KINDS | {"num_local_experts": 2, "num_experts_per_tok": 1},
    "Llama4Text": {"attention_chunk_size": 6, "layer_types": ["chunked_attention", "full_attention"]},
}


def configuration(name):
    return getattr(transformers, f"{name}Config")(**SHAPE | MODELS[name])


def masks_of_transformers(config, embeddings, positions):
    """The masks that transformers makes; its arguments between embeddings and positions have changed with versions."""
    arguments = dict.fromkeys(inspect.signature(masking_utils.create_masks_for_generate).parameters)
    named = {name: None for name in arguments if name in ("attention_mask", "cache", "past_key_values")}
    if "cache_position" in arguments:
        named["cache_position"] = torch.arange(embeddings.shape[1])
    first = next(name for name in arguments if name.endswith("embeds"))
    return masking_utils.create_masks_for_generate(config, **{first: embeddings}, position_ids=positions, **named)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("layout", ["flat", "rows"])
def test_masks_are_those_that_transformers_makes_of_the_configuration(name, layout):
    config = configuration(name)
    config._attn_implementation = "sdpa"  # whose masks are dense
    batch = Batcher(layout, 40, block_mask=config)(PACKS)
    rows, tokens = batch["input_ids"].shape
    expected = masks_of_transformers(config, torch.zeros(rows, tokens, 1), batch["position_ids"])
    found = batch["attention_mask"]
    for kind, mask in expected.items() if isinstance(expected, dict) else [("", expected)]:
        one = found[kind] if isinstance(found, dict) else found
        assert torch.equal(create_mask(one.mask_mod, rows, None, tokens, tokens, device="cpu"), mask)
    if isinstance(found, dict):
        assert found.keys() == expected.keys()
        assert len(found) > 1


# Attention sinks of GPT-OSS are refused on the CPU.
@pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile:UserWarning")
@pytest.mark.parametrize("name", ["Mistral", "Qwen2", "Gemma3Text", "Cohere2", "Llama4Text"])
def test_models_with_windows_give_in_packs_what_they_give_alone(name, monkeypatch):
    monkeypatch.setattr(
        integration, "compile_friendly_flex_attention", lambda *args, training=False, **kw: flex_attention(*args, **kw)
    )
    torch.manual_seed(0)
    config = configuration(name)
    kind = {"Gemma3Text": "Gemma3"}.get(name, name.removesuffix("Text"))
    model = getattr(transformers, f"{kind}ForCausalLM")._from_config(config, attn_implementation="eager").eval()
    with torch.no_grad():
        sequences = [one for pack in PACKS for one in np.split(pack["input_ids"], np.cumsum(pack["seq_lengths"])[:-1])]
        alone = torch.cat([model(torch.from_numpy(one).long()[None]).logits[0] for one in sequences])
        model.set_attn_implementation("flex_attention")
        batch = Batcher(max_length=40, block_mask=model)(PACKS)
        packed = model(**batch).logits[0]
        lost = model(**batch | {"attention_mask": Batcher(max_length=40, block_mask="full")(PACKS)["attention_mask"]})
    torch.testing.assert_close(packed, alone, rtol=1e-3, atol=1e-3)
    assert (lost.logits[0] - alone).abs().max() > 0.1


def model_of(name, attention, kind=torch.float32, **config):
    made = getattr(transformers, f"{name}Config")(**SHAPE | MODELS.get(name, {}) | config)
    torch.manual_seed(0)
    model = getattr(transformers, f"{name}ForCausalLM")._from_config(made, attn_implementation=attention)
    return model.eval().to(kind)


@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("name", ["Llama", "Mistral", "Qwen2", "Cohere2"])
def test_dense_masks_are_those_that_transformers_makes(name, attention, kind):
    model = model_of(name, attention, kind)
    for layout in ("flat", "rows"):
        positions = Batcher(layout, 40)(PACKS)["position_ids"]
        embeddings = torch.zeros(*positions.shape, 1, dtype=kind)
        expected = masks_of_transformers(model.config, embeddings, positions)
        found = dense_masks(positions, model)
        assert isinstance(found, dict) == isinstance(expected, dict)
        pairs = [(found[one], expected[one]) for one in expected] if isinstance(found, dict) else [(found, expected)]
        for one, other in pairs:
            assert one.dtype == other.dtype
            assert torch.equal(one, other)


@pytest.mark.parametrize(
    ("name", "attention", "config"),
    [("OPT", "sdpa", {"ffn_dim": 64, "word_embed_proj_dim": 64}), ("GptOss", "eager", {})],
)
def test_dense_masks_keep_sequences_apart_in_models_that_ignore_positions(name, attention, config):
    model = model_of(name, attention, **config)
    batch = Batcher(max_length=40, seq_idx=False)(PACKS)
    found = check_isolation(model, batch)
    assert not found
    assert found.remedy == "document_mask"
    assert "batch['attention_mask'] = dense_masks(batch['position_ids'], model)" in str(found)
    batch["attention_mask"] = dense_masks(batch["position_ids"], model)
    assert check_isolation(model, batch)


def test_dense_masks_are_for_attention_that_takes_them():
    model = model_of("Llama", "flex_attention")
    with pytest.raises(packsort.OptionError, match="model must have sdpa or eager attention, got 'flex_att"):
        dense_masks(torch.tensor([[0, 1]]), model)


def test_layers_without_attention_have_no_mask():
    config = transformers.Lfm2Config(**SHAPE, layer_types=["conv", "full_attention"])
    found = Batcher(max_length=40, block_mask=config)(PACKS)["attention_mask"]
    assert found["conv"] is None
    assert found["full_attention"].seq_lengths == (74, 74)
    hybrid = SimpleNamespace(model_type="both", layer_types=["hybrid"])
    assert Batcher(max_length=40, block_mask=hybrid)(PACKS)["attention_mask"].keys() == {
        "full_attention",
        "linear_attention",
    }


def test_true_says_that_windows_are_lost_and_full_does_not():
    table = pa.table({"input_ids": [[1, 2, 3], [4]]})
    doors = [
        lambda choice: Batcher(max_length=8, block_mask=choice),
        lambda choice: PackedCollator(max_length=8, block_mask=choice),
        lambda choice: PackedLoader(table, 8, block_mask=choice),
        lambda choice: PackedStream([[1, 2], [3]], 8, block_mask=choice),
    ]
    for door in doors:
        door("full")
        door(configuration("Mistral"))
        with pytest.warns(UserWarning, match="a sliding window is lost: pass block_mask=model.config") as said:
            door(True)
        assert len(said) == 1
        assert said[0].filename == __file__


def test_loaders_with_masks_of_a_model_can_be_pickled():
    table = pa.table({"input_ids": [[1, 2, 3], [4]]})
    loader = PackedLoader(table, 8, block_mask=configuration("Gemma2"), seed=None)
    (batch,) = pickle.loads(pickle.dumps(loader))
    assert batch["attention_mask"]["sliding_attention"].mask_mod.window == 6


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"block_mask": "fll"}, "block_mask must be True, False, 'full' or a model's configuration, got 'fll'"),
        ({"block_mask": 4096}, "block_mask must be True, False, 'full' or a model's configuration, got 4096"),
        (
            {"block_mask": SimpleNamespace(model_type="new", layer_types=["full_attention", "indexed_attention"])},
            "no mask is known for layers of kind 'indexed_attention', which model type 'new' has",
        ),
        (
            {"block_mask": SimpleNamespace(model_type="new", layer_types=["sliding_attention"])},
            "layers of kind 'sliding_attention' need `sliding_window` in the model's configuration",
        ),
        (
            {"block_mask": SimpleNamespace(model_type="mamba", layer_types=["linear_attention"])},
            "masks are for attention, and model type 'mamba' has no layer with any",
        ),
        (
            {"block_mask": configuration("Gemma2"), "layout": "torchtune"},
            "layout='torchtune' holds one mask for all layers, and the model has the kinds 'sliding_attention', 'full",
        ),
        ({"block_mask": configuration("Mistral"), "layout": "megatron"}, "block_mask does not go with layout='mega"),
    ],
)
def test_masks_that_cannot_be_made_are_refused(options, message):
    with pytest.raises(packsort.OptionError, match=re.escape(message)):
        Batcher(**{"max_length": 8, **options})
