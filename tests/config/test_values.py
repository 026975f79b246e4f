"""Wrong values are answered with what their key takes."""

import pytest
from recipe_mistakes import mistakes

from llmkit.config.recipe import load_recipe


@pytest.mark.parametrize(
    "value",
    ["2026-13-45", "!!int x", "1" * 5000, "[" * 3000, "a\nb", "\x1b[31m", "*a", "{a: 1, a: 2}"],
)
def test_a_wrong_value_is_refused_in_one_line(value):
    (line,) = mistakes("qa", f"seed={value}")
    assert line.startswith("seed=")
    assert line.isprintable()


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("train.betas=0.9", "a list of 2 items, each a number from 0 and below 1, such as 0.9,"),
        ("train.betas=0.9,1.5", "got 1.5"),
        ("train.warmup_steps=1.5", "a whole number from 0, or a number from 0 and below 1"),
        ("train.warmup_steps=1.0", "a number from 0 and below 1; got 1.0"),
        ("train.warmup_steps=-0.1", "a number from 0 and below 1; got -0.1"),
        ("train.schedule=cosin", "got 'cosin'; did you mean cosine?"),
        ("trackers=wandb,board", "each one of tensorboard, wandb, trackio; got 'board'"),
        ("data.packing=yes", "takes true or false; got 'yes'"),
        ("evaluation.every=0", "takes a whole number from 1, or null; got 0"),
        ("train.global_batch_size=null", "takes a whole number from 1; got null"),
        ("train.learning_rate=true", "takes a number above 0; got true"),
        ("train=5", "train is a section; set one of its keys, such as train.method"),
        ("data.tests.a=3", "data.tests"),
    ],
)
def test_a_wrong_value_is_answered_with_what_the_key_takes(override, expected):
    (line,) = mistakes("qa", override)
    assert line.startswith(f"{override}: ")
    assert expected in line


def test_a_list_can_be_given_with_commas():
    recipe = load_recipe(
        "qa",
        overrides=("train.betas=0.9,0.95", "trackers=wandb,tensorboard", "evaluation.by=topic,len",
                   "train.lora.target_modules=c_fc"),
    )  # fmt: skip
    assert recipe.train.betas == [0.9, 0.95]
    assert recipe.trackers == ["wandb", "tensorboard"]
    assert recipe.evaluation.by == ["topic", "len"]
    assert recipe.train.lora.target_modules == ["c_fc"]
    assert load_recipe("qa", overrides=("train.betas=[0.9, 0.95]",)).train.betas == [0.9, 0.95]
    assert load_recipe("qa", overrides=("trackers=",)).trackers == []
