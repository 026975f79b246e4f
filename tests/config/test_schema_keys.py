"""Every key of a recipe is documented, read by the code, and named in messages."""

import ast
import random
from collections import Counter

import pytest
import yaml
from recipe_mistakes import KEYS, MIXED_SET, SECTIONS, mistakes

from llmkit.config.recipe import load_recipe, recipe_keys
from llmkit.config.schema_keys import NAME, documented_key, find_field, iter_fields
from llmkit.paths import PACKAGE


def test_a_key_in_the_wrong_section_is_answered_with_the_right_one():
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
        section, dot, _ = key.partition(f"{NAME}.")
        needed = [f"{section}{NAME}.{name}={value}" for name, value in MIXED_SET.items() if dot]
        assert mistakes("qa", *needed, f"{typed}=1") == [expected]
        passed()


@pytest.mark.parametrize("key", KEYS + SECTIONS)
def test_a_mistake_in_a_file_names_file_and_line(tmp_path, key):
    *sections, _ = key.split(".")
    content = section = load_recipe("qa").model_dump(mode="json")
    for name in sections:
        section = section.setdefault(name, dict(MIXED_SET))
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


def test_every_key_is_documented_and_used_in_the_code():
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


def test_sections_with_a_name_of_the_users_choice_have_documented_keys():
    fields = {key for key, *_ in iter_fields()}
    assert {"data.mix", "data.mix.NAME.share", "data.mix.NAME.hub"} <= fields
    assert documented_key("data.mix.my-books.share") == ("data.mix.NAME.share", "my-books")
    assert documented_key("data.tests.hard") == ("data.tests.hard", NAME)
    key, field = find_field(("data", "mix", "my-books", "share"))
    assert key == "data.mix.my-books.share"
    assert field.annotation is float
    assert find_field(("data", "mix", "my-books"))[1] is None
    assert find_field(("data", "mix", "my-books", "none"))[1] is None


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (["train=b.jsonl"], "the key data.mix.books.share is missing; add it"),
        (["share=0.5"], "the key data.mix.books.train is missing; add it"),
        (["train=b.jsonl", "share=1"], "takes a number above 0 and below 1; got 1"),
        (["train=b.jsonl", "share=0.5", "shar=2"], "did you mean data.mix.books.share?"),
        (["train=b.jsonl", "share=0.5", "columns.text=[]"], "list of names"),
        (["train=b.jsonl", "share=0.5", "streaming=true"], "streaming needs hub and limit"),
        (["train=b.jsonl", "share=0.5", "encoding=klingon"], "not a text encoding"),
    ],
)
def test_mistakes_in_a_mixed_set_are_refused_with_its_name(overrides, expected):
    found = mistakes("pretrain", *(f"data.mix.books.{override}" for override in overrides))
    assert any(expected in mistake for mistake in found), found
    assert all("data.mix.books" in mistake for mistake in found)


@pytest.mark.parametrize(
    ("recipe", "overrides", "expected"),
    [
        ("qa", ["books.share=0.1"], "only task=pretrain can mix sets by their shares"),
        ("pretrain", ["books.share=0.6", "code.train=c", "code.share=0.4"], "add up to 1"),
        ("pretrain", ["books.share=0.1", "x y.train=c", "x y.share=0.1"], "choose a name"),
        ("pretrain", ["books.share=0.1", "Books.train=c", "Books.share=0.1"], "choose a name"),
        ("pretrain", ["books=b.jsonl"], "data.mix.books is a section; set one of its keys"),
    ],
)
def test_sets_that_cannot_be_mixed_are_refused(recipe, overrides, expected):
    given = [f"data.mix.{override}" for override in ("books.train=b.jsonl", *overrides)]
    (mistake,) = mistakes(recipe, *given)
    assert expected in mistake


@pytest.mark.parametrize(
    ("recipe", "overrides", "blamed"),
    [
        ("pretrain", ["data.train=a", "data.mix.b.train=b", "data.mix.b.share=1e-1",
                      "data.mix.c.train=c", "data.mix.c.share=0.95"], "data.mix.b.train=b"),
        ("pretrain", ["data.train=a", "data.mix.test.train=b", "data.mix.test.share=0.1"],
         "data.mix.test.train=b"),
        ("pretrain", ["data.train=a", "data.mix.b.share=0.1"], "data.mix.b.share=0.1"),
        ("qa", ["data.train=a", "data.mix.b.train=b", "data.mix.b.share=0.1"],
         "data.mix.b.train=b"),
        ("qa", ["generation.max_new_tokens=9", "generation.top_k=5"], "generation.top_k=5"),
        ("qa", ["evaluation.every=9", "evaluation.votes=3"], "evaluation.votes=3"),
        ("qa", ["train.epochs=1", "train.max_steps=2"], "train.epochs=1 train.max_steps=2"),
    ],
)  # fmt: skip
def test_values_that_do_not_fit_together_are_blamed_on_an_override_that_is_named(
    recipe, overrides, blamed
):
    (mistake,) = mistakes(recipe, *overrides)
    assert mistake.startswith(f"{blamed}: ")
    assert ": data: " not in mistake, "the message names the whole key"


def test_values_of_a_file_that_do_not_fit_together_are_blamed_on_their_line(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(
        "task: pretrain\ntrain: {epochs: 1}\ndata:\n  train: a\n  mix:\n"
        "    b: {train: b, share: 0.5}\n    c: {train: c, share: 0.5}\n"
    )
    assert mistakes(str(path))[0].startswith(f"{path}:5: data.mix: the shares add up to 1, ")


def test_a_mixed_set_is_text_whatever_it_looks_like():
    given = ("train=2024", "share=0.25", "config=3.0", "columns.text=7")
    recipe = load_recipe("pretrain", overrides=[f"data.mix.books.{each}" for each in given])
    books = recipe.data.mix["books"]
    assert (books.train, books.config, books.columns) == ("2024", "3.0", {"text": "7"})
    assert recipe_keys(recipe)["data.mix.books.train"].endswith("/2024")
    assert recipe_keys(recipe)["data.mix.books.share"] == 0.25
