"""Recipe files: those that llmkit ships, and how their YAML is read.

This module does not import the schema, so that listing and completing recipes is fast.
"""

import os
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from llmkit.errors import UserError, did_you_mean
from llmkit.paths import PACKAGE, expand, row_format
from llmkit.units import show_bytes

MAX_RECIPE_BYTES = 2**16  # reading a megabyte of YAML takes seconds
MAX_YAML_DEPTH = 100  # nested lists and mappings; the time to read them grows with the square


def recipe_folder() -> Path:
    """The folder of the recipes that llmkit ships: in the installed package, or in the checkout."""
    inside = PACKAGE / "recipes"
    return inside if inside.is_dir() else PACKAGE.parent / "recipes"


def list_recipes() -> list[Path]:
    return sorted(recipe_folder().glob("*.yaml"))


def find_recipe(name: str) -> Path:
    """The path of a recipe, given its name or path."""
    path, shipped = expand(name), recipe_folder() / f"{name}.yaml"
    if row_format(path) is not None:
        raise UserError(
            f"{name}: rows, not a recipe; give a recipe and name the rows with "
            f"{shlex.quote(f'data.train={name}')}"
        )
    is_path = name.endswith((".yaml", ".yml")) or os.sep in name
    found = path if is_path else shipped
    if os.path.isfile(found):  # Path.is_file raises if the name is too long
        return found
    if os.path.isfile(path / "recipe.yaml"):
        raise UserError(f"{name}: a run, not a recipe; did you mean {path / 'recipe.yaml'}?")
    if os.path.isdir(path):
        raise UserError(
            f"{name}: a folder, not a recipe; give a recipe, and name a folder of rows with "
            f"{shlex.quote(f'data.train={name}')}"
        )
    if is_path:
        raise UserError(f"{name}: no such recipe file; name a YAML file or one of {_names()}")
    hint = did_you_mean(name, [p.stem for p in list_recipes()])
    there_are = f"; there are {_names()}, or give a YAML file's path"
    raise UserError(f"no recipe {name!r}{hint or there_are}")


def describe_scales(name: str) -> list[str]:
    """The scales of a recipe, the default first."""
    content, _ = read_yaml(find_recipe(name))
    return list(content.get("scales") or {})


def first_comment(path: Path) -> str:
    """The comment in the first line of a recipe, its description; empty if there is none."""
    line = path.read_text("utf-8").partition("\n")[0]
    return line.lstrip("# ") if line.startswith("#") else ""


def _names() -> str:
    return ", ".join(path.stem for path in list_recipes())


def read_yaml(path: Path) -> tuple[dict[str, Any], dict[str, int]]:
    """The content of a recipe file, and the line number of each dotted key."""
    try:
        if path.stat().st_size > MAX_RECIPE_BYTES:
            raise UserError(
                f"{path}: too large; a recipe has {show_bytes(MAX_RECIPE_BYTES)} at most"
            )
        text = path.read_text("utf-8")
        loader = Loader(text)
        node = loader.get_single_node()
        lines = dict(_key_lines(node))
        content = None if node is None else loader.construct_document(node)
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not UTF-8 text ({error.reason}); save it as UTF-8") from None
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise UserError(f"{path}:{line}: not valid YAML: {error.problem}; fix this line") from None
    except yaml.YAMLError as error:
        raise UserError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(content, dict):
        raise UserError(f"{path}: a recipe is a mapping of keys to values; see `llmkit recipes`")
    return content, lines


def to_yaml(content: dict[str, Any]) -> str:
    """A recipe, given as plain data, as the text of a recipe file."""
    return yaml.safe_dump(content, sort_keys=False)


def _key_lines(node: yaml.Node | None, prefix: str = "") -> Iterator[tuple[str, int]]:
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            dotted = f"{prefix}{key.value}"
            yield dotted, key.start_mark.line + 1
            yield from _key_lines(value, f"{dotted}.")


class Loader(yaml.SafeLoader):
    """YAML without its pitfalls: a repeated key is an error, a key is text even if it reads `null`
    or 3, 2e-5 is a number, and `no` a word."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._depth = 0

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        seen = set()
        for key_node, _ in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                self._refuse("a key is a word, not a list or a mapping", key_node)
            if key_node.value in seen:
                self._refuse(f"the key {key_node.value} appears twice", key_node)
            seen.add(key_node.value)
            if key_node.tag != _MERGE:
                key_node.tag = _TEXT
        return super().construct_mapping(node, deep)

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node:
        if self.check_event(yaml.AliasEvent):  # a few lines of aliases can expand to gigabytes
            mark = self.peek_event().start_mark
            problem = "aliases (*name) are not supported"
            raise yaml.MarkedYAMLError(problem=problem, problem_mark=mark)
        if self._depth == MAX_YAML_DEPTH:
            mark = self.peek_event().start_mark
            raise yaml.MarkedYAMLError(problem="nested too deeply", problem_mark=mark)
        self._depth += 1
        node = super().compose_node(parent, index)
        self._depth -= 1
        return node

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        try:
            return super().construct_object(node, deep)
        except (ValueError, KeyError, AttributeError):  # 2026-13-45, !!int x, thousands of digits
            self._refuse(f"the value is not a valid {node.tag.rpartition(':')[2]}", node)

    def _refuse(self, problem: str, node: yaml.Node) -> None:
        raise yaml.constructor.ConstructorError(None, None, problem, node.start_mark)


# As in YAML 1.2: `no` is a word (mixed_precision: no), not a boolean, and a float needs neither a
# dot nor a signed exponent.
_BOOL, _FLOAT, _TEXT, _MERGE = (
    f"tag:yaml.org,2002:{kind}" for kind in ("bool", "float", "str", "merge")
)
Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != _BOOL]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
Loader.add_implicit_resolver(_BOOL, re.compile(r"(true|True|false|False)$"), list("tTfF"))
Loader.add_implicit_resolver(
    _FLOAT, re.compile(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+$"), list("-+0123456789")
)
