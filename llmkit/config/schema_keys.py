"""The keys of a recipe by their dotted names, and the JSON Schema of a recipe file."""

import json
from collections.abc import Iterator
from typing import Any

from pydantic.fields import FieldInfo

from llmkit.config.schema import Recipe, Section


def find_field(place: tuple[str, ...]) -> tuple[str, FieldInfo | None]:
    """(dotted key, field) at a place in a recipe: ("train", "betas", "0") gives train.betas.

    The field is None if the place is a section or unknown.
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
    """(dotted key, type, default, documentation) of every field."""
    for name, field in section.model_fields.items():
        key = f"{prefix}{name}"
        if isinstance(field.annotation, type) and issubclass(field.annotation, Section):
            yield from iter_fields(field.annotation, f"{key}.")
        else:
            default = "required" if field.is_required() else _as_typed(field.default)
            yield key, field.annotation, default, field.description or ""


def _as_typed(value: Any) -> str:
    """A value as KEY=VALUE and a recipe file take it."""
    return value if isinstance(value, str) else json.dumps(value)


def file_schema() -> dict[str, Any]:
    """JSON Schema of a recipe file, for editors. Each of its scales can hold any key."""
    schema = Recipe.model_json_schema()
    del schema["required"]  # a scale can hold these
    schema["properties"]["scales"] = {
        "type": "object",
        "additionalProperties": {"$ref": "#"},
        "description": "Keys that replace those above, by the name that --scale gives; the first "
        "is the default.",
    }
    return schema
