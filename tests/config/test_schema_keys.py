"""Every key of a recipe is documented, read by the code, and named in messages."""

import ast
import random
from collections import Counter

import pytest
import yaml
from recipe_mistakes import KEYS, SECTIONS, mistakes

from llmkit.config.recipe import load_recipe
from llmkit.config.schema_keys import iter_fields
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
