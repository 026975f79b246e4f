"""Decoding settings: what they take, and which of them exclude each other."""

import json
import math

import pytest
from pydantic import ValidationError

from llmkit.config.generation import MAX_SCHEMA_BYTES, Generation, read_json_schema
from llmkit.config.recipe import load_recipe, recipe_keys, to_override
from llmkit.config.recipe_files import to_yaml
from llmkit.errors import UserError

SCHEMA = {"type": "object", "properties": {"age": {"type": "integer"}}}
CONSTRAINTS = {"choices": ["yes", "no"], "regex": "a+", "json_schema": {}}


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"top_k": 5}, "top_k, top_p and min_p require a temperature above 0"),
        ({"top_p": 0.9}, "top_k, top_p and min_p require a temperature above 0"),
        ({"min_p": 0.1}, "top_k, top_p and min_p require a temperature above 0"),
        ({"num_return_sequences": 2}, "num_return_sequences requires"),
        ({"temperature": 1e-4}, "overflows"),
        ({"min_new_tokens": 9, "max_new_tokens": 8}, "min_new_tokens must not exceed"),
        ({"length_penalty": 2.0}, "length_penalty requires num_beams above 1"),
        (
            {"choices": ["a"], "json_schema": {}},
            "choices and json_schema are mutually exclusive; set only one",
        ),
        (
            {"choices": ["a"], "regex": "a"},
            "choices and regex are mutually exclusive; set only one",
        ),
        *[
            ({name: value} | other, f"{name} cannot be combined with {word}")
            for name, value in CONSTRAINTS.items()
            for word, other in {
                "num_beams above 1": {"num_beams": 2},
                "min_new_tokens": {"min_new_tokens": 1},
                "no_repeat_ngram_size": {"no_repeat_ngram_size": 3},
                "stop": {"stop": ["."]},
            }.items()
        ],
    ],
)
def test_settings_that_exclude_each_other_are_refused(settings, expected):
    with pytest.raises(ValidationError, match=expected):
        Generation(**settings)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *[
            (name, value)
            for name in ("temperature", "min_p", "repetition_penalty", "length_penalty")
            for value in (math.nan, math.inf, -math.inf, -11.0, "1", True)
        ],
        ("min_p", 1.1),
        ("repetition_penalty", 0.0),
        ("repetition_penalty", 1e30),
        ("length_penalty", 11.0),
        ("no_repeat_ngram_size", -1),
        ("no_repeat_ngram_size", 2.0),
        ("stop", [""]),
        ("stop", [3]),
        ("stop", 3),
        ("stop", [None]),
        ("stop", ["a", "a"]),
        ("stop", ["\udc80"]),
        ("choices", ["a", ""]),
        ("choices", ["a", "b", "a"]),
        ("choices", {"a": 1}),
        ("regex", ""),
        ("regex", 1),
        ("regex", "\udc80"),
        ("json_schema", []),
        ("json_schema", True),
        ("json_schema", "schema.json"),
        ("json_schema", {"const": math.nan}),
        ("json_schema", {"const": {1, 2}}),
        ("json_schema", {"const": "x" * MAX_SCHEMA_BYTES}),
    ],
)
def test_values_out_of_range_are_refused(name, value):
    settings = {"num_beams": 2} if name == "length_penalty" else {"temperature": 1.0}
    with pytest.raises(ValidationError) as caught:
        Generation(**settings | {name: value})
    assert {mistake["loc"][0] for mistake in caught.value.errors()} == {name}


@pytest.mark.parametrize(("name", "value"), CONSTRAINTS.items())
def test_a_generation_names_its_constraint(name, value):
    assert Generation(**{name: value}).constraint == name
    assert Generation().constraint is None


def test_one_text_is_a_list_of_one():
    assert Generation(stop="\n").stop == ["\n"]
    assert Generation(choices="yes").choices == ["yes"]


