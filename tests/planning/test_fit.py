"""Fitting costs to measurements."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmkit.planning.fit import fit_costs

AMOUNTS = np.array(
    [[1, micro, tokens] for micro in (1, 2, 5) for tokens in (100, 1000, 9000)], dtype=float
)
COSTS = np.array([0.2, 0.05, 1e-4])


@pytest.mark.parametrize(
    "costs", [(0.2, 0.05, 1e-4), (0.0, 0.05, 1e-4), (0.0, 0.0, 3e-9), (0.3, 0.0, 0.0)]
)
def test_known_costs_are_found(costs):
    assert fit_costs(AMOUNTS, AMOUNTS @ costs) == pytest.approx(costs, rel=1e-6, abs=1e-12)


@given(st.lists(st.floats(0.001, 1000), min_size=9, max_size=9))
def test_no_cost_is_negative(seconds):
    costs = fit_costs(AMOUNTS, np.array(seconds))
    assert np.isfinite(costs).all()
    assert (costs >= 0).all()


@given(st.lists(st.floats(0.01, 100), min_size=1, max_size=30))
def test_equal_amounts_are_fitted_by_their_mean(seconds):
    amounts = np.array([[1.0, 2.0, 500.0]] * len(seconds))
    fitted = amounts[0] @ fit_costs(amounts, np.array(seconds))
    assert fitted == pytest.approx(np.mean(seconds), rel=1e-6)


@pytest.mark.parametrize("spread", [0.05, 0.3])
def test_noise_in_the_measurements_averages_out(spread):
    rng = np.random.default_rng(0)
    amounts = np.tile(AMOUNTS, (200, 1))
    noise = np.exp(spread * rng.normal(size=len(amounts)) - spread**2 / 2)  # of mean 1
    ratio = (AMOUNTS @ fit_costs(amounts, amounts @ COSTS * noise)) / (AMOUNTS @ COSTS)
    assert ratio == pytest.approx(np.ones(len(AMOUNTS)), rel=0.03)


def test_a_single_measurement_is_extrapolated_in_proportion_to_the_last_amount():
    costs = fit_costs(np.array([[1.0, 1.0, 1e12]]), np.array([8.0]))
    assert costs == pytest.approx([0, 0, 8e-12])
