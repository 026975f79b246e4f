"""One optimizer step: its dropout seed, its gradient, and its outcome."""

import math
from itertools import product

import pytest

from llmkit.training.step import MAX_OVERFLOWS, StepOutcome, dropout_seed, step_outcome


@pytest.mark.parametrize(
    ("seed", "step", "rank", "expected"),
    [
        (0, 0, 0, 0),
        (0, 0, 1, 1),
        (0, 1, 0, 1_009),
        (1, 0, 0, 1_009_003_027),
        (7, 120, 3, 7_063_142_272),
        (2**31 - 1, 2**20, 1_008, 2_166_817_501_314_013_661),
    ],
)
def test_dropout_seed_is_this_number(seed, step, rank, expected):
    """Pinned: another value would change the losses of every run with dropout."""
    assert dropout_seed(seed, step, rank) == expected < 2**63


def test_dropout_seed_differs_for_every_step_and_process_in_its_lowest_32_bits():
    cases = list(product((0, 1, 2, 41), range(300), (0, 1, 2, 7, 63)))
    assert len({dropout_seed(*case) % 2**32 for case in cases}) == len(cases)


@pytest.mark.parametrize(
    ("loss", "grad_norm", "has_scaler", "skips_left", "num_overflows", "expected"),
    [
        (2.0, 1.0, False, 0, 0, StepOutcome.UPDATED),
        (2.0, 1.0, True, 0, MAX_OVERFLOWS - 1, StepOutcome.UPDATED),
        (2.0, math.inf, True, 0, 0, StepOutcome.OVERFLOWED),
        (2.0, math.nan, True, 0, MAX_OVERFLOWS - 2, StepOutcome.OVERFLOWED),
        (2.0, math.inf, True, 5, MAX_OVERFLOWS - 1, StepOutcome.FATAL),
        (2.0, math.inf, False, 1, 0, StepOutcome.SKIPPED),
        (2.0, math.inf, False, 0, 0, StepOutcome.FATAL),
        (math.nan, 1.0, True, 1, 0, StepOutcome.SKIPPED),
        (math.nan, math.nan, True, 0, 0, StepOutcome.FATAL),
        (math.inf, math.inf, False, -1, 0, StepOutcome.FATAL),
    ],
)
def test_outcome_of_a_step(loss, grad_norm, has_scaler, skips_left, num_overflows, expected):
    outcome = step_outcome(
        loss,
        grad_norm,
        has_scaler=has_scaler,
        skips_left=skips_left,
        num_overflows=num_overflows,
    )
    assert outcome is expected
