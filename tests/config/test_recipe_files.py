"""Recipe files: those of the package, and YAML as people expect it."""

import pytest
import yaml
from recipe_mistakes import mistakes

from llmkit.config.recipe import load_recipe
from llmkit.config.recipe_files import list_recipes
from llmkit.config.schema import Recipe
from llmkit.tasks import TASKS


def test_every_recipe_has_both_scales_and_a_known_task():
    assert {path.stem for path in list_recipes()} == set(TASKS)
    for path in list_recipes():
        for scale in ("sample", "full"):
            recipe = load_recipe(path.stem, scale=scale)
            assert recipe.task in TASKS
            assert (recipe.data.hub is None) == (scale == "sample")


def test_the_full_pretraining_has_the_published_settings_of_nanogpt():
    """config/train_gpt2.py and the defaults of train.py, at commit 3adf61e1."""
    recipe = load_recipe("pretrain", scale="full")
    train, scratch = recipe.train, recipe.model.scratch
    tokens_per_step = train.global_batch_size * recipe.data.max_length
    assert tokens_per_step == 12 * 1024 * 5 * 8
    assert (train.max_steps, train.warmup_steps, train.schedule) == (600_000, 2_000, "cosine")
    assert (train.learning_rate, train.min_learning_rate) == (6e-4, 6e-5)
    assert (train.optimizer, train.betas, train.weight_decay) == ("adamw", [0.9, 0.95], 0.1)
    assert (train.max_grad_norm, train.dropout) == (1.0, 0.0)
    assert (scratch.n_layer, scratch.n_head, scratch.n_embd) == (12, 12, 768)
    assert (scratch.tokenizer, scratch.n_positions, scratch.initializer_range) == (
        "gpt2", 1024, 0.02,
    )  # fmt: skip


def test_gpt2_is_trained_further_on_the_same_texts():
    scratch, pretrained = (load_recipe("pretrain", scale=s) for s in ("full", "full-from-gpt2"))
    assert pretrained.model.name == "gpt2"
    assert pretrained.data == scratch.data
    assert pretrained.evaluation == scratch.evaluation


def test_yaml_floats_and_no_are_read_as_users_expect(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("task: qa\ntrain: {epochs: 1, learning_rate: 2e-5, mixed_precision: no}\n")
    recipe = load_recipe(str(path), overrides=("data.truncate_completion=true",))
    assert recipe.train.learning_rate == 2e-5
    assert recipe.train.mixed_precision == "no"
    assert recipe.data.truncate_completion is True
    assert "train.device: " in mistakes("qa", "train.device=no")[0]


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
        (f"task: {'[' * 3000}\n", ":1: not valid YAML: nested too deeply; fix this line"),
        ("task: qa\ntrain: {epochs: 1}\nnull: 0\n", ":3: unknown key null"),
        ("task: qa\ntrain:\n  epochs: 1\n  3: 1\n", ":4: unknown key train.3"),
        ("task: qa\n2026-01-31: 1\ntrain: {epochs: 1}\n", ":2: unknown key 2026-01-31"),
        ("task: qa\ntrain: {epochs: 1}\ndata:\n  true: x\n", ":4: unknown key data.true"),
        ("task: qa\ntrain: {epochs: 1}\nscales: 5\n", "scales: each is a section of keys"),
        ('task: qa\ntrain: {epochs: 1}\n"a\\nb": 1\n', r":3: unknown key a\nb"),
        ("task: qa\n", "train.epochs or train.max_steps must be set"),
        ("task: qa\ntrain: {seed: 1}\n", ":2: unknown key train.seed"),
        ("task: qa\ntrain: {max_steps: null}\n", "train.epochs or train.max_steps must be set"),
        ("task: qa\ntrain: {epochs: 1, max_steps: 5}\n", "one of train.epochs and train.max_steps"),
        ("task: qa\ntrain: {epochs: 1}\ndata: {max_length: 64}\n", "leaves no room"),
        ("task: qa\ntrain: {epochs: 1}\ndata: {test: a.jsonl}\n", "data.train is missing"),
        ("task: qa\ntrain: {epochs: 1}\ngeneration: {top_k: 5}\n", "require a temperature above 0"),
    ],
)
def test_a_broken_recipe_file_is_refused_in_one_line(tmp_path, text, expected):
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    (line,) = mistakes(str(path))
    assert line.startswith(str(path))
    assert expected in line


def test_keys_of_a_mapping_are_text(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(
        "task: qa\ntrain: {epochs: 1}\ndata: {train: a.jsonl, tests: {2024: b.jsonl}}\n"
        "generation: {json_schema: {properties: {1: {type: string}, null: {}}}}\n"
    )
    recipe = load_recipe(str(path))
    assert recipe.data.tests == {"2024": "b.jsonl"}
    assert set(recipe.generation.json_schema["properties"]) == {"1", "null"}


def test_lists_may_be_nested_as_deep_as_a_json_schema_needs(tmp_path):
    path = tmp_path / "mine.yaml"
    schema = "{items: " * 40 + "{}" + "}" * 40
    path.write_text(f"task: qa\ntrain: {{epochs: 1}}\ngeneration: {{json_schema: {schema}}}\n")
    assert load_recipe(str(path)).generation.json_schema is not None


def test_scales_hold_no_unknown_sections():
    for path in list_recipes():
        content = yaml.safe_load(path.read_text("utf-8"))
        assert set(content["scales"]["sample"]) <= set(Recipe.model_fields)
