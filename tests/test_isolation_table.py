"""The table of docs/isolation.md is what its command gives."""

from __future__ import annotations

import pytest
import transformers

from isolation_table import CLASSES, PAGE, rows_of, table
from packsort.hf._small_models import small_config

same_version = pytest.mark.skipif(
    f"transformers {transformers.__version__}," not in PAGE.read_text(),
    reason="docs/isolation.md is of another version of transformers",
)


@same_version
def test_every_causal_class_is_in_the_table():
    assert sorted(rows_of(PAGE.read_text())) == sorted(CLASSES)


@same_version
@pytest.mark.parametrize("model_type", ["llama", "mistral", "gpt_oss", "opt", "bamba"])
def test_rows_are_what_the_command_gives(model_type):
    (found,) = table([model_type])
    assert found == rows_of(PAGE.read_text())[model_type]


def test_small_configurations_keep_each_kind_of_layer():
    kinds = ["sliding_attention", "sliding_attention", "full_attention"] * 4
    config = transformers.Gemma3TextConfig(num_hidden_layers=12, layer_types=kinds, sliding_window=512)
    small = small_config(config)
    assert small.layer_types == ["sliding_attention", "full_attention"]
    assert (small.num_hidden_layers, small.sliding_window, small.vocab_size) == (2, 8, 128)
    assert config.num_hidden_layers == 12
    assert small_config(transformers.LlamaConfig()).num_key_value_heads == 4
