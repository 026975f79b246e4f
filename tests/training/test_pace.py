"""What the optimizer steps take, predicted from the first few."""

import pytest

from llmkit.training.pace import Pace


def paced(num_steps: int, *, first: float = 1.0, tokens: int = 100) -> Pace:
    """The pace of steps of 0.1 s, the first of which takes longer."""
    pace, predicted_at = Pace(), []
    for step in range(num_steps):
        pace.add(first if step == 0 else 0.1, tokens)
        if pace.predict(num_steps, tokens):
            predicted_at.append(pace.num_steps)
    assert len(predicted_at) <= 1
    return pace


@pytest.mark.parametrize("num_steps", [16, 100, 1000])
def test_equal_steps_are_predicted_exactly_in_spite_of_a_slow_first_one(num_steps):
    pace = paced(num_steps)
    assert pace.predicted == pytest.approx(pace.seconds)


def test_a_run_of_few_steps_is_not_predicted():
    assert paced(15).predicted is None


def test_longer_rows_later_take_longer():
    pace = Pace()
    for _ in range(8):
        pace.add(0.1, 100)
    assert pace.predict(50, 200)
    assert pace.predicted == pytest.approx(0.8 + 42 * 0.2)


def test_a_few_slow_steps_do_not_count_for_all():
    pace = Pace()
    for step in range(8):
        pace.add(5.0 if step in (2, 5) else 0.1, 100)
    assert pace.predict(50, 100)
    assert pace.predicted == pytest.approx(pace.seconds + 42 * 0.1)
