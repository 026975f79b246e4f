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
# Two trials do not determine the floor E. With a probability of one half, it is 0; otherwise, all
# values up to the lower loss of the trials are equally likely.
NUM_FLOORS = 40
FLOORS = np.concatenate((np.zeros(NUM_FLOORS), (np.arange(NUM_FLOORS) + 0.5) / NUM_FLOORS))
# Loss curves of small models on small tasks do not follow the law closely. The spreads of the
# forecast were set on 33 runs; docs/plan.md has the coverage on other runs.
PARTS = (np.arange(15) + 0.5) / 15  # the midpoints of equally likely parts of a distribution
NORMAL_QUANTILES = np.array([NormalDist().inv_cdf(part) for part in PARTS])
EXPONENT_SPREAD = 0.3  # standard deviation of the logarithm of the exponent
# The trials may end on a plateau: with a probability of one half, the exponent increases after
# them, by 0.15 on average, exponentially distributed.
LATE_FALLS = np.concatenate((np.zeros(len(PARTS)), -0.15 * np.log(1 - PARTS)))
DRIFT = 0.015  # standard deviation in nats per token for each doubling of the run length
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
    """Beta of each curve, as computed from the two trials."""

    def at(self, fraction: float) -> tuple[float, float, float]:
        """(low, median, high) loss of a run with this fraction of the full run's tokens; low and
        high bound the central CONFIDENCE_LEVEL interval."""
        distance = math.log(fraction / self.fraction)
        floors = self.floors[:, None, None]
        exponents = np.multiply.outer(self.exponents, np.exp(EXPONENT_SPREAD * NORMAL_QUANTILES))
        late_falls = LATE_FALLS if distance > 0 else np.zeros(1)
        above_floor = (self.loss - floors) * np.exp(-np.add.outer(exponents, late_falls) * distance)
        drift = DRIFT * abs(distance) / math.log(2) * NORMAL_QUANTILES
        losses = np.maximum(np.add.outer(floors + above_floor, drift), 0)
        tail = (1 - CONFIDENCE_LEVEL) / 2
        return tuple(map(float, np.quantile(losses, (tail, 0.5, 1 - tail))))


def forecast(fractions: Sequence[float], losses: Sequence[float]) -> Forecast:
    """Forecast the loss of a long run from two short trials.

    For each of FLOORS, the curve through both trials gives the exponent. The loss before training
    is not used: the first steps do not follow such a curve.

    Args:
        fractions: Tokens of both trials as fractions of the full run's tokens, ascending.
        losses: Final losses of both trials.
    """
    shorter, longer = np.maximum(losses, MIN_LOSS)
    floors = FLOORS * min(shorter, longer)
    distance = math.log(fractions[1] / fractions[0])
    exponents = np.log((shorter - floors) / (longer - floors)) / distance
    return Forecast(fractions[1], float(longer), floors, np.maximum(exponents, 0))
