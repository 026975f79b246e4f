"""Fit a cost model to measured seconds."""

from itertools import combinations

import numpy as np

NUM_REPEATS = 3  # more hardly change the weights
MIN_SECONDS = 1e-9


def fit_costs(amounts: np.ndarray, seconds: np.ndarray) -> np.ndarray:
    """Fit non-negative costs (K,) so that `amounts @ costs` is close to `seconds`.

    Minimizes the squared errors relative to the fitted seconds, so that a short measurement counts
    as much as a long one, and equal amounts are fitted by their mean. (Errors relative to the
    measured seconds count slow measurements less: the fit is then too low by 2 s^2 for noise with a
    relative standard deviation of s.) Since the fit determines the weights, it is repeated.

    Args:
        amounts: Quantities that each measurement pays for, (N, K), such as steps and FLOPs.
        seconds: Measured seconds, (N,), all positive.
    """
    costs = fit_weighted(amounts, seconds, 1 / seconds)
    for _ in range(NUM_REPEATS):
        costs = fit_weighted(amounts, seconds, 1 / np.maximum(amounts @ costs, MIN_SECONDS))
    return costs


def fit_weighted(amounts: np.ndarray, seconds: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Non-negative costs (K,) that minimize the squares of the errors multiplied by `weights` (N,).

    Least squares is solved for every subset of the costs, with the others set to 0; the best
    solution without a negative cost is returned. Of equally good ones, such as all for a single
    measurement, it is one with few costs and the last ones: what was timed then costs in proportion
    to the last amount.
    """
    scale = np.maximum(amounts.max(0), 1e-300)
    weighted, targets = amounts / scale * weights[:, None], seconds * weights
    best, smallest = np.zeros(amounts.shape[1]), np.inf
    for size in range(1, amounts.shape[1] + 1):
        for kept in map(list, combinations(reversed(range(amounts.shape[1])), size)):
            costs = np.linalg.lstsq(weighted[:, kept], targets, rcond=1e-6)[0]
            error = float(((weighted[:, kept] @ costs - targets) ** 2).sum())
            if (costs >= 0).all() and error < smallest - 1e-12:
                best, smallest = np.zeros(len(best)), error
                best[kept] = costs
    return best / scale
