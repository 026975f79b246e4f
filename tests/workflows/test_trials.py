"""Trials: small runs with complete schedules of their own."""

import pytest
from rich.console import Console

from llmkit.config.schema import Train
from llmkit.errors import UserError
from llmkit.training.optim import learning_rate_at
from llmkit.workflows.trials import run_trials, train_and_score, trial_settings


@pytest.mark.parametrize("schedule", ["cosine", "linear", "warmup_stable_decay"])
@pytest.mark.parametrize("warmup", [80, 0.1])
def test_a_trial_has_the_schedule_of_the_whole_run_in_short(schedule, warmup):
    whole = Train(max_steps=800, schedule=schedule, warmup_steps=warmup, decay_steps=160)
    trial = trial_settings(whole, 100, 800)
    assert (trial.max_steps, trial.epochs) == (100, None)
    rates = [learning_rate_at(8 * step + 7, 800, whole) for step in range(100)]
    short = [learning_rate_at(step, 100, trial) for step in range(100)]
    assert short == pytest.approx(rates, rel=0.15, abs=0.06 * whole.learning_rate)


def test_a_run_of_few_steps_has_no_trials(planned):
    with pytest.raises(UserError, match=r"--trials: 4 steps are too few: the shortest trial"):
        run_trials(planned[0], 4, Console(quiet=True))


def test_a_trial_gives_the_loss_of_the_validation_rows(planned):
    setup, *_ = planned
    done = []
    loss = train_and_score(setup, 2, 64, done.append)
    assert sum(done) == 2
    assert 4 < loss < 7  # log of 320 tokens is 5.8
    assert train_and_score(setup, 2, 64, done.append) == loss
