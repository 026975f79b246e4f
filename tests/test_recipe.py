"""Recipes: strict, typed, and every mistake named with its place and the nearest key."""

import ast
import difflib
import random
import re
import string
from pathlib import Path

import pytest
import yaml

from llmkit import recipe as recipe_module
from llmkit.errors import UserError
from llmkit.recipe import list_recipes, load_recipe, save_recipe
from llmkit.schema import Recipe, iter_fields
from llmkit.tasks import TASKS

KEYS = [key for key, *_ in iter_fields()]


def mistakes(name: str, *overrides: str) -> list[str]:
    with pytest.raises(UserError) as error:
        load_recipe(name, overrides=overrides)
    return str(error.value).splitlines()


def test_every_recipe_has_both_scales_and_a_known_task():
    assert [path.stem for path in list_recipes()] == ["pretrain", "qa", "summarize", "translate"]
    for path in list_recipes():
        for scale in ("sample", "full"):
            recipe = load_recipe(path.stem, scale=scale)
            assert recipe.task in TASKS
            assert (recipe.data.hub is None) == (scale == "sample")


def test_sample_is_the_default_scale():
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
    assert recipe.model == "123"


def test_yaml_reads_as_people_expect(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("task: qa\ntrain: {epochs: 1, learning_rate: 2e-5, mixed_precision: no}\n")
    recipe = load_recipe(str(path), overrides=("truncate_completion=true",))
    assert recipe.train.learning_rate == 2e-5
    assert recipe.train.mixed_precision == "no"
    assert recipe.truncate_completion is True
    assert "train.device: " in mistakes("qa", "train.device=no")[0]


def test_all_mistakes_are_reported_at_once():
    lines = mistakes("summarize", "train.learning_rat=2e-5", "train.epochs=many", "sed=1")
    assert len(lines) == 3
    assert any("did you mean train.learning_rate?" in line for line in lines)
    assert any("train.epochs" in line and "'many'" in line for line in lines)
    assert any("did you mean seed?" in line for line in lines)


def test_a_key_in_the_wrong_section_is_pointed_to_its_own():
    assert "did you mean train.learning_rate?" in mistakes("qa", "learning_rate=1e-4")[0]


def likeness(key: str, typed: str) -> float:
    return difflib.SequenceMatcher(None, key, typed).ratio()


def mutations(key: str) -> set[str]:
    """The key's last name with a letter lost, doubled and replaced."""
    section, dot, name = key.rpartition(".")
    rng = random.Random(key)
    at = rng.randrange(1, len(name))
    other = rng.choice([c for c in string.ascii_lowercase if c != name[at]])
    changed = {name[:at] + name[at + 1 :], name[:at] + name[at] + name[at:]}
    changed.add(name[:at] + other + name[at + 1 :])
    siblings = {k.rpartition(".")[2] for k in KEYS if k.rpartition(".")[0] == section}
    return {section + dot + new for new in changed if new not in siblings}


@pytest.mark.parametrize("key", [key for key in KEYS if len(key.rpartition(".")[2]) > 2])
def test_a_mistyped_key_is_refused_with_the_right_one(key):
    for typed in mutations(key):
        hints = [line for line in mistakes("qa", f"{typed}=1") if f"unknown key {typed}" in line]
        (hinted,) = re.findall(r"did you mean (\S+)\?", hints[0])
        # `top_` is as near to top_k as to top_p: either will do.
        assert hinted == key or likeness(hinted, typed) >= likeness(key, typed)


def test_a_mistake_in_a_file_names_file_and_line(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("task: qa\ntrain:\n  epochs: 1\n  learning_rat: 0.1\n")
    assert mistakes(str(path))[0].startswith(f"{path}:4: unknown key train.learning_rat;")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("task: [qa", ":1: not valid YAML"),
        ("task: qa\ntask: qa\n", ":2: not valid YAML: the key task stands twice"),
        ("- qa\n", "a recipe is a mapping"),
        ("", "a recipe is a mapping"),
        ("task: qa\ntrain: !!python/object:os.system {}\n", "not valid YAML"),
        ("task: qa\n", "the key train is missing"),
        ("task: qa\ntrain: {epochs: 1, max_steps: 5}\n", "one of train.epochs and train.max_steps"),
        ("task: qa\ntrain: {epochs: 1}\nmax_length: 64\n", "leaves no room"),
        ("task: qa\ntrain: {epochs: 1}\ndata: {test: a.jsonl}\n", "data.train is missing"),
        ("task: qa\ntrain: {epochs: 1}\ngeneration: {top_k: 5}\n", "need a temperature above 0"),
    ],
)
def test_bad_files_end_in_one_line(tmp_path, text, expected):
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    (line,) = mistakes(str(path))
    assert line.startswith(str(path))
    assert expected in line


def test_a_saved_recipe_reads_back_equal(tmp_path):
    recipe = load_recipe("translate", overrides=("seed=7", "train.method=lora"))
    save_recipe(recipe, tmp_path / "recipe.yaml")
    assert load_recipe(str(tmp_path / "recipe.yaml")) == recipe


def test_every_field_is_documented_and_read_somewhere():
    """No dead knobs: each field's name is an attribute that some module of the package reads."""
    package = Path(recipe_module.__file__).parent
    read = {
        node.attr
        for path in package.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Attribute)
    }
    passed_whole = ("scratch.", "train.lora.")  # handed to GPT2Config and LoraConfig as they are
    for key, _, _, text in iter_fields():
        assert text.strip(), f"{key} has no documentation"
        if not key.startswith(passed_whole):
            assert key.rpartition(".")[2] in read, f"nothing reads {key}"
    assert len(KEYS) > 50


def test_scales_hold_no_unknown_sections():
    for path in list_recipes():
        content = yaml.safe_load(path.read_text("utf-8"))
        assert set(content["scales"]["sample"]) <= set(Recipe.model_fields)
