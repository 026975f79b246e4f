"""Seconds as a sum of costs, fitted to measurements."""

from itertools import combinations

import numpy as np


def fit_costs(
    amounts: np.ndarray, seconds: np.ndarray, weights: np.ndarray | None = None
) -> np.ndarray:
    """The costs (K,), none of them negative, with which `amounts @ costs` is close to `seconds`.

    Least squares of the relative errors, so that a short measurement counts as much as a long one:
    the best of the solutions that set some costs to 0 and have no negative one. Ambiguous costs, of
    amounts that do not vary independently, come out as the solution of smallest norm.

    Args:
        amounts: (N, K): how often each measurement has what a cost is paid for.
        seconds: (N,), each above 0.
        weights: (N,): factor of each relative error; default: 1.
    """
    weights = np.ones(len(seconds)) if weights is None else weights
    scale = np.maximum(amounts.max(0), 1e-300)
    relative = amounts / scale * (weights / seconds)[:, None]
    num_costs = amounts.shape[1]
    best, smallest = np.zeros(num_costs), np.inf
    for size in range(1, num_costs + 1):
        for kept in map(list, combinations(range(num_costs), size)):
            costs = np.linalg.lstsq(relative[:, kept], weights, rcond=1e-6)[0]
            error = float(((relative[:, kept] @ costs - weights) ** 2).sum())
            if (costs >= 0).all() and error < smallest - 1e-12:
                best, smallest = np.zeros(num_costs), error
                best[kept] = costs
    return best / scale
