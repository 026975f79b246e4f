"""Loss as a function of model size and training tokens: a published law, and forecasts.

L(N, D) = E + A / N^alpha + B / D^beta (Hoffmann et al. 2022, arXiv 2203.15556) is the loss of a
model with N weights after D tokens; E is the irreducible loss.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

REPEATED_VALUE = 15.39  # R*_D of Muennighoff et al. 2023 (arXiv 2305.16264): epochs after which
# repeated text adds little


@dataclass(frozen=True)
class ScalingLaw:
    """The coefficients of L(N, D), in nats per token."""

    e: float
    a: float
    alpha: float
    b: float
    beta: float

    def loss(self, weights: float, tokens: float) -> float:
        return self.e + self.a / weights**self.alpha + self.b / tokens**self.beta


CHINCHILLA = ScalingLaw(1.69, 406.4, 0.34, 410.7, 0.28)
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


# ---------------------------------------------------------------------------- forecasts

CONFIDENCE_LEVEL = 0.9
# A few trials do not determine the floor E. With a probability of NO_FLOOR_CHANCE, it is 0;
# otherwise, all values up to the lowest loss of the trials are equally likely.
NO_FLOOR_CHANCE = 0.25
NUM_FLOORS = 40
FLOORS = np.concatenate(
    (np.zeros(round(NUM_FLOORS * NO_FLOOR_CHANCE / (1 - NO_FLOOR_CHANCE))),
     (np.arange(NUM_FLOORS) + 0.5) / NUM_FLOORS)
)  # fmt: skip
# Loss curves of small models on small tasks do not follow the law closely. These two were set on
# 12 runs; docs/plan.md has the coverage on other runs.
EXPONENT_SPREAD = 0.3  # standard deviation of the logarithm of the exponent
DRIFT = 0.01  # standard deviation in nats per token for each doubling of the run length
# Midpoint quantiles of 15 equally likely parts of the standard normal distribution.
NORMAL_QUANTILES = np.array([NormalDist().inv_cdf((part + 0.5) / 15) for part in range(15)])
MIN_LOSS = 1e-6  # in place of a loss of 0, whose logarithm is infinite


@dataclass(frozen=True)
class Trial:
    """A short run with a complete schedule."""

    num_steps: int
    loss: float
    """Final validation loss in nats per supervised token."""


@dataclass(frozen=True)
class Forecast:
    """Loss by run length: curves E + B / D^beta through the longest trial, equally plausible.

    D is the fraction of the full run's tokens.
    """

    fraction: float
    """D of the longest trial."""
    loss: float
    """Loss of the longest trial."""
    floors: np.ndarray
    """E of each curve."""
    exponents: np.ndarray
    """Beta of each curve, as fitted to the trials."""

    def at(self, fraction: float) -> tuple[float, float, float]:
        """(low, median, high) loss of a run with this fraction of the full run's tokens; low and
        high bound the central CONFIDENCE_LEVEL interval."""
        distance = math.log(fraction / self.fraction)
        exponents = self.exponents[:, None] * np.exp(EXPONENT_SPREAD * NORMAL_QUANTILES)
        above_floor = (self.loss - self.floors)[:, None] * np.exp(-exponents * distance)
        drift = DRIFT * abs(distance) / math.log(2) * NORMAL_QUANTILES
        losses = np.maximum((self.floors[:, None] + above_floor)[..., None] + drift, 0)
        tail = (1 - CONFIDENCE_LEVEL) / 2
        return tuple(map(float, np.quantile(losses, (tail, 0.5, 1 - tail))))


def forecast(fractions: Sequence[float], losses: Sequence[float]) -> Forecast:
    """Forecast the loss of a long run from short trials.

    For each of FLOORS, the exponent is fitted to the trials by least squares of the logarithms.
    The loss before training is not used: the first steps do not follow such a curve.

    Args:
        fractions: Tokens of each trial as a fraction of the full run's tokens, ascending.
        losses: Final loss of each trial.
    """
    y = np.maximum(losses, MIN_LOSS)
    floors = FLOORS * y.min()
    lengths = np.log(fractions) - np.log(fractions).mean()
    slopes = np.log(y - floors[:, None]) @ lengths / (lengths @ lengths)
    return Forecast(fractions[-1], float(y[-1]), floors, np.maximum(-slopes, 0))
