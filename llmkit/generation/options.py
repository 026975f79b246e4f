"""Decoding options of a command or a Python call, which override those of the recipe."""

import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from transformers import PreTrainedTokenizerBase

from llmkit.config.generation import CONSTRAINTS, Generation, read_json_schema
from llmkit.config.hints import meant_option, other_name
from llmkit.config.values import refusal
from llmkit.errors import UserError, did_you_mean, printable
from llmkit.generation.constraint import ConstraintError, check_constraint
from llmkit.tasks import Task


class Options:
    """The given decoding options, and their names in messages."""

    def __init__(self, options: Mapping[str, Any], *, as_keywords: bool = False) -> None:
        """
        Args:
            options: Values by key of `generation`; None and () keep the recipe's value.
            as_keywords: In messages, call them by their Python keyword instead of their flag.
        """
        self.given = {
            key: list(value) if isinstance(value, tuple) else value
            for key, value in options.items()
            if value not in (None, ())
        }
        self.name_of: Callable[[str], str] = str if as_keywords else flag
        """How messages call a key."""

    def apply_to(self, generation: Generation, task: Task) -> Generation:
        """The recipe's decoding settings, overridden by the options. A constraint replaces the
        recipe's constraint.

        Raises UserError that lists all mistakes.
        """
        if self.given.keys() & set(CONSTRAINTS):
            generation = generation.without_constraint()
        settings = generation.model_dump() | self.given | self._schema()
        try:
            generation = Generation.model_validate(settings)
        except ValidationError as error:
            lines = dict.fromkeys(self._explain(error, generation))
            raise UserError("\n".join(lines)) from None
        if task.output == "label" and self.given:
            name = self.name_of(next(iter(self.given)))
            raise UserError(f"{name}: {task.name} predicts labels and generates no text; remove it")
        return generation

    def check_constraint(self, generation: Generation, tokenizer: PreTrainedTokenizerBase) -> None:
        """Raise UserError for a constraint that is invalid or cannot be met."""
        try:
            check_constraint(generation, tokenizer)
        except ConstraintError as error:
            if error.key not in self.given:
                raise
            raise UserError(f"{self.name_of(error.key)}: {error.reason}") from None

    def _schema(self) -> dict[str, Any]:
        """The JSON Schema, read from its file if the option is a path."""
        path = self.given.get("json_schema")
        if not isinstance(path, str | Path):
            return {}
        try:
            return {"json_schema": read_json_schema(path)}
        except UserError as error:
            raise UserError(f"{self.name_of('json_schema')}: {error}") from None

    def _explain(self, error: ValidationError, recipe: Generation) -> Iterator[str]:
        for mistake in error.errors():
            key = str(mistake["loc"][0]) if mistake["loc"] else ""
            name = f"{self.name_of(key)}: " if key else ""
            if mistake["type"] == "extra_forbidden":
                yield f"{name}not a decoding setting{self._hint(key)}"
            elif mistake["type"] == "value_error":
                yield f"{name}{self._with_names(str(mistake['ctx']['error']), recipe)}"
            else:
                field = Generation.model_fields[key]
                yield f"{name}{printable(refusal(field, mistake['input']), 1000)}"

    def _hint(self, unknown: str) -> str:
        """A suggestion for an unknown key: llmkit's name for it, or the most similar key."""
        keys = list(Generation.model_fields)
        meant = meant_option(unknown, [flag(key) for key in keys])
        if meant is not None:
            return f"; did you mean {self.name_of(key_of(meant))}?"
        advice = other_name(unknown)
        if advice is not None and "generation." in advice:
            return f"; {advice.replace('generation.', '')}"
        return did_you_mean(unknown, keys)

    def _with_names(self, message: str, recipe: Generation) -> str:
        """The message with the keys of `generation` replaced by option names; keys that only the
        recipe sets become `generation.KEY`."""
        set_by_recipe = recipe.model_dump(exclude_defaults=True)

        def name_of(key: str) -> str:
            is_from_recipe = key in set_by_recipe and key not in self.given
            return f"generation.{key}" if is_from_recipe else self.name_of(key)

        keys = "|".join(Generation.model_fields)
        return re.sub(rf"\b({keys})\b", lambda match: name_of(match[0]), message)


def flag(key: str) -> str:
    """The flag that sets a key of `generation`."""
    return f"--{key}".replace("_", "-")


def key_of(flag: str) -> str:
    """The key of `generation` that a flag sets."""
    return flag.lstrip("-").replace("-", "_")
