"""Mistakes in recipes, and keys to misspell."""

import pytest

from llmkit.config.recipe import load_recipe
from llmkit.config.schema_keys import NAME, iter_fields
from llmkit.errors import UserError

KEYS = [key for key, *_ in iter_fields()]


SECTIONS = sorted({key.rpartition(".")[0] for key in KEYS} - {"", f"data.mix.{NAME}"})
MIXED_SET = {"train": "rows.jsonl", "share": 0.5}  # what a section of `data.mix` needs


def mistakes(name: str, *overrides: str) -> list[str]:
    with pytest.raises(UserError) as error:
        load_recipe(name, overrides=overrides)
    return str(error.value).splitlines()
