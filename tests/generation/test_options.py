"""Decoding options override a recipe's settings and are named correctly in messages."""

import json
import math

import pytest

from llmkit.commands.options import DECODING_OPTIONS
from llmkit.config.generation import Generation
from llmkit.errors import UserError
from llmkit.generation.options import Options, flag, key_of
from llmkit.model.load import EMBEDDED_MODEL, load_model
from llmkit.tasks import TASKS

TASK = TASKS["summarize"]


def refused(options, *, as_keywords, recipe=None, task=TASK):
    with pytest.raises(UserError) as caught:
        Options(options, as_keywords=as_keywords).apply_to(recipe or Generation(), task)
    return str(caught.value)


@pytest.mark.parametrize(
    ("options", "as_flags", "as_keywords"),
    [
        (
            {"top_k": 5},
            "--top-k, --top-p and --min-p require a --temperature above 0",
            "top_k, top_p and min_p require a temperature above 0",
        ),
        (
            {"length_penalty": 2.0},
            "--length-penalty requires --num-beams above 1",
            "length_penalty requires num_beams above 1",
        ),
        (
            {"choices": ["a"], "regex": "b"},
            "--choices and --regex are mutually exclusive; set only one",
            "choices and regex are mutually exclusive; set only one",
        ),
        (
            {"regex": "b", "stop": ["c"]},
            "--regex cannot be combined with --stop",
            "regex cannot be combined with stop",
        ),
        (
            {"temperature": -1.0},
            "--temperature: takes a number from 0; got -1.0",
            "temperature: takes a number from 0; got -1.0",
        ),
        (
            {"max_new_tokens": 0, "min_p": 2.0},
            "--max-new-tokens: takes a whole number from 1; got 0\n"
            "--min-p: takes a number from 0 and up to 1; got 2.0",
            "max_new_tokens: takes a whole number from 1; got 0\n"
            "min_p: takes a number from 0 and up to 1; got 2.0",
        ),
        (
            {"stop": ("a", "")},
            "--stop: an empty text; give it at least one character",
            "stop: an empty text; give it at least one character",
        ),
        (
            {"json_schema": "absent.json"},
            "--json-schema: absent.json: no such file; give the path of a JSON Schema",
            "json_schema: absent.json: no such file; give the path of a JSON Schema",
        ),
    ],
)
def test_messages_name_options_as_flags_or_keywords(options, as_flags, as_keywords):
    assert refused(options, as_keywords=False) == as_flags
    assert refused(options, as_keywords=True) == as_keywords


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"temperature": "hot"}, "temperature: takes a number from 0; got 'hot'"),
        ({"temperature": math.nan}, "temperature: takes a number from 0; got nan"),
        ({"top_k": 2.5}, "top_k: takes a whole number from 0; got 2.5"),
        ({"stop": [1, 2]}, "stop: takes a list of items, each text; got 1"),
        ({"json_schema": [1]}, "json_schema: requires a JSON Schema: a mapping, or the path of"),
    ],
)
def test_invalid_keyword_arguments_are_rejected_by_name(options, expected):
    assert refused(options, as_keywords=True).startswith(expected)


@pytest.mark.parametrize(
    ("unknown", "hint"),
    [
        ("max_tokens", "; did you mean max_new_tokens?"),
        ("do_sample", "; did you mean temperature?"),
        ("topk", "; did you mean top_k?"),
        ("stop_strings", "; did you mean stop?"),
        ("guided_json", "; did you mean json_schema?"),
        ("num_beam", "; did you mean num_beams?"),
        ("colour", ""),
    ],
)
def test_unknown_keyword_arguments_are_rejected_with_a_suggestion(unknown, hint):
    message = refused({unknown: 5}, as_keywords=True)
    assert message == f"{unknown}: not a decoding setting{hint}"


def test_options_override_the_recipe():
    recipe = Generation(max_new_tokens=9, temperature=0.5, stop=["x"])
    options = Options({"temperature": None, "top_k": 3, "stop": (), "max_new_tokens": 7})
    expected = Generation(max_new_tokens=7, temperature=0.5, top_k=3, stop=["x"])
    assert options.apply_to(recipe, TASK) == expected
    assert Options({}).apply_to(recipe, TASK) == recipe


def test_a_conflicting_recipe_setting_is_named_by_its_recipe_key():
    message = refused({"regex": "a"}, as_keywords=False, recipe=Generation(stop=["b"]))
    assert message == "--regex cannot be combined with generation.stop"
    message = refused({"stop": ["b"]}, as_keywords=True, recipe=Generation(regex="a"))
    assert message == "generation.regex cannot be combined with stop"


@pytest.mark.parametrize("given", [{"regex": "a"}, {"choices": ("a", "b")}, {"json_schema": {}}])
def test_a_constraint_replaces_the_one_of_the_recipe(given):
    for recipe in ({"regex": "b"}, {"choices": ["c"]}, {"json_schema": {"type": "null"}}):
        generation = Options(given).apply_to(Generation(**recipe), TASK)
        assert generation.constraint == next(iter(given))


def test_a_schema_can_be_given_by_its_path(tmp_path):
    path = tmp_path / "schema.json"
    path.write_text(json.dumps({"type": "boolean"}), "utf-8")
    for given in (path, str(path)):
        generation = Options({"json_schema": given}).apply_to(Generation(), TASK)
        assert generation.json_schema == {"type": "boolean"}


def test_a_classifier_rejects_decoding_options():
    message = refused({"top_p": 1.0}, as_keywords=True, task=TASKS["classify"])
    assert message == "top_p: classify predicts labels and generates no text; remove it"


def test_an_invalid_constraint_is_named_as_the_user_gave_it():
    _, tokenizer = load_model(str(EMBEDDED_MODEL))
    generation = Generation(regex="(a")
    for options, name in (
        (Options({"regex": "(a"}), "--regex"),
        (Options({"regex": "(a"}, as_keywords=True), "regex"),
        (Options({}), "generation.regex"),
    ):
        with pytest.raises(UserError) as caught:
            options.check_constraint(generation, tokenizer)
        assert str(caught.value) == f"{name}: llguidance rejects it: (a: unclosed group"
    Options({}).check_constraint(Generation(), tokenizer)


def test_every_generation_key_has_a_flag():
    flags = {option for make in DECODING_OPTIONS for option in made(make).opts}
    keys = set(Generation.model_fields) - {"num_return_sequences"}  # chat and serve have none
    assert flags == {flag(key) for key in keys}
    assert {key_of(name) for name in flags} == keys


def made(make):
    """The option that a decorator adds."""

    def command():
        pass

    make(command)
    return command.__click_params__[0]
