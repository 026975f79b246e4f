"""A plan from the recipe to the result."""

import pytest
from runs import four_steps

from llmkit.errors import UserError
from llmkit.planning.devices import find_device
from llmkit.runtime.console import make_console
from llmkit.workflows.plan import make_plan


def test_a_device_is_estimated_without_timing_a_step(tmp_path, tiny_gpt2, monkeypatch):
    monkeypatch.chdir(tmp_path)
    recipe = four_steps(tiny_gpt2, tmp_path)
    plan = make_plan(recipe, make_console(quiet=True), 3600, None, find_device("t4"))
    assert plan.prediction.basis == "estimated for t4"
    assert plan.prediction.num_steps == 4
    assert plan.proposals
    assert not list(tmp_path.glob("runs*"))


def test_trials_are_refused_for_another_device(tmp_path, tiny_gpt2):
    recipe = four_steps(tiny_gpt2, tmp_path)
    with pytest.raises(UserError, match="trials run on this machine only"):
        make_plan(recipe, make_console(quiet=True), None, None, find_device("t4"), runs_trials=True)


def test_a_recipe_that_finetune_rejects_is_rejected(tmp_path, tiny_gpt2):
    recipe = four_steps(tiny_gpt2, tmp_path, "data.max_length=4096")
    with pytest.raises(UserError, match="exceeds the model's 128 positions"):
        make_plan(recipe, make_console(quiet=True))
