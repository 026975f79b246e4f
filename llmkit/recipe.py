"""A recipe from its YAML file, a scale of it, and `key=value` overrides."""

import difflib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from llmkit.errors import UserError, did_you_mean
from llmkit.files import expand, shown
from llmkit.recipe_files import Loader, find_recipe, read_yaml
from llmkit.schema import Recipe, iter_fields


def load_recipe(name: str, *, scale: str | None = None, overrides: tuple[str, ...] = ()) -> Recipe:
    """Read the recipe `name` (of this project, or a YAML file) and apply `key=value` overrides.

    A recipe may hold `scales`, sections that are laid over the rest; `scale` picks one, and the
    first is the default. Raises UserError with every mistake at once, a line each.
    """
    path = find_recipe(name)
    content, lines = read_yaml(path)
    scales = content.get("scales")
    scale = scale or (next(iter(scales), None) if isinstance(scales, dict) else None)
    content = _pick_scale(content, scale, path)
    in_scale = f"scales.{scale}."  # what the scale says stands over the rest, in messages too
    lines |= {k.removeprefix(in_scale): n for k, n in lines.items() if k.startswith(in_scale)}
    given: dict[str, str] = {}
    for override in overrides:
        key, value = _parse_override(override)
        _set(content, key, value, override)
        given[key] = override
    try:
        return Recipe.model_validate(content)
    except ValidationError as error:
        mistakes = _explain(error, path, lines, given)
        raise UserError("\n".join(shown(mistake, 1000) for mistake in mistakes)) from None


def recipe_yaml(recipe: Recipe) -> str:
    """The recipe as it was run: every value resolved, no scales."""
    return yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False)


def with_absolute_paths(recipe: Recipe) -> Recipe:
    """The recipe as a run records it: its files are found from any working directory."""

    def absolute(name: str | None, *, is_path: bool = True) -> str | None:
        return os.path.abspath(expand(name)) if name and is_path else name

    data, evaluation = recipe.data, recipe.evaluation
    is_local = data.hub is None
    data = data.model_copy(
        update={
            **{
                split: absolute(getattr(data, split), is_path=is_local)
                for split in ("train", "validation", "test")
            },
            "tests": {name: absolute(of, is_path=is_local) for name, of in data.tests.items()},
        }
    )
    general_text, encoder = evaluation.general_text, evaluation.bertscore.model
    evaluation = evaluation.model_copy(
        update={
            "general_text": absolute(general_text, is_path=general_text != "embedded"),
            "bertscore": evaluation.bertscore.model_copy(update={"model": absolute(encoder)}),
        }
    )
    is_folder = os.path.isdir(expand(recipe.model))  # else a hub id, `embedded` or `scratch`
    model = absolute(recipe.model, is_path=is_folder)
    return recipe.model_copy(update={"data": data, "evaluation": evaluation, "model": model})


def flat(section: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """(dotted key, value) of a recipe, or of what else is nested, as plain data."""
    for key, value in section.items():
        if isinstance(value, dict):
            yield from flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _pick_scale(content: dict[str, Any], scale: str | None, path: Path) -> dict[str, Any]:
    base = {key: value for key, value in content.items() if key != "scales"}
    scales = content.get("scales") or {}
    if not isinstance(scales, dict) or not all(isinstance(s, dict) for s in scales.values()):
        raise UserError(f"{path}: scales: each is a section of keys, such as `sample: {{...}}`")
    if not scales:
        if scale is not None:
            raise UserError(f"{path}: this recipe has no scales; leave --scale away")
        return base
    if scale not in scales:
        raise UserError(f"{path}: no scale {scale!r}; it has {', '.join(scales)}")
    return _merge(base, scales[scale])


def _merge(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """`over` laid over `base`, section by section."""
    merged = dict(base)
    for key, value in over.items():
        both = isinstance(merged.get(key), dict) and isinstance(value, dict)
        merged[key] = _merge(merged[key], value) if both else value
    return merged


_TEXT_KEYS = {key for key, kind, _, _ in iter_fields() if kind in (str, str | None)}


def _parse_override(override: str) -> tuple[str, Any]:
    key, equals, text = override.partition("=")
    if not equals or not key:
        raise UserError(f"{override!r}: an override is key=value, such as train.learning_rate=2e-5")
    if key in _TEXT_KEYS or key.startswith("data.columns."):
        return key, None if text == "null" else text  # data.config=3.0 is no number
    try:
        return key, Loader(text).get_single_data()
    except (yaml.YAMLError, RecursionError):
        return key, text


def _set(content: dict[str, Any], key: str, value: Any, override: str) -> None:
    *sections, last = key.split(".")
    for section in sections:
        content = content.setdefault(section, {})
        if not isinstance(content, dict):
            raise UserError(f"{override}: {section} is a single value, not a section")
    content[last] = value


def _explain(
    error: ValidationError, path: Path, lines: dict[str, int], given: dict[str, str]
) -> Iterator[str]:
    """A line for each mistake: where it stands, what is wrong, the nearest name."""
    for mistake in error.errors():
        key = ".".join(str(part) for part in mistake["loc"])
        where = given.get(key) or _where(key, path, lines)
        if mistake["type"] == "extra_forbidden":
            yield f"{where}: unknown key {key}{_nearest_key(key)}"
        elif mistake["type"] == "missing":
            yield f"{path}: the key {key} is missing; add it"
        else:
            message = mistake["msg"].removeprefix("Value error, ")
            got = (
                ""
                if isinstance(mistake["input"], dict | BaseModel)
                else f", got {mistake['input']!r}"
            )
            yield f"{where}: {key + ': ' if key else ''}{message}{got}"


def _where(key: str, path: Path, lines: dict[str, int]) -> str:
    return f"{path}:{lines[key]}" if key in lines else str(path)


def _nearest_key(key: str) -> str:
    """The key that was probably meant: a sibling, the same name elsewhere, or the nearest path."""
    section, _, name = key.rpartition(".")
    keys = [dotted for dotted, *_ in iter_fields()]
    keys += sorted({dotted.rpartition(".")[0] for dotted in keys} - {""})
    siblings = {k.rpartition(".")[2]: k for k in keys if k.rpartition(".")[0] == section}
    near = [sibling for sibling in siblings if sorted(sibling) == sorted(name)]  # letters swapped
    near = near or difflib.get_close_matches(name, siblings, n=1, cutoff=0.6)
    if near:
        return f"; did you mean {siblings[near[0]]}?"
    elsewhere = [k for k in keys if k.rpartition(".")[2] == name]
    return f"; did you mean {elsewhere[0]}?" if elsewhere else did_you_mean(key, keys)
