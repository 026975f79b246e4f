"""Recipes: strict, typed, and every mistake named with its place and the nearest key."""

import ast
import random
import re
from collections import Counter
from pathlib import Path

import pytest
import yaml

from llmkit.config import hints
from llmkit.config.recipe import load_recipe, recipe_yaml, with_absolute_paths
from llmkit.config.recipe_files import list_recipes
from llmkit.config.schema import Recipe
from llmkit.config.schema_keys import iter_fields
from llmkit.errors import UserError
from llmkit.paths import PACKAGE
from llmkit.tasks import TASKS

KEYS = [key for key, *_ in iter_fields()]
SECTIONS = sorted({key.rpartition(".")[0] for key in KEYS} - {""})


def mistakes(name: str, *overrides: str) -> list[str]:
    with pytest.raises(UserError) as error:
        load_recipe(name, overrides=overrides)
    return str(error.value).splitlines()


def test_every_recipe_has_both_scales_and_a_known_task():
    assert {path.stem for path in list_recipes()} == set(TASKS)
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
    assert recipe.model.name == "123"


def test_yaml_reads_as_people_expect(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("task: qa\ntrain: {epochs: 1, learning_rate: 2e-5, mixed_precision: no}\n")
    recipe = load_recipe(str(path), overrides=("data.truncate_completion=true",))
    assert recipe.train.learning_rate == 2e-5
    assert recipe.train.mixed_precision == "no"
    assert recipe.data.truncate_completion is True
    assert "train.device: " in mistakes("qa", "train.device=no")[0]


def test_all_mistakes_are_reported_at_once():
    lines = mistakes("summarize", "train.learning_rat=2e-5", "train.epochs=many", "sed=1")
    assert len(lines) == 3
    assert any("did you mean train.learning_rate?" in line for line in lines)
    assert any("train.epochs" in line and "'many'" in line for line in lines)
    assert any("did you mean seed?" in line for line in lines)


def test_a_key_in_the_wrong_section_is_pointed_to_its_own():
    assert "did you mean train.learning_rate?" in mistakes("qa", "learning_rate=1e-4")[0]


def slips(key: str) -> set[str]:
    """The key with a letter of its last name lost, doubled, swapped, added or replaced."""
    section, dot, name = key.rpartition(".")
    cuts = [(name[:at], name[at:]) for at in range(len(name))]
    typed = {name + "e"}
    typed |= {head + tail[1:] for head, tail in cuts if len(name) > 1}
    typed |= {head + tail[0] + tail for head, tail in cuts}
    typed |= {head + tail[1] + tail[0] + tail[2:] for head, tail in cuts[:-1]}
    typed |= {head + "e" + tail for head, tail in cuts}
    typed |= {head + "e" + tail[1:] for head, tail in cuts if len(name) > 2}
    return {section + dot + new for new in typed} - {*KEYS, *SECTIONS}


SLIPS = Counter(typed for key in KEYS + SECTIONS for typed in slips(key))


def clear_slips(key: str) -> list[str]:
    """Those that are not just as well another key's: `top_` may stand for top_k or for top_p."""
    return sorted(typed for typed in slips(key) if SLIPS[typed] == 1)


@pytest.mark.parametrize("key", KEYS + SECTIONS)
def test_a_mistyped_key_is_refused_with_the_right_one(key, tally):
    for typed in random.Random(key).sample(clear_slips(key), 3):
        passed = tally(
            "recipe keys misspelled in three ways each: rejected with the right suggestion"
        )
        expected = f"{typed}=1: unknown key {typed}; did you mean {key}?"
        assert mistakes("qa", f"{typed}=1") == [expected]
        passed()


@pytest.mark.parametrize("key", KEYS + SECTIONS)
def test_a_mistake_in_a_file_names_file_and_line(tmp_path, key):
    *sections, _ = key.split(".")
    content = section = load_recipe("qa").model_dump(mode="json")
    for name in sections:
        section = section[name]
    section |= {typed.rpartition(".")[2]: 1 for typed in clear_slips(key)}
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(content, sort_keys=False), "utf-8")
    lines = path.read_text("utf-8").splitlines()
    indent = "  " * len(sections)
    expected = []
    for typed in clear_slips(key):
        line = indent + yaml.safe_dump({typed.rpartition(".")[2]: 1}).strip()
        place = f"{path}:{lines.index(line) + 1}"
        expected.append(f"{place}: unknown key {typed}; did you mean {key}?")
    assert sorted(mistakes(str(path))) == sorted(expected)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("task: [qa", ":1: not valid YAML"),
        ("task: qa\ntask: qa\n", ":2: not valid YAML: the key task appears twice"),
        ("- qa\n", "a recipe is a mapping"),
        ("", "a recipe is a mapping"),
        ("task: qa\ntrain: !!python/object:os.system {}\n", "not valid YAML"),
        ("task: qa\nseed: 2026-13-45\n", ":2: not valid YAML: the value is not a valid timestamp"),
        ("task: qa\nseed: !!int x\n", ":2: not valid YAML: the value is not a valid int"),
        (f"task: qa\nseed: {'1' * 5000}\n", ":2: not valid YAML: the value is not a valid int"),
        (f"task: {'[' * 3000}\n", "nested too deeply"),
        ("task: qa\ntrain: {epochs: 1}\nscales: 5\n", "scales: each is a section of keys"),
        ('task: qa\ntrain: {epochs: 1}\n"a\\nb": 1\n', r":3: unknown key a\nb"),
        ("task: qa\n", "the key train is missing"),
        ("task: qa\ntrain: {epochs: 1, max_steps: 5}\n", "one of train.epochs and train.max_steps"),
        ("task: qa\ntrain: {epochs: 1}\ndata: {max_length: 64}\n", "leaves no room"),
        ("task: qa\ntrain: {epochs: 1}\ndata: {test: a.jsonl}\n", "data.train is missing"),
        ("task: qa\ntrain: {epochs: 1}\ngeneration: {top_k: 5}\n", "require a temperature above 0"),
    ],
)
def test_bad_recipe_files_end_in_one_line(tmp_path, text, expected):
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    (line,) = mistakes(str(path))
    assert line.startswith(str(path))
    assert expected in line


