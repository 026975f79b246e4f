"""Predictions: totals, and the number of validations and checkpoints."""

import pytest

from llmkit.planning.predicted_costs import PredictedCosts, count_checkpoints, count_validations


def test_totals_are_sums_of_their_parts():
    prediction = PredictedCosts(
        "measured here", {"a": 1.25, "b": 2.0}, {"weights": 5, "rest": 7}, {"model": 3}, 10, 2, 2
    )
    content = prediction.as_dict()
    assert content["total_seconds"] == 3.25
    assert content["peak_bytes"] == 12
    assert content["disk_bytes"] == 3


@pytest.mark.parametrize(
    ("num_steps", "every", "number"), [(10, 5, 2), (10, 4, 3), (10, 100, 1), (1, 1, 1)]
)
def test_the_last_step_is_always_validated(num_steps, every, number):
    due = [step for step in range(1, num_steps + 1) if step % every == 0 or step == num_steps]
    assert count_validations(num_steps, every) == number == len(due)


@pytest.mark.parametrize(
    ("every", "minutes", "seconds", "number"),
    [
        (None, None, 1e6, 4),  # one after each of four validations
        (25, None, 1e6, 8),
        (None, 10, 100, 4),
        (None, 10, 4 * 1500, 12),  # two more between two validations, 25 minutes apart
    ],
)
def test_checkpoints_follow_validations_steps_and_minutes(every, minutes, seconds, number):
    assert count_checkpoints(100, 4, every, minutes, seconds) == number
