"""`recipes`: recipes listed and printed, documented keys, and the JSON Schema."""

import json

import pytest
import yaml

from llmkit.config.recipe import load_recipe
from llmkit.config.recipe_files import list_recipes
from llmkit.config.schema_keys import NAME, iter_fields


def test_recipes_are_listed_and_every_key_documented(llmkit):
    result = llmkit("recipes")
    assert [line.split()[0] for line in result.output.splitlines()] == [
        path.stem for path in list_recipes()
    ]
    fields = llmkit("recipes", "--fields").output
    assert "train.learning_rate = 5e-05\n    Peak learning rate.\n" in fields
    for expected in ("betas = [0.9, 0.999]", "optimizer = adamw", "decay_steps = null"):
        assert f"\ntrain.{expected}\n" in fields
    assert "packing = false\n" in fields
    for line in fields.splitlines():
        assert line.startswith("    ") or " = " in line, "every line of a description is indented"


@pytest.mark.parametrize("path", list_recipes(), ids=lambda path: path.stem)
def test_a_printed_recipe_runs_as_the_recipe_itself(llmkit, tmp_path, path):
    for arguments in ([], ["--scale", "full"], ["seed=3", "train.max_steps=7"]):
        shown = llmkit("recipes", path.stem, *arguments)
        assert shown.exit_code == 0, shown.output
        (tmp_path / "mine.yaml").write_text(shown.stdout, "utf-8")
        overrides = tuple(each for each in arguments if "=" in each)
        scale = "full" if "full" in arguments else None
        assert load_recipe(str(tmp_path / "mine.yaml")) == load_recipe(
            path.stem, scale=scale, overrides=overrides
        )
    assert llmkit("recipes", str(tmp_path / "mine.yaml")).stdout == shown.stdout


def test_fields_are_filtered_by_a_word(llmkit):
    shown = llmkit("recipes", "--fields", "warm").stdout
    keys = [line.partition(" = ")[0] for line in shown.splitlines() if " = " in line]
    assert "train.warmup_steps" in keys
    assert len(keys) < len(llmkit("recipes", "--fields").stdout.splitlines()) / 10


def test_the_json_schema_describes_every_key(llmkit):
    schema = json.loads(llmkit("recipes", "--json-schema").stdout)

    def keys(section, prefix=""):
        for name, value in section["properties"].items():
            references = [value, *value.get("anyOf", [])]  # the model is a section or its name
            target = next((r["$ref"] for r in references if "$ref" in r), "#").rpartition("/")[2]
            named = value.get("additionalProperties")
            if isinstance(named, dict) and "$ref" in named and name != "scales":
                yield f"{prefix}{name}"
                inner = schema["$defs"][named["$ref"].rpartition("/")[2]]
                yield from keys(inner, f"{prefix}{name}.{NAME}.")
            elif target in schema["$defs"]:
                yield from keys(schema["$defs"][target], f"{prefix}{name}.")
            else:
                yield f"{prefix}{name}"

    assert set(keys(schema)) == {"scales", *(key for key, *_ in iter_fields())}
    for path in list_recipes():
        assert set(yaml.safe_load(path.read_text("utf-8"))) <= set(schema["properties"])
