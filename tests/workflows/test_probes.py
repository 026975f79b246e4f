"""Timing steps and work on rows, and the costs that are fitted to it."""

import pytest

from llmkit.model.loss import SupervisedLoss
from llmkit.workflows.probes import (
    RowCosts,
    StepCosts,
    StepTiming,
    fit_steps,
    mean_step,
    relative_seconds,
    spread,
    time_rows,
    workload_of,
)


def test_numbers_are_spread_evenly_and_each_occurs_once():
    assert sorted(spread(5, 48)) == [0, 1, 2, 3, 4]
    chosen = sorted(spread(1000, 10))
    assert chosen == list(range(0, 1000, 100))
    assert spread(1000, 10) == spread(1000, 10) != chosen


def test_the_cost_of_a_step_is_the_sum_of_its_parts():
    costs = StepCosts(0.5, 0.1, 1e-9, warm_up=3.0, num_timed=4, largest_timed=64)
    assert costs.seconds(2, 1e9) == pytest.approx(0.5 + 0.2 + 1.0)


def test_the_first_steps_count_as_warm_up():
    def step(seconds: float, micro_batches: int) -> StepTiming:
        return StepTiming(seconds, micro_batches, 1e9 * micro_batches, 64 * micro_batches)

    partial = [step(0.5, 1), step(0.5, 1)]
    costs = fit_steps(step(2.5, 1), partial, [])
    assert costs.seconds(1, 1e9) == pytest.approx(0.5)
    assert (costs.warm_up, costs.num_timed, costs.largest_timed) == (2.0, 2, 64)
    complete = [step(seconds, 4) for seconds in (3.0, 1.0, 1.0, 1.0, 1.0)]
    costs = fit_steps(step(2.5, 1), partial, complete)
    assert costs.seconds(4, 4e9) == pytest.approx(1.0)
    assert (costs.warm_up, costs.num_timed, costs.largest_timed) == (2.0 + 2.0, 4, 256)
    costs = fit_steps(step(2.5, 1), [step(0.9, 1), step(0.5, 1)], complete[:2])
    assert costs.seconds(4, 4e9) == pytest.approx(1.0)
    assert (costs.warm_up, costs.num_timed) == (2.5 - 0.9 + 2.0, 2)


def test_each_group_of_rows_costs_the_same():
    costs = RowCosts(fixed=1.0, per_row=0.1, at_once=10)
    assert costs.seconds(5) == pytest.approx(1.5)
    assert costs.seconds(10) == pytest.approx(2.0)
    assert costs.seconds(40) == pytest.approx(8.0)


def test_as_many_rows_are_timed_as_the_time_limit_allows():
    done: list[int] = []

    def prepare(number: int):
        return lambda: done.append(number)

    time_rows(prepare, num_rows=100, at_once=64, allowed=60, least=2)
    assert done == [2, 2, 64]  # the first time counts apart
    done.clear()
    time_rows(prepare, num_rows=100, at_once=64, allowed=0, least=2)
    assert done == [2]


def test_the_mean_step_is_the_mean_of_all_steps(planned):
    schedule = planned[0].schedule
    step = mean_step(schedule)
    found = [workload_of(schedule, number) for number in range(schedule.num_steps)]
    tokens = [schedule.num_tokens(number) for number in range(schedule.num_steps)]
    assert [workload.tokens for _, workload in found] == tokens
    assert step.workload.tokens == pytest.approx(sum(tokens) / len(tokens))
    supervised = [schedule.num_supervised(number) for number in range(schedule.num_steps)]
    assert step.workload.supervised == pytest.approx(sum(supervised) / len(supervised))
    assert step.largest == max(map(schedule.largest_size, range(schedule.num_steps)))


def test_two_precisions_are_compared_on_the_model_and_its_rows(planned):
    setup = planned[0]
    loss = SupervisedLoss(setup.model, "padding_free")

    def compare(*precisions: str) -> float:
        settings = setup.recipe.train
        return relative_seconds(loss, setup.schedule, settings, precisions, allowed=0.2)

    assert compare("no", "bf16") > 0
    assert compare("bf16", "no") > 0
    assert all(weight.grad is None for weight in setup.model.parameters())
