"""The weights of an export, read back, beside those of the model."""

from collections.abc import Mapping

import numpy as np


def largest_error(found: Mapping[str, np.ndarray], expected: Mapping[str, np.ndarray]) -> float:
    """The largest root mean square of the differences of a tensor, as a share of its own; infinite
    if names or shapes differ."""
    if found.keys() != expected.keys():
        return np.inf
    return max(error_of(found[name], expected[name]) for name in expected)


def error_of(found: np.ndarray, expected: np.ndarray) -> float:
    """That of one tensor."""
    if found.shape != expected.shape:
        return np.inf
    difference = np.square(found.astype(float) - expected).mean()
    size = np.square(expected.astype(float)).mean()
    return float(np.sqrt(difference / size)) if size else float(np.sqrt(difference))
