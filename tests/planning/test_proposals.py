"""Proposals: variants that fit a budget, and their ranking."""

import itertools
from dataclasses import replace

import pytest

from llmkit.planning.flops import Flops, Workload
from llmkit.planning.proposals import (
    CostModel,
    LossModel,
    Rates,
    Schedule,
    cost_model,
    fallback_proposals,
    num_devices_within,
    propose,
)
from llmkit.planning.scaling_law import Trial
from llmkit.planning.variants import Variant
from llmkit.training.memory import MemoryUsage

STEP = Workload(tokens=8000, pairs=8000 * 100, supervised=8000)
SCHEDULE = Schedule(1000, 500, None, STEP, is_given_in_steps=False)


def variant(num_weights: int, changes: dict | None = None, tokens: int = 8000) -> Variant:
    """A model whose training takes 6 FLOP per weight and token, and 16 bytes per weight."""
    usage = MemoryUsage(4 * num_weights, 0, 4 * num_weights, 8 * num_weights, 0, 0, 1000, 0)
    changes = {} if changes is None else changes
    return Variant(changes, num_weights, Flops(6 * num_weights, 0, 0), Flops(2 * num_weights, 0, 0),
                   usage, tokens, "no")  # fmt: skip


RATES = Rates({"no": 1e-11}, per_step=0.01, per_micro_batch=0.0, per_saved_byte=1e-9, fixed=20.0)
SMALL, MIDDLE, LARGE = variant(10**6), variant(10**7, {"m": 7}), variant(10**8, {"m": 8})
VARIANTS = [
    (each, cost_model(each, RATES, SCHEDULE, (1.0, 5.0))) for each in (SMALL, MIDDLE, LARGE)
]
LOSS_MODEL = LossModel(10**6, SCHEDULE)
MEMORY_BUDGET = 4e9


def best(budget: float, memory_budget: float = MEMORY_BUDGET, loss_model: LossModel = LOSS_MODEL):
    return propose(VARIANTS, "pretrain", SCHEDULE, loss_model, budget, memory_budget, 10**8)


def test_costs_add_up():
    costs = VARIANTS[0][1]
    assert costs.per_step == pytest.approx(0.01 + 6e6 * 8000 * 1e-11)
    assert costs.seconds(1000, SCHEDULE) == pytest.approx(
        25 + 1000 * costs.per_step + 2 * (1.0 + 16e6 * 1e-9)
    )


@pytest.mark.parametrize("budget", [30, 100, 1000, 12_345])
def test_the_steps_within_a_budget_are_the_most_that_fit(budget):
    for _, costs in VARIANTS:
        steps = costs.steps_within(budget, SCHEDULE)
        assert steps == 0 or costs.seconds(steps, SCHEDULE) <= budget
        assert costs.seconds(steps + 2, SCHEDULE) > budget - costs.per_validation


def test_every_proposal_fits_the_time_and_memory_budget():
    for budget in (60, 600, 6000, 60_000):
        for memory_budget in (0.1e9, 0.5e9, 4e9):
            for proposal in best(budget, memory_budget):
                assert proposal.seconds <= budget
                assert proposal.num_bytes <= memory_budget + 10**8


def test_more_time_or_memory_never_gives_a_worse_loss():
    for memory_budget in (0.1e9, 0.5e9, 4e9):
        found = [
            best(budget, memory_budget) for budget in (60, 200, 600, 2000, 6000, 60_000, 600_000)
        ]
        losses = [proposals[0].loss[1] for proposals in found if proposals]
        assert all(b <= a + 1e-9 for a, b in itertools.pairwise(losses))
    for budget in (200, 6000):
        losses = [best(budget, memory_budget)[0].loss[1] for memory_budget in (0.1e9, 0.5e9, 4e9)]
        assert losses == sorted(losses, reverse=True)


def test_a_larger_budget_calls_for_a_larger_model():
    sizes = [best(budget)[0].num_weights for budget in (60, 6000, 600_000)]
    assert sizes == sorted(sizes)
    assert sizes[0] < sizes[-1]


def test_the_length_is_set_by_the_key_that_the_recipe_uses():
    (proposal, *_) = best(600)
    assert set(proposal.changes) <= {"m", "train.epochs"}
    in_steps = replace(SCHEDULE, is_given_in_steps=True)
    (proposal, *_) = propose(VARIANTS[:1], "pretrain", in_steps, LOSS_MODEL, 100, MEMORY_BUDGET, 0)
    assert proposal.changes == {"train.max_steps": proposal.num_steps}


def test_without_a_time_budget_the_length_is_unchanged():
    for proposal in propose(VARIANTS, "pretrain", SCHEDULE, LOSS_MODEL, None, MEMORY_BUDGET, 0):
        assert proposal.num_steps == SCHEDULE.num_steps
        assert not any(key.startswith("train.") for key in proposal.changes)


def test_the_number_of_epochs_is_limited():
    (proposal, *_) = propose(VARIANTS[:1], "qa", SCHEDULE, LOSS_MODEL, 1e9, MEMORY_BUDGET, 0)
    assert proposal.epochs == 4


def test_if_nothing_fits_the_fastest_variant_and_the_one_with_the_least_memory_are_returned():
    assert best(10) == []
    fastest, least_memory = fallback_proposals(
        VARIANTS, SCHEDULE, LOSS_MODEL, 10, MEMORY_BUDGET, 10**8
    )
    assert fastest.num_weights == least_memory.num_weights == 10**6
    assert fastest.epochs == 1
    assert best(fastest.seconds)[0].num_weights == 10**6
    nothing, least_memory = fallback_proposals(VARIANTS, SCHEDULE, LOSS_MODEL, 10, 1e6, 10**8)
    assert nothing is None
    assert least_memory.num_bytes == SMALL.num_bytes + 10**8


def test_trials_give_a_loss_with_an_interval():
    trials = [Trial(62, 4.6), Trial(125, 4.3)]
    loss_model = LOSS_MODEL.with_trials(trials, 1000)
    low, expected, high = loss_model.loss(10**6, 1000)
    assert low < expected < high < 4.3
    assert loss_model.loss(10**7, 1000)[1] < expected
    assert all(
        each.loss[0] < each.loss[1] < each.loss[2] for each in best(600, loss_model=loss_model)
    )


def test_the_loss_difference_of_the_recipe_to_itself_is_zero():
    assert LOSS_MODEL.loss(10**6, 1000) == (0, 0, 0)


@pytest.mark.parametrize(
    ("budget", "number"), [(2000, 1), (600, 2), (110, 11), (10, None), (10.5, None)]
)
def test_several_devices_share_all_but_the_fixed_part(budget, number):
    assert num_devices_within(budget, 1000.0, 10.0) == number


def test_steps_within_a_budget_without_validations():
    costs = CostModel(fixed=1.0, per_step=0.1, per_validation=0.0)
    assert costs.steps_within(2.05, SCHEDULE) == 10