@pytest.mark.parametrize(
    "value",
    ["2026-13-45", "!!int x", "1" * 5000, "[" * 3000, "a\nb", "\x1b[31m", "*a", "{a: 1, a: 2}"],
)
def test_bad_values_end_in_one_line(value):
    (line,) = mistakes("qa", f"seed={value}")
    assert line.startswith("seed=")
    assert line.isprintable()


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("train.lr=1e-4", "did you mean train.learning_rate?"),
        ("lr=1e-4", "did you mean train.learning_rate?"),
        ("optimizer.lr=1e-4", "did you mean train.learning_rate?"),
        ("learning_rate=1e-4", "did you mean train.learning_rate?"),
        ("num_train_epochs=3", "did you mean train.epochs?"),
        ("train.batch_size=8", "did you mean train.global_batch_size?"),
        ("per_device_train_batch_size=8", "train.micro_batch_size"),
        ("gradient_accumulation_steps=2", "set train.global_batch_size"),
        ("train.save_steps=3", "did you mean checkpoint.every?"),
        ("eval_steps=3", "did you mean evaluation.every?"),
        ("output_dir=x", "--run-dir DIR"),
        ("report_to=wandb", "did you mean trackers?"),
        ("lora_r=8", "did you mean train.lora.r?"),
        ("lora.alpha=8", "did you mean train.lora.lora_alpha?"),
        ("train.lora_alpha=8", "did you mean train.lora.lora_alpha?"),
        ("model_name_or_path=gpt2", "did you mean model.name?"),
        ("train.fp16=true", "set train.mixed_precision=fp16"),
        ("bf16=true", "set train.mixed_precision=bf16"),
        ("gradient_checkpointing=true", "llmkit has no gradient checkpointing"),
        ("train.warmup_ratio=0.1", "train.warmup_steps=0.1"),
        ("training_args.max-seq-length=9", "did you mean data.max_length?"),
        ("+seed=1", "set any key without a plus sign: seed=1"),
        ("++train.new=1", "without a plus sign: train.new=1"),
        ("~trackers", "to unset a key, set it to null: trackers=null"),
        ("train.epochs", "such as train.epochs=VALUE"),
    ],
)
def test_names_of_other_kits_are_answered_with_ours(override, expected):
    (line,) = mistakes("summarize", override)
    assert override in line
    assert expected in line


