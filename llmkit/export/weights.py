"""The weights of an export, read back, compared with those of the model."""

from collections.abc import Mapping

import numpy as np

# Tensors smaller than this share of all weights are compared with that: numbers near zero, such as
# the biases of a hardly trained model, lose more to rounding, and matter less.
SMALL = 0.01


def largest_error(found: Mapping[str, np.ndarray], expected: Mapping[str, np.ndarray]) -> float:
    """The largest root mean square error of a tensor relative to its root mean square; infinite if
    names or shapes differ."""
    if found.keys() != expected.keys():
        return np.inf
    smallest = SMALL * root_mean_square(*expected.values())
    return max(error_of(found[name], expected[name], smallest) for name in expected)


def error_of(found: np.ndarray, expected: np.ndarray, smallest: float) -> float:
    """The error of one tensor, relative to its root mean square or to `smallest`."""
    if found.shape != expected.shape:
        return np.inf
    return root_mean_square(found - expected.astype(float)) / max(
        root_mean_square(expected), smallest
    )


def root_mean_square(*tensors: np.ndarray) -> float:
    """The root mean square of all numbers."""
    total = sum(np.square(tensor.astype(float)).sum() for tensor in tensors)
    return float(np.sqrt(total / sum(tensor.size for tensor in tensors)))
