"""The weights of an export, read back, compared with those of the model."""

from collections.abc import Mapping

import numpy as np

# The error of a tensor is relative to its root mean square, or to this fraction of the root mean
# square of all weights if that is larger: in tensors near zero, such as the biases of a model that
# has hardly been trained, rounding causes large relative errors, which matter less.
MIN_RELATIVE_SIZE = 0.01


def largest_error(found: Mapping[str, np.ndarray], expected: Mapping[str, np.ndarray]) -> float:
    """The root mean square error of the worst tensor, relative to its root mean square; infinite if
    names or shapes differ.

    Args:
        found: The weights of the export, by name.
        expected: The weights of the model, by name.
    """
    if found.keys() != expected.keys():
        return np.inf
    smallest = MIN_RELATIVE_SIZE * root_mean_square(*expected.values())
    return max(error_of(found[name], expected[name], smallest) for name in expected)


def error_of(found: np.ndarray, expected: np.ndarray, smallest: float) -> float:
    """The error of one tensor, relative to its root mean square or to `smallest`."""
    if found.shape != expected.shape:
        return np.inf
    return root_mean_square(found - expected.astype(float)) / max(
        root_mean_square(expected), smallest
    )


def root_mean_square(*tensors: np.ndarray) -> float:
    """The root mean square of the elements of all tensors."""
    total = sum(np.square(tensor.astype(float)).sum() for tensor in tensors)
    return float(np.sqrt(total / sum(tensor.size for tensor in tensors)))
