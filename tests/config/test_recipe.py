"""Recipes: strict, typed, and every mistake named with its place and the nearest key."""

from pathlib import Path

import pytest
from recipe_mistakes import mistakes

from llmkit.config.recipe import load_recipe, with_absolute_paths
from llmkit.config.recipe_files import to_yaml
from llmkit.errors import UserError


def test_the_first_scale_is_the_default():
    assert load_recipe("qa") == load_recipe("qa", scale="sample")


def test_overrides_reach_every_level_with_the_right_type():
    recipe = load_recipe(
        "summarize",
        overrides=(
            "train.learning_rate=2e-5",
            "train.lora.r=4",
            "data.train=rows.jsonl",
            "data.columns.summary=tldr",
            "train.max_grad_norm=null",
            "model=123",
        ),
    )
    assert recipe.train.learning_rate == 2e-5
    assert recipe.train.lora.r == 4
    assert recipe.data.columns == {"summary": "tldr"}
    assert recipe.train.max_grad_norm is None
    assert recipe.model.name == "123"


def test_the_size_of_random_weights_is_refused_for_another_model():
    (mistake,) = mistakes("summarize", "model.scratch.n_layer=2", "model=gpt2")
    assert mistake.startswith("model.scratch.n_layer=2: the model is gpt2, whose size is fixed")
    assert mistakes("summarize", "model.scratch={}", "seed=1")
    recipe = load_recipe("summarize", overrides=("model.scratch.n_layer=2", "model=scratch"))
    assert recipe.model.scratch.n_layer == 2
    assert load_recipe("pretrain", scale="full-from-gpt2").model.name == "gpt2"


def test_all_mistakes_of_a_recipe_are_reported_at_once():
    lines = mistakes("summarize", "train.learning_rat=2e-5", "train.epochs=many", "sed=1")
    assert len(lines) == 3
    assert any("did you mean train.learning_rate?" in line for line in lines)
    assert any("train.epochs" in line and "'many'" in line for line in lines)
    assert any("did you mean seed?" in line for line in lines)


def lengths(name: str, *overrides: str) -> tuple[float | None, int | None]:
    train = load_recipe(name, overrides=overrides).train
    return train.epochs, train.max_steps


def test_max_steps_and_epochs_replace_each_other(tmp_path):
    assert lengths("summarize", "train.max_steps=3") == (None, 3)
    path = tmp_path / "steps.yaml"
    path.write_text(
        "task: qa\ntrain: {max_steps: 9}\n"
        "scales: {steps: {seed: 1}, passes: {train: {epochs: 2}}}\n"
    )
    assert lengths(str(path)) == (None, 9)
    assert lengths(str(path), "train.epochs=0.5") == (0.5, None)
    assert load_recipe(str(path), scale="passes").train.max_steps is None
    assert lengths("summarize", "train.epochs=null", "train.max_steps=3") == (None, 3)
    assert lengths("summarize", "train.max_steps=null") == lengths("summarize")
    with pytest.raises(UserError, match="must be set"):
        lengths("summarize", "train.max_steps=3", "train={}")
    assert mistakes("summarize", "train.epochs=1", "train.max_steps=3") == [
        "train.epochs=1 train.max_steps=3: give one of them"
    ]


def test_a_saved_recipe_reads_back_equal(tmp_path):
    recipe = load_recipe("translate", overrides=("seed=7", "train.method=lora"))
    (tmp_path / "recipe.yaml").write_text(to_yaml(recipe.model_dump(mode="json")), "utf-8")
    assert load_recipe(str(tmp_path / "recipe.yaml")) == recipe


def test_absolute_paths_do_not_change_hub_ids_and_embedded_names(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "gpt2").mkdir()
    ours = load_recipe("summarize", overrides=("data.hub=x/y", "data.train=train", "model=gpt2-xl"))
    assert with_absolute_paths(ours) == ours
    overrides = ("data.train=a.csv", "data.tests.b=~/b.csv", "model=gpt2")
    found = with_absolute_paths(load_recipe("summarize", overrides=overrides))
    assert found.data.train == str(tmp_path / "a.csv")
    assert found.data.tests == {"b": str(Path.home() / "b.csv")}
    assert found.data.test is None
    assert found.model.name == str(tmp_path / "gpt2")
    assert with_absolute_paths(found) == found
