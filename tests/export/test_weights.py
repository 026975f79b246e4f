"""Weights that were read back."""

import numpy as np
import pytest

from llmkit.export.weights import largest_error

WEIGHTS = {"a": np.ones((2, 3)), "b": np.array([0.0, 0.0]), "c": np.array([3.0, 4.0])}


def test_the_largest_error_of_a_tensor_counts():
    assert largest_error(WEIGHTS, WEIGHTS) == 0
    found = {**WEIGHTS, "a": 1.5 * WEIGHTS["a"], "c": 1.1 * WEIGHTS["c"]}
    assert largest_error(found, WEIGHTS) == pytest.approx(0.5)
    assert largest_error({**WEIGHTS, "b": np.array([0.3, 0.3])}, WEIGHTS) == pytest.approx(0.3)


def test_missing_and_reshaped_tensors_are_infinitely_wrong():
    assert largest_error({"a": WEIGHTS["a"]}, WEIGHTS) == np.inf
    assert largest_error({**WEIGHTS, "a": WEIGHTS["a"].T}, WEIGHTS) == np.inf
