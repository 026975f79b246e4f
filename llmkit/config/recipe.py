"""Load a recipe: its YAML file, one of its scales, and `key=value` overrides."""

import difflib
import json
import os
import re
from collections.abc import Container, Iterator
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from llmkit.config.data_section import EMBEDDED
from llmkit.config.generation import read_json_schema
from llmkit.config.hints import other_name
from llmkit.config.moved_keys import moved_key, upgrade_recipe
from llmkit.config.recipe_files import Loader, find_recipe, read_yaml
from llmkit.config.schema import Recipe
from llmkit.config.schema_keys import NAME, documented_key, find_field, iter_fields
from llmkit.config.values import is_list, refusal
from llmkit.constants import SCRATCH
from llmkit.errors import UserError, did_you_mean, printable
from llmkit.paths import expand

LENGTH_KEYS = ("train.epochs", "train.max_steps")  # a recipe sets one of them


def load_recipe(
    name: str,
    *,
    scale: str | None = None,
    overrides: tuple[str, ...] = (),
) -> Recipe:
    """Load a recipe and validate it.

    Args:
        name: Name of a recipe of the package, or path of a YAML file.
        scale: One of the recipe's `scales`, whose keys replace those of the rest; None: the first.
        overrides: `key=value` for any keys, applied last.

    Raises:
        UserError: If the recipe is invalid; it lists all mistakes, one per line.
    """
    path = find_recipe(name)
    content, lines = read_yaml(path)
    content = upgrade_recipe(content)
    scales = content.get("scales")
    scale = scale or (next(iter(scales), None) if isinstance(scales, dict) else None)
    content = _pick_scale(content, scale, path)
    in_scale = f"scales.{scale}."  # keys of the scale replace others, also in messages
    lines |= {k.removeprefix(in_scale): n for k, n in lines.items() if k.startswith(in_scale)}
    given: dict[str, str] = {}
    for override in overrides:
        key, value = _parse_override(override)
        _set(content, key, value, override)
        given[key] = override
    _settle_length(content, given)
    _expand_model_name(content)
    lines.setdefault("model.name", lines.get("model", 1))
    both = [given[key] for key in LENGTH_KEYS if key in given and not given[key].endswith("=null")]
    if len(both) == 2:
        raise UserError(f"{' '.join(both)}: give one of them")
    _read_json_schema(content, given, path, lines)
    try:
        recipe = Recipe.model_validate(content)
    except ValidationError as error:
        mistakes = _explain(error, path, lines, given)
        raise UserError("\n".join(printable(mistake, 1000) for mistake in mistakes)) from None
    _refuse_shape_of_other_model(recipe.model.name, given)
    return recipe


def _refuse_shape_of_other_model(name: str, given: dict[str, str]) -> None:
    """Raise UserError for overrides of `model.scratch`, which only that model reads."""
    ignored = [
        override for key, override in given.items() if f"{key}.".startswith("model.scratch.")
    ]
    if ignored and name != SCRATCH:
        raise UserError(
            f"{printable(ignored[0])}: the model is {printable(name)}, whose size is fixed; add "
            f"model={SCRATCH} for random weights of this size"
        )


def _read_json_schema(
    content: dict[str, Any], given: dict[str, str], path: Path, lines: dict[str, int]
) -> None:
    """Replace the path of a JSON Schema with the content of the file."""
    key, section = "generation.json_schema", content.get("generation")
    if isinstance(section, dict) and isinstance(section.get("json_schema"), str):
        try:
            section["json_schema"] = read_json_schema(section["json_schema"])
        except UserError as error:
            raise UserError(f"{given.get(key) or _where(key, path, lines)}: {error}") from None


def with_absolute_paths(recipe: Recipe) -> Recipe:
    """The recipe with absolute paths, so that its files are found from any working directory."""

    def absolute(name: str | None, *, is_path: bool = True) -> str | None:
        return os.path.abspath(expand(name)) if name and name != EMBEDDED and is_path else name

    data, evaluation = recipe.data, recipe.evaluation
    is_local = data.hub is None
    data = data.model_copy(
        update={
            **{
                split: absolute(getattr(data, split), is_path=is_local)
                for split in ("train", "validation", "test")
            },
            "tests": {name: absolute(of, is_path=is_local) for name, of in data.tests.items()},
            "mix": {
                name: mixed.model_copy(
                    update={"train": absolute(mixed.train, is_path=mixed.hub is None)}
                )
                for name, mixed in data.mix.items()
            },
        }
    )
    general_text, encoder = evaluation.general_text, evaluation.bertscore.model
    evaluation = evaluation.model_copy(
        update={
            "general_text": absolute(general_text),
            "bertscore": evaluation.bertscore.model_copy(update={"model": absolute(encoder)}),
        }
    )
    model, scratch = recipe.model, recipe.model.scratch

    def absolute_model(name: str | None) -> str | None:
        is_folder = name is not None and os.path.isdir(expand(name))
        return absolute(name, is_path=is_folder)  # else a hub id, `embedded` or `scratch`

    scratch = scratch.model_copy(update={"tokenizer": absolute_model(scratch.tokenizer)})
    model = model.model_copy(update={"name": absolute_model(model.name), "scratch": scratch})
    return recipe.model_copy(update={"data": data, "evaluation": evaluation, "model": model})


