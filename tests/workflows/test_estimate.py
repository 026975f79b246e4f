"""Estimated costs of variants of a recipe on this machine and on other devices."""

import itertools
from dataclasses import replace

import pytest

from llmkit.planning.devices import EFFICIENCY, find_device
from llmkit.planning.flops import training_flops
from llmkit.planning.plan import Plan
from llmkit.planning.predicted_costs import SHARED
from llmkit.planning.scaling_law import Trial
from llmkit.workflows.estimate import Estimator, predict_on_device, with_proposals
from llmkit.workflows.machine import machine_from_datasheet, this_machine
from llmkit.workflows.predict import cached_row_bytes, predict


@pytest.fixture
def here(planned):
    setup, found, step = planned
    prediction = predict(setup, found, step)
    machine = this_machine(setup, found, step, prediction, None)
    return Estimator(machine, setup, step), Plan("summarize", "tiny", prediction, None, None)


def on_device(planned, name: str) -> Estimator:
    setup, found, step = planned
    return Estimator(machine_from_datasheet(find_device(name), setup, found, None), setup, step)


def test_the_first_variant_costs_what_was_predicted_for_the_recipe(here):
    estimator, plan = here
    variant, costs = next(estimator.variants())
    assert variant.changes == {}
    schedule = estimator.schedule
    seconds = costs.seconds(schedule.num_steps, schedule)
    assert seconds == pytest.approx(plan.prediction.total_seconds, rel=0.2)


def test_a_device_is_estimated_at_a_fraction_of_its_peak_rate(planned):
    setup, found, step = planned
    estimator = on_device(planned, "a100")
    sheet, rates = estimator.machine.sheet, estimator.machine.rates
    variant, costs = next(estimator.variants())
    flop = training_flops(setup.model, checkpointing=False).total(step.workload)
    work = flop / (EFFICIENCY * sheet.rates["no"] * 1e12)
    micro_batches = max(1, step.workload.tokens / variant.tokens)
    launches = rates.per_step + rates.per_micro_batch * micro_batches
    assert costs.per_step == pytest.approx(work + launches, rel=1e-6)
    prediction = predict_on_device(estimator, found)
    seconds = costs.seconds(setup.schedule.num_steps, estimator.schedule)
    assert seconds == pytest.approx(prediction.total_seconds, rel=0.05)
    assert prediction.basis == "estimated for a100"
    assert "35% are assumed" in prediction.notes[0]
    assert prediction.disk["encoded rows in the cache"] == cached_row_bytes(setup)
    written = predict(setup, found, step).disk["checkpoints"]  # from the size of one on disk
    assert prediction.disk["checkpoints"] == pytest.approx(written, rel=0.1)
    faster = predict_on_device(on_device(planned, "h100"), found)
    assert faster.seconds["optimizer steps"] <= prediction.seconds["optimizer steps"]


def test_proposals_fit_the_budget(here):
    estimator, plan = here
    quick = plan.prediction.total_seconds * 3
    proposed = with_proposals(replace(plan, budget=quick), estimator)
    assert proposed.fits
    assert proposed.proposals
    assert all(each.seconds <= quick for each in proposed.proposals)
    assert proposed.least_memory is None
    nothing = with_proposals(replace(plan, budget=0.001), estimator)
    assert not nothing.fits
    assert nothing.proposals == []
    assert nothing.fastest.seconds > 0.001
    too_small = replace(estimator.machine, memory_budget=1000.0)
    small = replace(estimator, machine=too_small)
    assert with_proposals(replace(plan, memory=1), small).fastest is None


def test_the_number_of_gpus_is_estimated_if_one_is_too_slow(planned):
    """The GPUs share the steps and the scores, each at 90 % of its speed."""
    setup, found, _ = planned
    estimator = on_device(planned, "t4")
    seconds = predict_on_device(estimator, found).seconds
    shared = 3600.0 * sum(seconds[name] for name in SHARED)
    seconds |= {"optimizer steps": shared, "validations": 0.0, "final scores": 0.0}
    prediction = replace(predict_on_device(estimator, found), seconds=seconds)
    fixed = prediction.total_seconds - shared
    plan = Plan("summarize", "tiny", prediction, None, None)

    def number_within(budget: float) -> int | None:
        proposed = with_proposals(replace(plan, budget=budget), estimator)
        assert proposed.fits == (proposed.prediction.total_seconds <= budget)
        return proposed.num_devices

    assert number_within(2 * prediction.total_seconds) is None
    assert number_within(fixed + shared / 1.7) == 2
    assert number_within(fixed + shared / 3.5) == 4
    assert number_within(fixed / 2) is None
    too_many = setup.schedule.global_batch_size + 1  # each needs a row of a step
    assert number_within(fixed + shared / too_many) is None
    small = replace(estimator, machine=replace(estimator.machine, memory_budget=1000.0))
    budget = fixed + shared / 1.7
    assert with_proposals(replace(plan, budget=budget), small).num_devices is None


def test_the_precision_that_was_timed_is_varied(planned):
    setup, found, step = planned
    found = replace(found, relative_seconds={"bf16": 0.25})
    machine = this_machine(setup, found, step, predict(setup, found, step), None)
    estimator = Estimator(machine, setup, step)
    per_step = {
        each.precision: costs.per_step
        for each, costs in estimator.variants()
        if set(each.changes) <= {"train.mixed_precision"}
    }
    assert per_step["bf16"] == pytest.approx(per_step["no"] / 4)
    prediction = predict(setup, found, step)  # in this budget, faster steps allow more of them
    plan = Plan("summarize", "tiny", prediction, prediction.total_seconds, None)
    proposals = with_proposals(plan, estimator).proposals
    assert proposals[0].changes["train.mixed_precision"] == "bf16"


def test_the_expected_loss_falls_with_the_length_of_the_run(here):
    estimator, plan = here
    curve = with_proposals(plan, estimator).curve
    assert all(a.seconds < b.seconds for a, b in itertools.pairwise(curve))
    assert all(a.expected >= b.expected for a, b in itertools.pairwise(curve))


def test_trials_forecast_the_loss_of_the_recipe_without_a_budget(here):
    estimator, plan = here
    trials = [Trial(2, 4.6), Trial(3, 4.3)]
    low, expected, high = with_proposals(plan, estimator, trials).loss
    assert low < expected < high < 4.6
    assert with_proposals(plan, estimator).loss is None
