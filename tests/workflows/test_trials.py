"""Trials: short runs with complete schedules."""

import pytest
from rich.console import Console

from llmkit.config.schema import Train
from llmkit.errors import UserError
from llmkit.training.optim import learning_rate_at
from llmkit.workflows.trials import run_trials, train_and_score, trial_settings


@pytest.mark.parametrize("schedule", ["cosine", "linear", "warmup_stable_decay"])
@pytest.mark.parametrize("warmup", [80, 0.1])
def test_a_trial_has_the_schedule_of_the_full_run_in_proportion(schedule, warmup):
    full = Train(max_steps=800, schedule=schedule, warmup_steps=warmup, decay_steps=160)
    trial = trial_settings(full, 100, 800)
    assert (trial.max_steps, trial.epochs) == (100, None)
    rates = [learning_rate_at(8 * step + 7, 800, full) for step in range(100)]
    short = [learning_rate_at(step, 100, trial) for step in range(100)]
    assert short == pytest.approx(rates, rel=0.15, abs=0.06 * full.learning_rate)


def test_trials_of_a_run_of_few_steps_are_rejected(planned):
    with pytest.raises(UserError, match=r"--trials: 4 steps are too few: the shortest trial"):
        run_trials(planned[0], 4, Console(quiet=True))


def test_a_trial_returns_the_validation_loss(planned):
    setup, *_ = planned
    done = []
    loss = train_and_score(setup, 2, 64, done.append)
    assert sum(done) == 2
    assert 4 < loss < 7  # log of 320 tokens is 5.8
    assert train_and_score(setup, 2, 64, done.append) == loss
