"""`packsort check` on folders that hold no more than a model's configuration."""

from __future__ import annotations

import json

import pytest
from transformers import BertConfig, CLIPConfig, LlamaConfig, OPTConfig

from packed_rows import packed
from tiny_models import llama

LARGE = {"hidden_size": 4096, "num_hidden_layers": 32, "num_attention_heads": 32, "vocab_size": 128_256}


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    return packed(tmp_path_factory.mktemp("check"))


def test_a_configuration_is_enough(run, shards, tmp_path):
    LlamaConfig(**LARGE, intermediate_size=14_336, num_key_value_heads=8).save_pretrained(tmp_path)
    done = run("check", tmp_path, shards)
    assert done.returncode == 0, done.stderr
    assert (
        "sequences of a batch do not see each other in LlamaForCausalLM (sdpa), and alone they give the" in done.stdout
    )
    assert f"tried with two layers and random weights, built as `{tmp_path}` says" in done.stdout


def test_a_leaking_model_fails_and_is_named(run, shards, tmp_path):
    OPTConfig(**LARGE, ffn_dim=16_384).save_pretrained(tmp_path)
    done = run("check", tmp_path, shards, "--attention", "eager", "--layout", "rows")
    assert done.returncode == 1
    assert (
        "error: sequences see each other in OPTForCausalLM (eager): `model.decoder.layers.0.self_attn`" in done.stderr
    )


def test_results_for_machines_are_identifiers(run, shards, tmp_path):
    OPTConfig(**LARGE, ffn_dim=16_384).save_pretrained(tmp_path)
    done = run("check", tmp_path, shards, "--json", "--device", "cpu", "--no-seq-idx")
    found = json.loads(done.stdout)
    assert (done.returncode, found["ok"], found["cause"]) == (1, False, "attention")
    assert found["leak"]["module_class"] == "OPTAttention"


def test_weights_are_loaded_when_asked_for(run, shards, tmp_path):
    llama(97).save_pretrained(tmp_path)
    done = run("check", tmp_path, shards, "--weights", "--json", "--attention", "packsort_varlen")
    found = json.loads(done.stdout)
    assert (done.returncode, found["weights"], found["attention"]) == (0, True, "packsort_varlen")


def test_models_that_cannot_be_built_are_named(run, shards, tmp_path):
    assert "error: no model folder `./nowhere`" in run("check", "./nowhere", shards).stderr
    assert "has no `config.json`" in run("check", tmp_path, shards).stderr
    CLIPConfig().save_pretrained(tmp_path)
    done = run("check", tmp_path, shards)
    assert done.returncode == 1
    assert f"error: model `{tmp_path}` cannot be built small: Unrecognized configuration class" in done.stderr


def test_encoders_are_named(run, shards, tmp_path):
    BertConfig(num_hidden_layers=12).save_pretrained(tmp_path)
    assert "BertSelfAttention) attends across sequences" in run("check", tmp_path, shards).stderr