def test_names_of_other_kits_are_answered_in_a_file(tmp_path):
    path = tmp_path / "theirs.yaml"
    path.write_text("task: qa\ntrain: {epochs: 1}\ntraining_args:\n  lr: 1e-4\n  fp16: true\n")
    assert mistakes(str(path)) == [
        f"{path}:4: unknown key training_args.lr; did you mean train.learning_rate?",
        f"{path}:5: unknown key training_args.fp16; set train.mixed_precision=fp16",
    ]


def test_hints_name_keys_that_exist_and_never_a_key_of_ours():
    names = {key.rpartition(".")[2] for key in KEYS + SECTIONS}
    assert set(hints.KEYS.values()) <= {*KEYS, *SECTIONS}
    assert names & {*hints.KEYS, *hints.ADVICE} == {"batch_size"}  # evaluation has one
    assert not set(hints.KEYS) & set(hints.ADVICE)
    dotted = {word for text in hints.ADVICE.values() for word in re.findall(r"\w+\.\w+", text)}
    assert dotted - set(KEYS) == {"0.1"}


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
        ("train=5", "train is a section; set one of its keys, such as train.method"),
        ("data.tests.a=3", "data.tests"),
    ],
)
def test_a_wrong_value_is_answered_with_what_the_key_takes(override, expected):
    (line,) = mistakes("qa", override)
    assert line.startswith(f"{override}: ")
    assert expected in line


def test_a_list_is_given_with_commas():
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


def lengths(name: str, *overrides: str) -> tuple[float | None, int | None]:
    train = load_recipe(name, overrides=overrides).train
    return train.epochs, train.max_steps


def test_a_length_replaces_the_other_one_of_the_recipe(tmp_path):
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
    with pytest.raises(UserError, match="give one of"):
        lengths("summarize", "train.max_steps=3", "train={}")
    assert mistakes("summarize", "train.epochs=1", "train.max_steps=3") == [
        "train.epochs=1 train.max_steps=3: give one of them"
    ]


def test_a_saved_recipe_reads_back_equal(tmp_path):
    recipe = load_recipe("translate", overrides=("seed=7", "train.method=lora"))
    (tmp_path / "recipe.yaml").write_text(recipe_yaml(recipe), "utf-8")
    assert load_recipe(str(tmp_path / "recipe.yaml")) == recipe


def test_every_field_is_documented_and_read_somewhere():
    """No dead knobs: each field's name is an attribute that some module of the package reads."""
    package = PACKAGE
    read = {
        node.attr
        for path in package.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Attribute)
    }
    passed_whole = (
        "model.scratch.",
        "train.lora.",
    )  # handed to GPT2Config and LoraConfig as they are
    for key, _, _, text in iter_fields():
        assert text.strip(), f"{key} has no documentation"
        if not key.startswith(passed_whole):
            assert key.rpartition(".")[2] in read, f"nothing reads {key}"
    assert len(KEYS) > 50


def test_scales_hold_no_unknown_sections():
    for path in list_recipes():
        content = yaml.safe_load(path.read_text("utf-8"))
        assert set(content["scales"]["sample"]) <= set(Recipe.model_fields)


def test_absolute_paths_leave_names_of_the_hub_and_the_package_alone(tmp_path, monkeypatch):
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
