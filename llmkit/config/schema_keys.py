"""The keys of a recipe by dotted name, and the JSON Schema of recipe files."""

import json
from collections.abc import Iterator
from typing import Any

from pydantic.fields import FieldInfo

from llmkit.config.schema import Recipe, Section


def find_field(place: tuple[str, ...]) -> tuple[str, FieldInfo | None]:
    """(dotted key, field) at a path in a recipe: ("train", "betas", "0") gives train.betas.

    The field is None if the path leads to a section or to nothing.
    """
    section = Recipe
    for depth, name in enumerate(place, start=1):
        field = section.model_fields.get(name)
        if field is None:
            break
        if not (isinstance(field.annotation, type) and issubclass(field.annotation, Section)):
            return ".".join(place[:depth]), field
        section = field.annotation
    return ".".join(place), None


def iter_fields(
    section: type[Section] = Recipe, prefix: str = ""
) -> Iterator[tuple[str, Any, str, str]]:
    """(dotted key, type, default, documentation) of every key."""
    for name, field in section.model_fields.items():
        key = f"{prefix}{name}"
        if isinstance(field.annotation, type) and issubclass(field.annotation, Section):
            yield from iter_fields(field.annotation, f"{key}.")
        else:
            default = "required" if field.is_required() else _as_typed(field.default)
            yield key, field.annotation, default, field.description or ""


def _as_typed(value: Any) -> str:
    """A value as it is written in KEY=VALUE and in a recipe file."""
    return value if isinstance(value, str) else json.dumps(value)


def file_schema() -> dict[str, Any]:
    """The JSON Schema of a recipe file, for editors. Each of its scales can hold any key."""
    schema = Recipe.model_json_schema()
    del schema["required"]  # a scale can hold the required keys
    schema["properties"]["scales"] = {
        "type": "object",
        "additionalProperties": {"$ref": "#"},
        "description": "Named sets of keys that replace the others; --scale selects one, and the "
        "first is the default.",
    }
    return schema
