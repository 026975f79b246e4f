"""Weights that were read back."""

import numpy as np
import pytest

from llmkit.export.weights import largest_error

WEIGHTS = {"a": np.ones((2, 3)), "b": np.array([0.0, 0.0]), "c": np.array([3.0, 4.0])}


def test_the_largest_error_of_a_tensor_counts():
    assert largest_error(WEIGHTS, WEIGHTS) == 0
    found = {**WEIGHTS, "a": 1.5 * WEIGHTS["a"], "c": 1.1 * WEIGHTS["c"]}
    assert largest_error(found, WEIGHTS) == pytest.approx(0.5)


def test_small_tensors_are_compared_with_a_share_of_all_weights():
    size = np.sqrt((6 * 1 + 9 + 16) / 10)  # of all weights
    found = {**WEIGHTS, "b": np.array([0.001, -0.001])}
    assert largest_error(found, WEIGHTS) == pytest.approx(0.001 / (0.01 * size))
    biases = np.array([1e-5, -2e-5, 3e-6])  # in fp16 below the smallest normal number
    model = {**WEIGHTS, "biases": biases}
    assert largest_error({**model, "biases": biases.astype(np.float16)}, model) < 1e-4
    assert largest_error({**model, "biases": 2 * biases}, model) > 5e-4


def test_missing_and_reshaped_tensors_are_infinitely_wrong():
    assert largest_error({"a": WEIGHTS["a"]}, WEIGHTS) == np.inf
    assert largest_error({**WEIGHTS, "a": WEIGHTS["a"].T}, WEIGHTS) == np.inf
