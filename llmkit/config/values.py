"""Descriptions of the values that a recipe key accepts, for messages and shell completion."""

import json
import types
from collections.abc import Iterable
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic.fields import FieldInfo

from llmkit.errors import did_you_mean

# Attribute of a constraint of annotated-types -> its wording in a message.
BOUNDS = {"ge": "from {}", "gt": "above {}", "le": "up to {}", "lt": "below {}"}
NAMES = {int: "a whole number", float: "a number", str: "text", bool: "true or false"}


def takes(field: FieldInfo) -> str:
    """The accepted values of a key in words, such as `a whole number from 1, or null`."""
    return _describe(field.annotation, field.metadata)


def refusal(field: FieldInfo, got: Any) -> str:
    """The message for an invalid value of a key, such as `takes a number from 0; got -1`."""
    default = field.default
    example = (
        f", such as {','.join(map(str, default))}" if is_list(field.annotation) and default else ""
    )
    hint = did_you_mean(got, choices(field)) if isinstance(got, str) else ""
    shown = json.dumps(got) if got is None or isinstance(got, bool) else repr(got)  # as typed
    return f"takes {takes(field)}{example}; got {shown}{hint}"


def choices(field: FieldInfo) -> list[str]:
    """The values of a key, or of the items of its list, if they can be listed; else empty."""
    return list(dict.fromkeys(_choices(field.annotation)))


def is_list(kind: Any) -> bool:
    """Whether a key of this type holds a list, which the command line takes as `a,b`."""
    return get_origin(kind) is list


def _describe(kind: Any, constraints: Iterable[Any] = ()) -> str:
    bounds = [
        text.format(getattr(constraint, name))
        for constraint in constraints
        for name, text in BOUNDS.items()
        if hasattr(constraint, name)
    ]
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return _describe(arguments[0], _flat(arguments[1:]))
    if origin in (Union, types.UnionType):
        inner = [_describe(each, constraints) for each in arguments if each is not types.NoneType]
        return ", or ".join(inner + ["null"] * (types.NoneType in arguments))
    if origin is Literal:
        return f"one of {', '.join(map(str, arguments))}"
    if origin is list:
        sizes = [c.max_length for c in constraints if hasattr(c, "max_length")]
        size = "".join(f"{size} " for size in sizes)
        return f"a list of {size}items, each {_describe(arguments[0])}"
    if origin is dict:
        return "a section of names and values"
    return " and ".join([" ".join([NAMES.get(kind, "a value"), *bounds[:1]]), *bounds[1:]])


def _flat(metadata: Iterable[Any]) -> list[Any]:
    """The constraints of an `Annotated` type, including those inside a `Field`."""
    return [part for each in metadata for part in getattr(each, "metadata", [each])]


def _choices(kind: Any) -> list[str]:
    if kind is bool:
        return ["true", "false"]
    if get_origin(kind) is Literal:
        return [str(value) for value in get_args(kind)]
    if get_origin(kind) in (Union, types.UnionType, list, Annotated):
        return [value for part in get_args(kind) for value in _choices(part)]
    return []
