"""A recipe sets up its task: the prompt, and the settings of the metrics."""

import pytest

from llmkit.config.recipe import load_recipe
from llmkit.config.schema import Data
from llmkit.data.recipe_task import prompt_task, recipe_task
from llmkit.errors import UserError
from llmkit.tasks import get_task


def task_of(name: str, *overrides: str):
    return recipe_task(load_recipe(name, overrides=overrides))


def test_the_template_of_the_recipe_replaces_that_of_the_task():
    assert prompt_task("qa", Data()) == get_task("qa")
    data = Data(template="{question} {context} =>")
    assert prompt_task("qa", data).template == "{question} {context} =>"


def test_metrics_get_the_settings_of_the_recipe():
    task = task_of("qa", "evaluation.f1=characters", "evaluation.bleu.tokenize=char")
    assert task.metrics == ("squad:characters", "bleu:char:effective", "rouge")


@pytest.mark.parametrize("name", ["pretrain", "classify"])
def test_bertscore_is_refused_for_a_task_that_generates_no_texts(name):
    with pytest.raises(UserError, match=f"evaluation.bertscore: {name} generates no texts"):
        task_of(name, "evaluation.bertscore.model=encoder")


def test_votes_are_refused_for_a_task_without_final_answers():
    votes = ("evaluation.votes=3", "generation.temperature=1")
    assert "majority_vote" in task_of("reason", *votes).scores
    with pytest.raises(UserError, match=r"evaluation\.votes: qa has no final answer to vote on"):
        task_of("qa", *votes)