def recipe_keys(recipe: Recipe) -> dict[str, Any]:
    """Each dotted key of a recipe with its value as plain data; paths are absolute."""
    return dict(flat(with_absolute_paths(recipe).model_dump(mode="json")))


def flat(section: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """(dotted key, value) of a recipe, or of what else is nested, as plain data."""
    for key, value in section.items():
        if key == "json_schema" and isinstance(value, dict):  # one value, not a section
            yield f"{prefix}{key}", json.dumps(value, ensure_ascii=False)
        elif isinstance(value, dict):
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
            raise UserError(f"{path}: this recipe has no scales; remove --scale")
        return base
    if scale not in scales:
        raise UserError(f"{path}: no scale {scale!r}; it has {', '.join(scales)}")
    _expand_model_name(base)
    _expand_model_name(scales[scale])
    content = _merge(base, scales[scale])
    _settle_length(content, dict(flat(scales[scale])))
    return content


def _expand_model_name(content: dict[str, Any]) -> None:
    """Write `model: gpt2` as `model: {name: gpt2}`, so that other keys of the section can be
    added."""
    model = content.get("model")
    if model is not None and not isinstance(model, dict):
        content["model"] = {"name": model}


def _merge(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """`base` with its values replaced by those of `over`, section by section."""
    merged = dict(base)
    for key, value in over.items():
        both = isinstance(merged.get(key), dict) and isinstance(value, dict)
        merged[key] = _merge(merged[key], value) if both else value
    return merged


def _settle_length(content: dict[str, Any], given: Container[str]) -> None:
    """Remove the recipe's own length if another one is given: `train.max_steps=3` replaces the
    recipe's epochs. If both are given, both remain, and the schema rejects them."""
    train = content.get("train")
    if not isinstance(train, dict):
        return
    for length, other in (LENGTH_KEYS, LENGTH_KEYS[::-1]):
        name = length.rpartition(".")[2]
        if length in given and train.get(name) is not None and other not in given:
            train.pop(other.rpartition(".")[2], None)


_TEXT_KEYS = {key for key, kind, _, _ in iter_fields() if kind in (str, str | None)}
_LIST_KEYS = {key for key, kind, _, _ in iter_fields() if is_list(kind)}
_TEXT_LIST_KEYS = {key for key, kind, _, _ in iter_fields() if kind == list[str]}


def _parse_override(override: str) -> tuple[str, Any]:
    key, equals, text = override.partition("=")
    key = "model.name" if key == "model" else key
    if not equals or not key or key[0] in "+~":
        raise UserError(f"{override!r}: {_how_to_override(key, text)}")
    documented, _ = documented_key(key)
    is_column = documented.startswith(("data.columns.", f"data.mix.{NAME}.columns."))
    if documented in _TEXT_KEYS or (is_column and not text.startswith("[")):
        return key, None if text == "null" else text  # data.config=3.0 is no number
    if documented in _LIST_KEYS and text != "null" and not text.startswith("["):
        text = f"[{text}]"
    # In a list of texts, 2024 is a text.
    loader = yaml.BaseLoader if documented in _TEXT_LIST_KEYS and text != "null" else Loader
    try:
        value = loader(text).get_single_data()
    except (yaml.YAMLError, RecursionError):  # RecursionError: of the BaseLoader
        return key, text
    is_list = is_column and isinstance(value, list)
    return key, [str(each) for each in value] if is_list else value


def to_override(key: str, value: Any) -> str:
    """A value as the override that sets it: text as it is, anything else as JSON, which is read as
    YAML."""
    if isinstance(value, str | Path):
        return f"{key}={value}"

    def escape(match: re.Match) -> str:  # JSON has surrogate pairs instead of \U
        code = ord(match[0])
        return f"\\u{code:04x}" if code < 2**16 else f"\\U{code:08x}"

    return f"{key}={re.sub(r'[^ -~]', escape, json.dumps(value, ensure_ascii=False))}"


def _how_to_override(key: str, text: str) -> str:
    """Advice for an invalid override, for a message."""
    if key.startswith("~"):
        return f"to unset a key, set it to null: {key[1:]}=null"
    if key.startswith("+"):
        return f"set any key without a plus sign: {key.lstrip('+')}={text or 'VALUE'}"
    example = "train.learning_rate=2e-5"
    if os.path.isfile(os.path.expanduser(key)):
        example = f"data.train={key}, which trains on that file"
    elif os.path.isdir(os.path.expanduser(key)):
        example = f"data.train={key}, which trains on the files in it"
    elif key in {name for name, *_ in iter_fields()}:
        example = f"{key}=VALUE"
    return f"an override is key=value, such as {example}"


def _set(content: dict[str, Any], key: str, value: Any, override: str) -> None:
    _expand_model_name(content)
    *sections, last = key.split(".")
    for section in sections:
        content = content.setdefault(section, {})
        if not isinstance(content, dict):
            raise UserError(f"{override}: {section} is a single value, not a section")
    content[last] = value


def _explain(
    error: ValidationError, path: Path, lines: dict[str, int], given: dict[str, str]
) -> Iterator[str]:
    """One line per mistake: its location, what is wrong, and what the key takes."""
    explained = set()
    for mistake in error.errors():
        place = tuple(map(str, mistake["loc"]))
        key, field = find_field(place)
        if field is None or mistake["type"] in ("value_error", "missing"):
            key = ".".join(place)
        elif key in explained:  # a value fails once per item of a list, or per type of a union
            continue
        explained.add(key)
        where = given.get(".".join(place)) or given.get(key) or next(_within(key, given), None)
        where = where or _where(key, path, lines)
        if mistake["type"] == "extra_forbidden":
            section = mistake["input"] if isinstance(mistake["input"], dict) else {}
            for unknown, _ in flat(section, f"{key}.") if section else [(key, None)]:
                where = given.get(unknown) or _where(unknown, path, lines)
                yield f"{where}: unknown key {unknown}{_nearest_key(unknown)}"
        elif mistake["type"] == "missing":
            where = next(_within(key.rpartition(".")[0], given), path)
            yield f"{where}: the key {key} is missing; add it"
        elif mistake["type"] == "value_error":
            text = str(mistake["ctx"]["error"])
            where = where if field else _where_named(key, text, path, lines, given)
            named = not key or text.startswith(f"{key}.")
            yield f"{where}: {text if named else f'{key}: {text}'}"
        elif field is None:
            yield f"{where}: {key} is a section; set one of its keys, such as {_first_key(key)}"
        else:
            yield f"{where}: {key}: {refusal(field, mistake['input'])}"


def _within(section: str, given: dict[str, str]) -> Iterator[str]:
    """The overrides of the keys of a section."""
    return (override for name, override in given.items() if name.startswith(f"{section}."))


def _where_named(
    section: str, text: str, path: Path, lines: dict[str, int], given: dict[str, str]
) -> str:
    """The location of the first key that a message about a section names: an override of it, else
    its line in the file; if there is neither, the location of the section."""
    words = [word.rstrip(".") for word in re.findall(r"[\w.-]+", text)]
    names = [name for word in words for name in (word, f"{section}.{word}")]
    overridden = (given.get(name) or next(_within(name, given), None) for name in names)
    in_file = (_where(name, path, lines) for name in names if name in lines)
    found = next(filter(None, overridden), None) or next(in_file, None)
    return found or next(_within(section, given), None) or _where(section, path, lines)


def _where(key: str, path: Path, lines: dict[str, int]) -> str:
    return f"{path}:{lines[key]}" if key in lines else str(path)


def _first_key(section: str) -> str:
    documented, name = documented_key(section)
    keys = (key for key, *_ in iter_fields() if key.startswith(f"{documented}."))
    return next(keys).replace(NAME, name)


def _nearest_key(key: str) -> str:
    """A suggestion for an unknown key: the present name of an earlier key, llmkit's name for a key
    of another toolkit, a name of the same section that differs by a letter, the same name in
    another section, a similar name in the same section, or the most similar key."""
    _, own_name = documented_key(key)
    section, _, name = key.rpartition(".")
    keys = [dotted.replace(NAME, own_name) for dotted, *_ in iter_fields()]
    keys += sorted({dotted.rpartition(".")[0] for dotted in keys} - {""})
    moved = moved_key(key)
    if moved is not None:
        return f"; it is now {moved}"
    hint = other_name(key)
    if hint is not None:
        return f"; {hint}"
    elsewhere = [known for known in keys if known.rpartition(".")[2] == name]
    siblings = {k.rpartition(".")[2]: k for k in keys if k.rpartition(".")[0] == section}
    near = [sibling for sibling in siblings if sorted(sibling) == sorted(name)]  # letters swapped
    near = near or difflib.get_close_matches(name, siblings, n=1, cutoff=0.6)
    by_one_letter = difflib.get_close_matches(name, near, n=1, cutoff=0.9)
    similar = [siblings[sibling] for sibling in by_one_letter or near]
    meant = similar if by_one_letter else elsewhere or similar
    return f"; did you mean {meant[0]}?" if meant else did_you_mean(key, keys)
