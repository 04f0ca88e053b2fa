"""`packsort.CostModel`: operations counted one matrix at a time, and coefficients that are none."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import packsort
from packsort import CostModel
from packsort.balance.costs import LLAMA_3_8B


def operations(shapes: list[tuple[int, int]], channels: int, layers: int, length: int) -> float:
    """Forward and backward, of matrices (inputs, outputs) and of causal attention over `length` tokens."""
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
        (-1, 1, "linear is -1, allowed is 0 to 1e+200"),
        (1, -0.5, "quadratic is -0.5, allowed is 0 to 1e+200"),
        (float("nan"), 1, "linear is nan, allowed is 0 to 1e+200"),
        (1, float("inf"), "quadratic is inf, allowed is 0 to 1e+200"),
        (1e300, 1, "linear is 1e+300, allowed is 0 to 1e+200"),
        ("7", 1, "linear is '7', allowed is a number from 0 to 1e+200"),
        (1, None, "quadratic is None, allowed is a number from 0 to 1e+200"),
        (0, 0.0, "linear and quadratic are both 0, allowed is one of them above 0"),
    ],
)
def test_coefficients_that_are_none_are_refused(linear: Any, quadratic: Any, message: str) -> None:
    with pytest.raises(packsort.OptionError) as caught:
        CostModel(linear, quadratic)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"hidden_size": 0}, "hidden_size is 0, allowed is 1 and more"),
        ({"num_layers": 2.5}, "num_layers is 2.5, allowed is an integer"),
        ({"vocab_size": -1}, "vocab_size is -1, allowed is 1 and more"),
        (
            {"num_key_value_heads": 3},
            "num_key_value_heads is 3, allowed is what divides num_attention_heads, which is 4",
        ),
        (
            {"num_attention_heads": 7},
            "num_attention_heads is 7, allowed is what divides hidden_size, which is 64, "
            "or any number where head_dim is given",
        ),
    ],
)
def test_sizes_that_are_none_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(packsort.OptionError) as caught:
        CostModel.from_model(**({"hidden_size": 64, "num_layers": 2, "num_attention_heads": 4} | options))
    assert str(caught.value) == message
