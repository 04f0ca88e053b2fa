"""`packsort.CostModel`, against operations counted one matrix at a time."""

from __future__ import annotations

import inspect
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import packsort
from packsort import CostModel
from packsort.balance.costs import LLAMA_3_8B


def operations(shapes: list[tuple[int, int]], channels: int, layers: int, length: int) -> float:
    """Count operations, forward and backward, of matrices (inputs, outputs) and of causal attention."""
    products = [2 * length * rows * columns for rows, columns in shapes]
    # A pair of tokens for each of the two products, queries with keys and weights with values; half are masked.
    products += layers * [2 * length * length * channels / 2] * 2
    return 3 * sum(products)


@pytest.mark.parametrize("length", [1, 1000, 131_072])
def test_operations_are_those_of_the_matrices(length: int) -> None:
    layer = [(4096, 4096), (4096, 1024), (4096, 1024), (4096, 4096), (4096, 14336), (4096, 14336), (14336, 4096)]
    expected = operations(32 * layer + [(4096, 128256)], 4096, 32, length)
    assert float(LLAMA_3_8B.of(length)) == pytest.approx(expected, rel=1e-12)


def test_heads_of_their_own_width_are_counted_as_such() -> None:
    layer = [(1024, 2048), (1024, 1024), (1024, 1024), (2048, 1024), (1024, 3072), (1024, 3072), (3072, 1024)]
    model = CostModel.from_model(1024, 28, 16, intermediate_size=3072, num_key_value_heads=8, head_dim=128)
    assert float(model.of(5000)) == pytest.approx(operations(28 * layer, 2048, 28, 5000), rel=1e-12)


def test_what_is_not_given_is_the_classic_transformer() -> None:
    model = CostModel.from_model(768, 12, 12)
    assert model.linear == pytest.approx(6 * 12 * 12 * 768**2)  # 12 * layers * hidden ** 2 weights (Kaplan et al.)
    assert model.quadratic == 6 * 12 * 768


def test_a_sequence_costs_more_than_its_parts_and_linear_cost_as_much() -> None:
    assert LLAMA_3_8B.of(4096) > 2 * LLAMA_3_8B.of(2048)
    assert CostModel(2, 0).of([[1, 2], [3, 4]]).tolist() == [[2, 4], [6, 8]]
    assert CostModel(1, 1).of(np.array([2**31 - 1], np.int32)).tolist() == [float(2**31 - 1 + (2**31 - 1) ** 2)]
    assert CostModel(1, 1).of([]).dtype == np.float64


def test_equal_models_are_equal() -> None:
    assert CostModel(1, 2) == CostModel(np.float32(1), 2.0)
    assert len({CostModel(1, 2), CostModel(1.0, 2.0), CostModel(2, 1)}) == 2


@pytest.mark.parametrize(
    ("linear", "quadratic", "message"),
    [
        (-1, 1, "linear must be between 0 and 1e+200, got -1"),
        (1, -0.5, "quadratic must be between 0 and 1e+200, got -0.5"),
        (float("nan"), 1, "linear must be between 0 and 1e+200, got nan"),
        (1, float("inf"), "quadratic must be between 0 and 1e+200, got inf"),
        (1e300, 1, "linear must be between 0 and 1e+200, got 1e+300"),
        ("7", 1, "linear must be a number, got '7'"),
        (1, None, "quadratic must be a number, got None"),
        (0, 0.0, "linear and quadratic must not both be 0"),
    ],
)
def test_coefficients_that_are_none_are_refused(linear: Any, quadratic: Any, message: str) -> None:
    with pytest.raises(packsort.OptionError) as caught:
        CostModel(linear, quadratic)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"hidden_size": 0}, "hidden_size must be at least 1, got 0"),
        ({"num_layers": 2.5}, "num_layers must be an integer, got 2.5"),
        ({"vocab_size": -1}, "vocab_size must be at least 1, got -1"),
        ({"num_key_value_heads": 3}, "num_key_value_heads must divide num_attention_heads, got 3 and 4"),
        (
            {"num_attention_heads": 7},
            "num_attention_heads must divide hidden_size unless head_dim is given, got 7 and 64",
        ),
    ],
)
def test_sizes_that_are_none_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(packsort.OptionError) as caught:
        CostModel.from_model(**({"hidden_size": 64, "num_layers": 2, "num_attention_heads": 4} | options))
    assert str(caught.value) == message


