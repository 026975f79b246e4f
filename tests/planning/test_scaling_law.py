"""The scaling law: published values, fits to known curves, and forecasts with intervals."""

import math
from itertools import pairwise, product

import numpy as np
import pytest

from llmkit.planning.scaling_law import (
    LEVEL,
    PUBLISHED,
    Law,
    effective_tokens,
    fit_law,
    forecast,
)


def test_the_published_law_gives_the_loss_of_chinchilla():
    """Of 70 billion weights and 1.4 trillion tokens; the paper's figure 4 and appendix D.3."""
    assert PUBLISHED.loss(70e9, 1.4e12) == pytest.approx(1.94, abs=0.01)


def test_larger_models_and_more_tokens_are_never_worse():
    sizes = np.geomspace(1e5, 1e11, 20)
    for n, d in product(sizes, sizes):
        assert PUBLISHED.loss(2 * n, d) < PUBLISHED.loss(n, d)
        assert PUBLISHED.loss(n, 2 * d) < PUBLISHED.loss(n, d)


def test_the_value_of_repeated_text_decays():
    assert effective_tokens(100, 60) == 60
    assert effective_tokens(100, 100) == 100
    worth = [effective_tokens(100, 100 * epochs) for epochs in (1, 2, 4, 16, 64, 1000)]
    gains = np.diff(worth) / (100 * np.diff([1, 2, 4, 16, 64, 1000]))
    assert (gains > 0).all()
    assert (np.diff(gains) < 0).all()
    assert worth[2] > 0.9 * 400  # up to four epochs are nearly as good as fresh text
    assert worth[-1] < 1700


@pytest.mark.parametrize("law", [PUBLISHED, Law(1.2, 60.0, 0.25, 900.0, 0.4)])
def test_a_known_law_is_found_from_runs_of_several_sizes_and_lengths(law):
    runs = list(product((1e6, 1e7, 1e8), (1e8, 1e9, 1e10)))
    weights, tokens = zip(*runs, strict=True)
    found = fit_law(weights, tokens, [law.loss(*run) for run in runs])
    assert found.alpha == pytest.approx(law.alpha, rel=0.02)
    assert found.beta == pytest.approx(law.beta, rel=0.02)
    assert found.loss(1e9, 1e11) == pytest.approx(law.loss(1e9, 1e11), rel=1e-3)


def test_one_outlier_does_not_change_the_law():
    runs = list(product((1e6, 1e7, 1e8), (1e8, 1e9, 1e10)))
    weights, tokens = zip(*runs, strict=True)
    losses = [PUBLISHED.loss(*run) for run in runs]
    losses[4] *= 1.2
    found = fit_law(weights, tokens, losses)
    assert found.loss(1e9, 1e11) == pytest.approx(PUBLISHED.loss(1e9, 1e11), rel=0.01)


FRACTIONS = (1 / 32, 1 / 16, 1 / 8)


def test_the_interval_has_its_nominal_coverage_without_being_vacuous():
    """On power laws with floors, with noise of seeds."""
    rng, inside, widths, num_curves = np.random.default_rng(0), 0, [], 100
    for _ in range(num_curves):
        floor, beta = rng.uniform(0, 0.95), math.exp(rng.normal(math.log(0.35), 0.5))
        noise = math.exp(rng.normal(math.log(0.006), 0.5))
        fractions = np.array([*FRACTIONS, 1.0])
        losses = 3 * (floor + (1 - floor) * (8 * fractions) ** -beta)
        losses *= np.exp(noise * rng.normal(size=4))
        low, expected, high = forecast(FRACTIONS, losses[:3]).at(1)
        assert low < expected < high
        inside += low <= losses[3] <= high
        widths.append((high - low) / losses[3])
    assert inside >= LEVEL * num_curves
    assert np.median(widths) < 0.4


def test_the_expected_loss_never_rises_with_length():
    curve = forecast(FRACTIONS, [4.1, 3.7, 3.45])
    expected = [curve.at(fraction)[1] for fraction in np.geomspace(1 / 32, 8, 30)]
    assert all(later <= sooner for sooner, later in pairwise(expected))


def test_the_interval_is_narrow_at_the_trials_and_widens_with_the_distance():
    curve = forecast(FRACTIONS, [4.1, 3.7, 3.45])
    widths = [curve.at(fraction)[2] - curve.at(fraction)[0] for fraction in (1 / 8, 1 / 2, 1, 4)]
    assert widths == sorted(widths)
    assert curve.at(1 / 8)[1] == pytest.approx(3.45, abs=0.08)


def test_a_late_drop_is_explained_by_pretraining():
    """E + B / (D + S)^beta with S = 1/8: flat at the trials, if S were not known."""
    losses = [1 + 0.5 * (fraction + 1 / 8) ** -0.5 for fraction in (0, *FRACTIONS, 1)]
    found = forecast(FRACTIONS, losses[1:4], losses[0])
    low, _, high = found.at(1)
    assert low < losses[4] < high
    assert np.median(found.start) > 0


def test_a_flat_curve_is_expected_to_stay_flat():
    low, expected, high = forecast(FRACTIONS, [2.001, 2.0, 2.0]).at(1)
    assert expected == pytest.approx(2.0, abs=0.05)
    assert low > 1.8  # a model that was trained before may improve late
    assert high < 2.05
