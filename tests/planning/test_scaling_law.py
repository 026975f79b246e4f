"""The scaling law: published values, fits to known curves, and forecasts with intervals."""

from itertools import pairwise, product

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from llmkit.planning.scaling_law import (
    CHINCHILLA,
    DRIFT,
    effective_tokens,
    forecast,
)


def test_the_published_law_gives_the_loss_of_chinchilla():
    """Of 70 billion weights and 1.4 trillion tokens; the paper's figure 4 and appendix D.3."""
    assert CHINCHILLA.loss(70e9, 1.4e12) == pytest.approx(1.94, abs=0.01)


def test_larger_models_and_more_tokens_are_never_worse():
    sizes = np.geomspace(1e5, 1e11, 20)
    for n, d in product(sizes, sizes):
        assert CHINCHILLA.loss(2 * n, d) < CHINCHILLA.loss(n, d)
        assert CHINCHILLA.loss(n, 2 * d) < CHINCHILLA.loss(n, d)


def test_the_value_of_repeated_text_decays():
    assert effective_tokens(100, 60) == 60
    assert effective_tokens(100, 100) == 100
    worth = [effective_tokens(100, 100 * epochs) for epochs in (1, 2, 4, 16, 64, 1000)]
    gains = np.diff(worth) / (100 * np.diff([1, 2, 4, 16, 64, 1000]))
    assert (gains > 0).all()
    assert (np.diff(gains) < 0).all()
    assert worth[2] > 0.9 * 400  # up to four epochs are nearly as good as fresh text
    assert worth[-1] < 1700


FRACTIONS = (1 / 16, 1 / 8)


@given(
    start=st.floats(0.05, 8),
    floor=st.floats(0, 0.95),
    exponent=st.floats(0.05, 1.5),
    last=st.sampled_from([1 / 4, 1 / 2, 1.0]),
)
def test_the_interval_contains_the_loss_of_any_curve_of_the_law(start, floor, exponent, last):
    """Unless nearly all of the loss at the longest trial is irreducible."""
    fractions = np.array([*FRACTIONS, last])
    losses = start * (floor + (1 - floor) * (16 * fractions) ** -exponent)
    assume(start * floor < 0.9 * losses[1])
    low, expected, high = forecast(FRACTIONS, losses[:2]).at(last)
    assert 0 <= low <= losses[2] <= high
    assert low < expected < high


def test_the_interval_is_bounded_by_a_steeper_power_law_and_the_last_loss():
    losses = [4.1 * (3.7 / 4.1) ** doublings for doublings in (0, 1, 4)]
    low, _, high = forecast(FRACTIONS, losses[:2]).at(1)
    three_times_as_steep = losses[1] * (3.7 / 4.1) ** (3 * 3)
    assert three_times_as_steep < low < losses[2]
    assert 0.9 * losses[1] < high < losses[1]


@pytest.mark.parametrize("losses", [[0.2, 0.0], [0.0, 0.0], [1.2, 1.3]])
def test_losses_of_zero_and_rising_losses_have_a_finite_forecast(losses):
    low, expected, high = forecast(FRACTIONS, losses).at(1)
    assert 0 <= low <= expected <= high <= losses[-1] + 0.1
    assert high >= losses[-1]


def test_the_expected_loss_never_rises_with_length():
    curve = forecast(FRACTIONS, [3.7, 3.45])
    expected = [curve.at(fraction)[1] for fraction in np.geomspace(1 / 32, 8, 30)]
    assert all(later <= sooner for sooner, later in pairwise(expected))


def test_the_interval_is_narrow_at_the_trials_and_widens_with_the_distance():
    curve = forecast(FRACTIONS, [3.7, 3.45])
    widths = [curve.at(fraction)[2] - curve.at(fraction)[0] for fraction in (1 / 8, 1 / 2, 1, 4)]
    assert widths == sorted(widths)
    assert curve.at(1 / 8)[1] == pytest.approx(3.45, abs=0.08)


def test_a_flat_curve_is_expected_to_stay_flat():
    doublings = 3  # from the longest trial to the full run
    low, expected, high = forecast(FRACTIONS, [2.0, 2.0]).at(1)
    assert expected == pytest.approx(2.0, abs=0.1)
    assert low > 1  # the trials may have ended on a plateau
    assert high < 2 + 2 * DRIFT * doublings