@pytest.mark.parametrize("key", ["generation.stop", "generation.choices", "evaluation.by"])
def test_a_list_of_texts_on_the_command_line_takes_numbers_and_words_as_they_are(key):
    recipe = load_recipe("summarize", overrides=(f"{key}=007,yes,1e3,null,2026-01-01",))
    section, name = key.split(".")
    assert getattr(getattr(recipe, section), name) == ["007", "yes", "1e3", "null", "2026-01-01"]
    quoted = load_recipe("summarize", overrides=(rf'{key}=["\n", "a, b"]',))
    assert getattr(getattr(quoted, section), name) == ["\n", "a, b"]


def test_texts_from_python_are_taken_as_they_are():
    texts = ["\n", "👍🏽", "\u2028\x85", "ü", "a, b", "#", ": ", "'\"\\", "\x7f\x00", "~"]
    recipe = load_recipe("summarize", overrides=(to_override("generation.stop", texts),))
    assert recipe.generation.stop == texts
    schema = {"enum": texts}
    recipe = load_recipe("summarize", overrides=(to_override("generation.json_schema", schema),))
    assert recipe.generation.json_schema == schema


def test_a_json_schema_is_given_in_the_recipe_or_in_a_file(tmp_path):
    file = tmp_path / "schema.json"
    file.write_text(json.dumps(SCHEMA), "utf-8")
    for value in (SCHEMA, str(file)):
        override = to_override("generation.json_schema", value)
        recipe = load_recipe("summarize", overrides=(override,))
        assert recipe.generation.json_schema == SCHEMA


def test_a_recipe_with_every_constraint_is_read_back_as_it_was_written(tmp_path):
    shared = {"type": "string", "pattern": "^[a-z]+$"}
    schema = {"type": "object", "properties": {"a": shared, "b": shared}}
    written = tmp_path / "recipe.yaml"
    for settings in ({"json_schema": schema}, {"regex": r"\d+\n"}, {"choices": ["yes", "1"]}):
        recipe = load_recipe("summarize")
        recipe = recipe.model_copy(update={"generation": Generation(**settings)})
        written.write_text(to_yaml(recipe.model_dump(mode="json")), "utf-8")
        assert load_recipe(str(written)) == recipe


def test_a_json_schema_is_one_value_among_the_keys_of_a_recipe():
    def keys(schema):
        override = to_override("generation.json_schema", schema)
        return recipe_keys(load_recipe("summarize", overrides=(override,)))

    free = recipe_keys(load_recipe("summarize"))
    assert free["generation.json_schema"] is None
    assert keys({}).keys() == keys(SCHEMA).keys() == free.keys()
    assert len({keys({})["generation.json_schema"], keys(SCHEMA)["generation.json_schema"]}) == 2
    assert keys(SCHEMA) == keys(json.loads(json.dumps(SCHEMA)))


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (None, "no such file"),
        (b'{"type": ', ":1: not JSON"),
        (b'{\n"type": x}', ":2: not JSON"),
        (b"\xff\xfe", "not JSON"),
        (b"[" * 30_000, "nested too deeply"),
        (b" " * (MAX_SCHEMA_BYTES + 1), "too large"),
        (b"1" * 5000, "not JSON"),
    ],
)
def test_a_file_that_holds_no_json_schema_is_refused_with_its_name(tmp_path, content, expected):
    file = tmp_path / "schema.json"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(UserError, match=expected) as caught:
        read_json_schema(file)
    assert str(file) in str(caught.value)
    override = f"generation.json_schema={file}"
    with pytest.raises(UserError) as through_a_recipe:
        load_recipe("summarize", overrides=(override,))
    assert str(through_a_recipe.value) == f"{override}: {caught.value}"


def test_a_missing_schema_file_is_reported_at_its_line_of_the_recipe(tmp_path):
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("task: qa\ngeneration:\n  json_schema: absent.json\n", "utf-8")
    with pytest.raises(UserError, match=r"recipe\.yaml:3: absent\.json: no such file"):
        load_recipe(str(recipe))
