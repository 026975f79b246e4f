"""A recipe from its YAML file, a scale of it, and `key=value` overrides."""

import difflib
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from llmkit.errors import UserError, did_you_mean
from llmkit.files import expand, shown
from llmkit.schema import Recipe, iter_fields

PACKAGE = Path(__file__).parent
LARGEST = 2**16  # bytes of a recipe: to read a megabyte of YAML takes seconds


def load_recipe(name: str, *, scale: str | None = None, overrides: tuple[str, ...] = ()) -> Recipe:
    """Read the recipe `name` (of this project, or a YAML file) and apply `key=value` overrides.

    A recipe may hold `scales`, sections that are laid over the rest; `scale` picks one, and the
    first is the default. Raises UserError with every mistake at once, a line each.
    """
    path = find_recipe(name)
    content, lines = _read_yaml(path)
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


def recipe_folder() -> Path:
    """The folder of the project's recipes: inside the installed package, or in the checkout."""
    inside = PACKAGE / "recipes"
    return inside if inside.is_dir() else PACKAGE.parent / "recipes"


def list_recipes() -> list[Path]:
    return sorted(recipe_folder().glob("*.yaml"))


def find_recipe(name: str) -> Path:
    """A recipe's path from its name or path."""
    if name.endswith((".yaml", ".yml")) or os.sep in name:
        path = expand(name)
        if os.path.isfile(path):
            return path
        raise UserError(f"{name}: no such recipe file; name a YAML file or one of {_names()}")
    path = recipe_folder() / f"{name}.yaml"
    if os.path.isfile(path):  # path.is_file() raises where a name is too long
        return path
    hint = did_you_mean(name, [p.stem for p in list_recipes()])
    raise UserError(f"no recipe {name!r}{hint}; there are {_names()}, or give a YAML file's path")


def describe_scales(name: str) -> list[str]:
    """The scales a recipe offers, the default first."""
    content, _ = _read_yaml(find_recipe(name))
    return list(content.get("scales") or {})


def first_comment(path: Path) -> str:
    """A recipe's first line, which says what it is for."""
    return path.read_text("utf-8").partition("\n")[0].lstrip("# ")


def recipe_yaml(recipe: Recipe) -> str:
    """The recipe as it was run: every value resolved, no scales."""
    return yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False)


def flat(section: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """(dotted key, value) of a recipe, or of what else is nested, as plain data."""
    for key, value in section.items():
        if isinstance(value, dict):
            yield from flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _names() -> str:
    return ", ".join(path.stem for path in list_recipes())


class _Loader(yaml.SafeLoader):
    """YAML without its traps: a repeated key is an error, 2e-5 a number, and `no` a word."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        seen = set()
        for key_node, _ in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                self._refuse("a key is a word, not a list or a mapping", key_node)
            if key_node.value in seen:
                self._refuse(f"the key {key_node.value} stands twice", key_node)
            seen.add(key_node.value)
        return super().construct_mapping(node, deep)

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node:
        if self.check_event(yaml.AliasEvent):  # a few lines of them can stand for gigabytes
            mark = self.peek_event().start_mark
            raise yaml.MarkedYAMLError(problem="aliases (*name) are not read", problem_mark=mark)
        return super().compose_node(parent, index)

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        try:
            return super().construct_object(node, deep)
        except (ValueError, KeyError, AttributeError):  # 2026-13-45, !!int x, thousands of digits
            self._refuse(f"the value is no {node.tag.rpartition(':')[2]}", node)

    def _refuse(self, problem: str, node: yaml.Node) -> None:
        raise yaml.constructor.ConstructorError(None, None, problem, node.start_mark)


# Of YAML 1.2, and as everybody expects: `no` is a word (mixed_precision: no), not a truth value,
# and a float needs neither a dot nor a signed exponent.
_BOOL, _FLOAT = "tag:yaml.org,2002:bool", "tag:yaml.org,2002:float"
_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != _BOOL]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(_BOOL, re.compile(r"(true|True|false|False)$"), list("tTfF"))
_Loader.add_implicit_resolver(
    _FLOAT, re.compile(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+$"), list("-+0123456789")
)


def _read_yaml(path: Path) -> tuple[dict[str, Any], dict[str, int]]:
    """A recipe file's content, and the line of each dotted key."""
    try:
        if path.stat().st_size > LARGEST:
            raise UserError(f"{path}: too large; a recipe has {LARGEST // 2**10} kB at most")
        text = path.read_text("utf-8")
        content = _Loader(text).get_single_data()
        lines = dict(_key_lines(yaml.compose(text, Loader=_Loader)))
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not UTF-8 text ({error.reason}); save it as UTF-8") from None
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise UserError(f"{path}:{line}: not valid YAML: {error.problem}; mend this line") from None
    except yaml.YAMLError as error:
        raise UserError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from None
    except RecursionError:
        raise UserError(f"{path}: YAML nested too deeply; flatten it") from None
    if not isinstance(content, dict):
        raise UserError(f"{path}: a recipe is a mapping of keys to values; see `llmkit recipes`")
    return content, lines


def _key_lines(node: yaml.Node | None, prefix: str = "") -> Iterator[tuple[str, int]]:
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            dotted = f"{prefix}{key.value}"
            yield dotted, key.start_mark.line + 1
            yield from _key_lines(value, f"{dotted}.")


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
        return key, _Loader(text).get_single_data()
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
