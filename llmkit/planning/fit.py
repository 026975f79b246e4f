"""Fit a cost model to measured seconds."""

from itertools import combinations

import numpy as np


def fit_costs(amounts: np.ndarray, seconds: np.ndarray) -> np.ndarray:
    """Fit non-negative costs (K,) so that `amounts @ costs` is close to `seconds`.

    Minimizes the squared relative errors, so that a short measurement counts as much as a long one.
    Least squares is solved for every subset of the costs, with the others set to 0; the best
    solution without a negative cost is returned. If amounts do not vary independently, it is the
    solution of smallest norm.

    Args:
        amounts: Quantities that each measurement pays for, (N, K), such as steps and FLOPs.
        seconds: Measured seconds, (N,), all positive.
    """
    scale = np.maximum(amounts.max(0), 1e-300)
    relative = amounts / scale / seconds[:, None]
    num_costs, ones = amounts.shape[1], np.ones(len(seconds))
    best, smallest = np.zeros(num_costs), np.inf
    for size in range(1, num_costs + 1):
        for kept in map(list, combinations(range(num_costs), size)):
            costs = np.linalg.lstsq(relative[:, kept], ones, rcond=1e-6)[0]
            error = float(((relative[:, kept] @ costs - 1) ** 2).sum())
            if (costs >= 0).all() and error < smallest - 1e-12:
                best, smallest = np.zeros(num_costs), error
                best[kept] = costs
    return best / scale
