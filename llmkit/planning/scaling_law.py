"""Loss as a function of model size and training tokens: a published law, and forecasts.

L(N, D) = E + A / N^alpha + B / D^beta (Hoffmann et al. 2022, arXiv 2203.15556) is the loss of a
model with N weights after D tokens; E is the irreducible loss.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from llmkit.planning.fit import fit_costs

HUBER = 1e-3  # delta of the Huber loss of log-loss errors, as in the paper
LEVEL = 0.9  # confidence level of intervals
REPEATED_VALUE = 15.39  # R*_D of Muennighoff et al. 2023 (arXiv 2305.16264): epochs after which
# repeated text adds little


@dataclass(frozen=True)
class Law:
    """The coefficients of L(N, D), in nats per token."""

    e: float
    a: float
    alpha: float
    b: float
    beta: float

    def loss(self, weights: float, tokens: float) -> float:
        return self.e + self.a / weights**self.alpha + self.b / tokens**self.beta


PUBLISHED = Law(1.69, 406.4, 0.34, 410.7, 0.28)
"""Coefficients from Hoffmann et al. 2022, approach 3, for web text and their tokenizer."""


def effective_tokens(unique: float, seen: float) -> float:
    """Number of unique tokens that are worth as much as `seen` tokens of repeated text.

    The value of each further repetition decays (Muennighoff et al. 2023).

    Args:
        unique: Number of tokens in one epoch.
        seen: Number of tokens in all epochs.
    """
    repeats = max(0.0, seen / unique - 1)
    worth = REPEATED_VALUE * (1 - math.exp(-repeats / REPEATED_VALUE))
    return min(seen, unique) + unique * worth


def fit_law(weights: Sequence[float], tokens: Sequence[float], losses: Sequence[float]) -> Law:
    """Fit the law to the final losses of several runs, each with a complete schedule.

    The exponents are found by a grid search that is refined several times. For each pair of
    exponents, iteratively reweighted least squares minimizes the Huber loss of the log-loss errors.

    Args:
        weights, tokens, losses: Model size, training tokens and final loss of each run; at least
            five runs of several sizes and lengths.
    """
    n, d, y = (np.asarray(values, float) for values in (weights, tokens, losses))
    n0, d0 = np.exp(np.log(n).mean()), np.exp(np.log(d).mean())  # exponents and factors decouple
    alphas = betas = np.linspace(0.05, 1.2, 24)
    best = (math.inf, 0.0, 0.0, np.zeros(3))
    for _ in range(6):
        for alpha in alphas:
            for beta in betas:
                amounts = np.stack([np.ones_like(y), (n / n0) ** -alpha, (d / d0) ** -beta], 1)
                error, numbers = _huber_fit(amounts, y)
                if error < best[0]:
                    best = (error, alpha, beta, numbers)
        step_a, step_b = (values[1] - values[0] for values in (alphas, betas))
        alphas = np.maximum(best[1] + step_a * np.linspace(-1, 1, 7), 1e-3)
        betas = np.maximum(best[2] + step_b * np.linspace(-1, 1, 7), 1e-3)
    _, alpha, beta, (e, a, b) = best
    return Law(float(e), float(a * n0**alpha), float(alpha), float(b * d0**beta), float(beta))


def _huber_fit(amounts: np.ndarray, losses: np.ndarray) -> tuple[float, np.ndarray]:
    """The minimum of the Huber loss, and the non-negative factors at which it is reached."""
    weights = np.ones_like(losses)
    for _ in range(5):
        factors = fit_costs(amounts, losses, weights)
        errors = np.abs(np.log(np.maximum(amounts @ factors, 1e-12) / losses))
        weights = np.sqrt(np.minimum(1, HUBER / np.maximum(errors, 1e-12)))
    huber = np.where(errors < HUBER, errors**2 / 2, HUBER * (errors - HUBER / 2))
    return float(huber.sum()), factors


# ---------------------------------------------------------------------------- forecasts


@dataclass(frozen=True)
class Trial:
    """A short run with a complete schedule."""

    num_steps: int
    loss: float
    """Final validation loss in nats per supervised token."""


@dataclass(frozen=True)
class Forecast:
    """Loss as a function of run length: samples of curves E + B / (D + S)^beta, equally plausible.

    D is the fraction of the full run's tokens. S accounts for pretraining: a model that was trained
    on other text improves slowly at first (Hernandez et al. 2021, arXiv 2102.01293).
    """

    e: np.ndarray
    b: np.ndarray
    start: np.ndarray
    """S of each curve."""
    beta: np.ndarray
    noise: np.ndarray
    """Standard deviation of the log loss between seeds, for each curve."""

    def at(self, fraction: float) -> tuple[float, float, float]:
        """(low, median, high) loss of a run with this fraction of the full run's tokens; low and
        high bound the central LEVEL interval."""
        curves = self.e + self.b * (fraction + self.start) ** -self.beta
        values = curves[:, None] * np.exp(self.noise[:, None] * NOISE_QUANTILES)
        ends = np.quantile(values, ((1 - LEVEL) / 2, 0.5, (1 + LEVEL) / 2))
        return tuple(map(float, ends))


# Midpoint quantiles of 15 equally likely parts of the standard normal distribution.
NOISE_QUANTILES = np.array(
    [-1.834, -1.282, -0.967, -0.728, -0.524, -0.341, -0.168, 0,
     0.168, 0.341, 0.524, 0.728, 0.967, 1.282, 1.834]
)  # fmt: skip
# Priors. Published exponents of the tokens range from 0.1 (Kaplan et al. 2020) to 0.37 (Hoffmann
# et al. 2022); the loss of short runs of small models falls faster, and losses near 0 vary more
# between seeds.
BETAS = np.geomspace(0.05, 16, 24)
TYPICAL_BETA, BETA_SPREAD = 0.6, 1.3  # median, and standard deviation of its logarithm
FLOORS = np.linspace(0, 0.99, 25)  # E as a fraction of the lowest loss
STARTS = np.array([0, 1 / 64, 1 / 16, 1 / 4, 1, 3])
START_CHANCES = np.array([0.25, 0.1, 0.15, 0.15, 0.15, 0.2])
NOISES = np.array([0.003, 0.01, 0.03, 0.1, 0.2])
TYPICAL_NOISE, NOISE_SPREAD = 0.006, 1.3
UNTUNED_NOISE = 0.1  # standard deviation of the log loss at D = 0, where the curve is a rough guide
NO_START_DENSITY = 0.4  # density of any log loss at D = 0 if S = 0, where the curve is infinite
NUM_CURVES = 3000  # samples of the posterior
NUM_B = 7  # values of B around the best one for each combination of the other parameters


def forecast(
    fractions: Sequence[float], losses: Sequence[float], untuned: float | None = None
) -> Forecast:
    """Forecast the loss of a long run from short trials.

    A few trials do not determine exponent, floor, start and noise, so these have priors, and the
    forecast is a sample of their posterior distribution instead of one fitted curve.

    Args:
        fractions: Tokens of each trial as a fraction of the full run's tokens.
        losses: Final loss of each trial.
        untuned: Loss before training.
    """
    x, y = np.asarray(fractions, float), np.log(losses)
    floors = FLOORS * math.exp(y.min())
    grids = np.meshgrid(floors, BETAS, STARTS, NOISES, indexing="ij")
    e, beta, start, noise = (grid.ravel() for grid in grids)
    shape = (x[None] + start[:, None]) ** -beta[:, None]  # (curves, trials)
    above_floor = np.exp(y)[None] - e[:, None]
    middle = (shape * above_floor).sum(1) / (shape**2).sum(1)
    # B varies around its best value by as much as the noise allows.
    spread = np.exp(y).mean() * noise / np.sqrt((shape**2).sum(1))
    b = np.maximum(middle[:, None] + spread[:, None] * np.linspace(-2.5, 2.5, NUM_B), 1e-12)
    predicted = np.log(e[:, None, None] + b[:, :, None] * shape[:, None])
    errors = (y - predicted) / noise[:, None, None]
    log_weight = -0.5 * (errors**2).sum(2) - len(y) * np.log(noise)[:, None]
    # The grid of B is as wide as the noise. The prior of B is flat in the loss at the trials: one
    # that is flat in the loss of the full run would favor slow curves.
    log_weight += np.log(noise)[:, None]
    log_weight -= 0.5 * ((np.log(beta / TYPICAL_BETA) / BETA_SPREAD) ** 2)[:, None]
    log_weight -= 0.5 * ((np.log(noise / TYPICAL_NOISE) / NOISE_SPREAD) ** 2)[:, None]
    log_weight += np.log(START_CHANCES)[np.searchsorted(STARTS, start)][:, None]
    if untuned is not None:
        with np.errstate(divide="ignore"):
            at_zero = np.log(e[:, None] + b * (start**-beta)[:, None])
        error = (math.log(untuned) - at_zero) / UNTUNED_NOISE
        density = -0.5 * error**2 - math.log(UNTUNED_NOISE * math.sqrt(2 * math.pi))
        log_weight += np.where(start[:, None] > 0, density, math.log(NO_START_DENSITY))
    weight = np.exp(log_weight - log_weight.max()).ravel()
    # Systematic resampling: curves in proportion to their weights, without random numbers.
    marks = (np.arange(NUM_CURVES) + 0.5) / NUM_CURVES * weight.sum()
    kept = np.searchsorted(np.cumsum(weight), marks)
    e, start, beta, noise = (np.repeat(each, NUM_B)[kept] for each in (e, start, beta, noise))
    return Forecast(e, b.ravel()[kept], start, beta, noise)
