"""Variants of a recipe on this machine, and on a device by its data sheet."""

import itertools
from dataclasses import replace

import pytest

from llmkit.planning.devices import EFFICIENCY, find_device
from llmkit.planning.plan import Plan
from llmkit.planning.work import training_work
from llmkit.workflows.predict import predict
from llmkit.workflows.reckon import (
    machine_here,
    machine_of,
    predict_for,
    schedule_of,
    variants_here,
    with_proposals,
)


@pytest.fixture
def here(planned):
    setup, found, step = planned
    prediction = predict(setup, found, step)
    machine = machine_here(setup, found, step, prediction, None)
    return machine, Plan("summarize", "tiny", prediction, None, None)


def test_the_recipe_itself_costs_here_what_was_predicted(planned, here):
    setup, _, step = planned
    machine, plan = here
    variant, costs = next(variants_here(machine, setup, step))
    assert variant.changes == {}
    seconds = costs.seconds(setup.schedule.num_steps, schedule_of(setup, step))
    assert seconds == pytest.approx(plan.prediction.total_seconds, rel=0.2)


def test_a_device_takes_the_work_over_a_part_of_its_rate(planned):
    setup, found, step = planned
    sheet = find_device("a100")
    machine = machine_of(sheet, setup, found, None)
    variant, costs = next(variants_here(machine, setup, step))
    flop = training_work(setup.model, checkpointing=False).of(step.amounts)
    work = flop / (EFFICIENCY * sheet.rates["no"] * 1e12)
    micro_batches = max(1, step.amounts.tokens / variant.tokens)
    launches = machine.rates.per_step + machine.rates.per_micro_batch * micro_batches
    assert costs.per_step == pytest.approx(work + launches, rel=1e-6)
    prediction = predict_for(machine, setup, found, step)
    seconds = costs.seconds(setup.schedule.num_steps, schedule_of(setup, step))
    assert seconds == pytest.approx(prediction.total_seconds, rel=0.05)
    assert prediction.basis == "reckoned for a100"
    assert "35% are assumed" in prediction.notes[0]
    faster = predict_for(machine_of(find_device("h100"), setup, found, None), setup, found, step)
    assert faster.seconds["optimizer steps"] <= prediction.seconds["optimizer steps"]


def test_a_plan_for_a_budget_has_proposals_that_keep_it(planned, here):
    setup, _, step = planned
    machine, plan = here
    quick = plan.prediction.total_seconds * 3
    proposed = with_proposals(replace(plan, budget=quick), machine, setup, step)
    assert proposed.fits
    assert proposed.proposals
    assert all(each.seconds <= quick for each in proposed.proposals)
    assert proposed.lightest is None
    nothing = with_proposals(replace(plan, budget=0.001), machine, setup, step)
    assert not nothing.fits
    assert nothing.proposals == []
    assert nothing.quickest.seconds > 0.001
    no_room = replace(machine, room=1000.0)
    assert with_proposals(replace(plan, memory=1), no_room, setup, step).quickest is None


def test_the_expected_loss_falls_with_the_length_of_the_run(planned, here):
    setup, _, step = planned
    machine, plan = here
    curve = with_proposals(plan, machine, setup, step).curve
    assert all(a.seconds < b.seconds for a, b in itertools.pairwise(curve))
    assert all(a.expected >= b.expected for a, b in itertools.pairwise(curve))


def test_memory_that_is_asked_for_may_be_used_whole(planned):
    setup, found, _ = planned
    machine = machine_of(find_device("a100"), setup, found, 10**9)
    assert machine.room + machine.base_bytes == 10**9
    assert machine_of(find_device("a100"), setup, found, None).room < 40e9
