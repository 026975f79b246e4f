"""Timing steps and work on rows, and the costs that are fitted to it."""

from types import SimpleNamespace

import pytest

from llmkit.model.loss import SupervisedLoss
from llmkit.workflows import probes
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
    costs = RowCosts({2: 1.2, 4: 1.4}, at_once=10)
    assert costs.seconds(10) == pytest.approx(2.0)
    assert costs.seconds(40) == pytest.approx(8.0)


def test_timed_numbers_of_rows_cost_what_was_measured_whatever_the_fit():
    costs = RowCosts({2: 0.1, 40: 0.6, 128: 1.3}, at_once=200)
    assert [costs.seconds(number) for number in (2, 40, 128)] == pytest.approx([0.1, 0.6, 1.3])
    assert costs.seconds(21) == pytest.approx(0.35)
    assert costs.seconds(1) == pytest.approx(0.1)
    assert costs.seconds(172) == pytest.approx(1.65)  # as from 40 to 128
    assert RowCosts({2: 0.1}, at_once=200).seconds(20) == pytest.approx(1.0)
    assert RowCosts({2: 0.1, 4: 0.05}, at_once=200).seconds(8) > 0.05  # never less than timed


def test_as_many_rows_are_timed_as_the_time_limit_allows():
    done: list[int] = []

    def prepare(number: int):
        return lambda: done.append(number)

    time_rows(prepare, num_rows=100, at_once=64, allowed=60, least=2)
    assert done == [2, 2, 64]  # the first time counts apart
    done.clear()
    time_rows(prepare, num_rows=100, at_once=64, allowed=0, least=2)
    assert done == [2]


@pytest.mark.parametrize(
    ("seconds_per_call", "is_sublinear", "sizes"),
    [(3.0, True, [2, 16]), (15.0, True, [2, 16]), (17.0, True, [2]), (3.0, False, [2])],
)
def test_slow_generation_is_timed_twice_unless_it_takes_minutes(
    seconds_per_call, is_sublinear, sizes, monkeypatch
):
    clock, done = [0.0], []

    def prepare(number: int):
        def run() -> None:
            clock[0] += seconds_per_call
            done.append(number)

        return run

    monkeypatch.setattr(probes, "time", SimpleNamespace(perf_counter=lambda: clock[0]))
    costs = time_rows(
        prepare, num_rows=100, at_once=64, allowed=4.0, least=2, is_sublinear=is_sublinear
    )
    assert done == sizes
    assert costs.timed == dict.fromkeys(sizes, seconds_per_call)


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
