"""The keys of a recipe by dotted name, and the JSON Schema of recipe files."""

import json
from collections.abc import Iterator
from typing import Any, get_args, get_origin

from pydantic.fields import FieldInfo

from llmkit.config.schema import Recipe, Section

NAME = "NAME"  # stands for the user's own names in documented keys: data.mix.NAME.share


def find_field(place: tuple[str, ...]) -> tuple[str, FieldInfo | None]:
    """(dotted key, field) at a path in a recipe: ("train", "betas", "0") gives train.betas.

    The field is None if the path leads to a section or to nothing.
    """
    section = Recipe
    names = iter(enumerate(place, start=1))
    for depth, name in names:
        field = section.model_fields.get(name)
        if field is None:
            break
        section, is_named = _section_in(field.annotation)
        if section is None or (is_named and depth == len(place)):
            return ".".join(place[:depth]), field
        if is_named:
            next(names)
    return ".".join(place), None


def iter_fields(
    section: type[Section] = Recipe, prefix: str = ""
) -> Iterator[tuple[str, Any, str, str]]:
    """(dotted key, type, default, documentation) of every key."""
    for name, field in section.model_fields.items():
        key = f"{prefix}{name}"
        inner, is_named = _section_in(field.annotation)
        if inner is None or is_named:
            default = "required" if field.is_required() else _as_typed(field.default)
            yield key, field.annotation, default, field.description or ""
        if inner is not None:
            yield from iter_fields(inner, f"{key}.{NAME}." if is_named else f"{key}.")


def documented_key(key: str) -> tuple[str, str]:
    """The key with NAME in place of the user's name of a section, and that name:
    data.mix.books.share is data.mix.NAME.share."""
    for named in _NAMED_SECTIONS:
        if key.startswith(f"{named}."):
            name, dot, rest = key.removeprefix(f"{named}.").partition(".")
            return f"{named}.{NAME}{dot}{rest}", name
    return key, NAME


def _section_in(annotation: Any) -> tuple[type[Section] | None, bool]:
    """The section that a key holds, and whether it holds several by name; None for a value."""
    if get_origin(annotation) is dict:
        inner, _ = _section_in(get_args(annotation)[1])
        return inner, inner is not None
    is_section = isinstance(annotation, type) and issubclass(annotation, Section)
    return (annotation if is_section else None), False


def _as_typed(value: Any) -> str:
    """A value as it is written in KEY=VALUE and in a recipe file."""
    return value if isinstance(value, str) else json.dumps(value)


_NAMED_SECTIONS = sorted(
    {key.partition(f".{NAME}.")[0] for key, *_ in iter_fields() if f".{NAME}." in key}
)


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
