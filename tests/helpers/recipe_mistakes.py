"""Mistakes in recipes, and keys to misspell."""

import pytest

from llmkit.config.recipe import load_recipe
from llmkit.config.schema_keys import iter_fields
from llmkit.errors import UserError

KEYS = [key for key, *_ in iter_fields()]


SECTIONS = sorted({key.rpartition(".")[0] for key in KEYS} - {""})


def mistakes(name: str, *overrides: str) -> list[str]:
    with pytest.raises(UserError) as error:
        load_recipe(name, overrides=overrides)
    return str(error.value).splitlines()
