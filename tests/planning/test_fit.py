"""Fitting costs to measurements."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmkit.planning.fit import fit_costs

AMOUNTS = np.array(
    [[1, micro, tokens] for micro in (1, 2, 5) for tokens in (100, 1000, 9000)], dtype=float
)


@pytest.mark.parametrize(
    "costs", [(0.2, 0.05, 1e-4), (0.0, 0.05, 1e-4), (0.0, 0.0, 3e-9), (0.3, 0.0, 0.0)]
)
def test_known_costs_are_found(costs):
    assert fit_costs(AMOUNTS, AMOUNTS @ costs) == pytest.approx(costs, rel=1e-6, abs=1e-12)


@given(st.lists(st.floats(0.001, 1000), min_size=9, max_size=9))
def test_no_cost_is_negative_and_the_fit_is_no_worse_than_a_constant(seconds):
    seconds = np.array(seconds)
    costs = fit_costs(AMOUNTS, seconds)
    assert (costs >= 0).all()
    constant = (1 / seconds).sum() / (1 / seconds**2).sum()
    errors = ((AMOUNTS @ costs / seconds - 1) ** 2).sum()
    assert errors <= ((constant / seconds - 1) ** 2).sum() + 1e-9


def test_noise_in_the_measurements_averages_out():
    rng = np.random.default_rng(0)
    amounts = np.tile(AMOUNTS, (30, 1))
    seconds = amounts @ [0.2, 0.05, 1e-4] * np.exp(0.05 * rng.normal(size=len(amounts)))
    ratio = (AMOUNTS @ fit_costs(amounts, seconds)) / (AMOUNTS @ [0.2, 0.05, 1e-4])
    assert ratio == pytest.approx(np.ones(len(AMOUNTS)), rel=0.02)


def test_equal_amounts_are_predicted_exactly():
    amounts = np.array([[1.0, 1.0, 500.0]] * 4)
    seconds = np.array([1.0, 1.1, 0.9, 1.0])
    assert amounts[0] @ fit_costs(amounts, seconds) == pytest.approx(1.0, rel=0.02)