QWEN = {
    "hidden_size": 1024,
    "num_hidden_layers": 28,
    "num_attention_heads": 16,
    "num_key_value_heads": 8,
    "head_dim": 128,
    "intermediate_size": 3072,
    "vocab_size": 151_936,
    "tie_word_embeddings": True,
}
GPT_2 = {"n_embd": 768, "n_layer": 12, "n_head": 12, "n_inner": None, "vocab_size": 50_257}


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (
            QWEN,
            CostModel.from_model(
                *(1024, 28, 16), num_key_value_heads=8, head_dim=128, intermediate_size=3072, vocab_size=151_936
            ),
        ),
        (GPT_2, CostModel.from_model(768, 12, 12, vocab_size=50_257)),
        ({"text_config": QWEN, "vision_config": {"hidden_size": 99}}, CostModel.from_config(QWEN)),
        ({"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}, CostModel.from_model(64, 2, 4)),
    ],
    ids=["qwen", "gpt2", "text_config", "least"],
)
def test_a_config_costs_what_its_sizes_cost(tmp_path: Path, config: dict[str, Any], expected: CostModel) -> None:
    (tmp_path / "config.json").write_text(json.dumps(config))
    for form in (config, tmp_path, str(tmp_path), tmp_path / "config.json"):
        assert CostModel.from_config(form) == expected
        compared = packsort.compare([5, 3], 8, model=form).model
        assert (compared.linear, compared.quadratic) == (expected.linear, expected.quadratic)


def test_configs_of_transformers_are_taken() -> None:
    import transformers

    llama = transformers.LlamaConfig(
        hidden_size=4096,
        num_hidden_layers=32,
        num_attention_heads=32,
        num_key_value_heads=8,
        intermediate_size=14336,
        vocab_size=128_256,
    )
    assert CostModel.from_config(llama) == LLAMA_3_8B
    assert CostModel.from_config(transformers.GPT2Config()) == CostModel.from_config(GPT_2)
    found = packsort.compare([5, 3], 8, model=llama).model
    assert found.parameters == packsort.compare([5, 3], 8, model="8B").model.parameters


def test_compare_and_schedule_have_one_cost() -> None:
    default = inspect.signature(packsort.schedule).parameters["cost"].default
    for model in ("8B", "8b", default):
        compared = packsort.compare([5, 3], 8, model=model).model
        assert CostModel(compared.linear, compared.quadratic) == default == LLAMA_3_8B
    assert inspect.signature(packsort.compare).parameters["model"].default == "8B"


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({}, "the config lacks `hidden_size`; needed are `hidden_size`, `num_hidden_layers`, `num_attention_heads`"),
        (
            {"num_experts": 64},
            "the model is a mixture of experts (`num_experts` is 64), whose cost its config does not",
        ),
        (3, "config must be a transformers config, a mapping, or a folder or file with a config.json, got 3"),
        ({**QWEN, "num_attention_heads": True}, "num_attention_heads must be an integer, got True"),
    ],
)
def test_what_is_no_config_is_refused(config: Any, message: str) -> None:
    with pytest.raises(packsort.OptionError) as caught:
        CostModel.from_config(config)
    assert str(caught.value).startswith(message)


def test_files_that_are_no_config_are_refused(tmp_path: Path) -> None:
    with pytest.raises(packsort.OptionError, match=r"is a folder without a config\.json"):
        CostModel.from_config(tmp_path)
    for text, message in (("{", "is no config.json that can be read"), ("[]", "must hold a JSON object, got list")):
        (tmp_path / "config.json").write_text(text)
        with pytest.raises(packsort.OptionError, match=message):
            CostModel.from_config(tmp_path)
