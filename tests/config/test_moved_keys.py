"""Keys of earlier versions: refused with their present name, and read from earlier runs."""

import pytest
import yaml

from llmkit.config.moved_keys import MOVED, moved_key, upgrade_recipe
from llmkit.config.recipe import load_recipe
from llmkit.config.recipe_files import to_yaml
from llmkit.config.schema_keys import find_field
from llmkit.errors import UserError


def test_every_moved_key_leads_to_a_key_of_the_schema():
    for old, new in MOVED.items():
        found, field = find_field(tuple(new.split(".")))
        assert found == new, old
        assert field is not None or new == "model.scratch"
    assert moved_key("scratch.n_layer") == "model.scratch.n_layer"
    assert moved_key("train.epochs") is None


@pytest.mark.parametrize("old", ["max_length=64", "train.engine=fast", "scratch.n_layer=2"])
def test_an_earlier_key_is_refused_with_its_present_name(old):
    key = old.partition("=")[0]
    with pytest.raises(UserError, match=f"unknown key {key}; it is now {moved_key(key)}"):
        load_recipe("summarize", overrides=(old,))


def earlier_recipe() -> dict:
    """The recipe that a run of an earlier version recorded."""
    content = yaml.safe_load(to_yaml(load_recipe("summarize").model_dump(mode="json")))
    model, data = content["model"], content["data"]
    content |= {key: data.pop(key) for key in MOVED if key in data}
    content |= {
        "model": model["name"], "model_revision": model["revision"], "scratch": model["scratch"],
    }  # fmt: skip
    content["train"].pop("forward")
    content["train"]["engine"] = "reference"
    return content


def test_a_run_of_an_earlier_version_can_be_read(tmp_path):
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(earlier_recipe()), "utf-8")
    expected = load_recipe("summarize", overrides=("train.forward=transformers",))
    assert load_recipe(str(path)) == expected
    assert upgrade_recipe({"task": "qa", "max_length": 64}) == {"task": "qa", "max_length": 64}


@pytest.mark.parametrize("name", ["embedded", "gpt2"])
def test_a_name_alone_stands_for_the_model_section(tmp_path, name):
    path = tmp_path / "mine.yaml"
    path.write_text(f"task: qa\nmodel: {name}\ntrain: {{max_steps: 1}}\n", "utf-8")
    assert load_recipe(str(path)).model.name == name
    recipe = load_recipe(str(path), overrides=("model.revision=main", "model=123"))
    assert (recipe.model.name, recipe.model.revision) == ("123", "main")


def test_a_model_of_the_wrong_type_is_named_with_its_line(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("task: qa\ntrain: {max_steps: 1}\nmodel: 3\n", "utf-8")
    with pytest.raises(UserError, match=r"mine\.yaml:3: model\.name: takes text; got 3"):
        load_recipe(str(path))
