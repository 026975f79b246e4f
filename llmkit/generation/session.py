"""What `generate` predicts with: a model, its recipe, its device and its labels."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from accelerate import Accelerator
from pydantic import ValidationError
from rich.console import Console
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from llmkit.config.recipe import load_recipe
from llmkit.config.schema import Data, Generation, Recipe, Train
from llmkit.data.answers import count_answers, encode_labels
from llmkit.data.column_mapping import Columns, check_columns, columns_of
from llmkit.data.recipe_task import prompt_task
from llmkit.data.splits import open_splits
from llmkit.errors import UserError
from llmkit.generation.prompts import PromptReader
from llmkit.io.atomic import CorruptFolder, read_json
from llmkit.model.load import load_model
from llmkit.runs.folder import (
    facts_path,
    newest_finished_run,
    recipe_of,
    recipe_path,
    resolve_model,
)
from llmkit.runtime.devices import start_accelerator
from llmkit.tasks import Task

MODEL_KEYS = ("data.encoding", "data.skip_invalid")  # those that apply to a model without a run


@dataclass(frozen=True)
class GenerationSession:
    """A model that is ready to predict, and the prompts that it takes."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    recipe: Recipe
    """The run's recipe with the decoding options given; defaults for a model without a run."""
    task: Task
    columns: Columns
    """Column of the task -> column of the new rows."""
    labels: dict[str, list[int]]
    """Token ids of each label to choose from; empty for other tasks."""
    seed: int
    accelerator: Accelerator
    console: Console
    """Where messages go; predictions alone go to stdout."""

    @property
    def max_new_tokens(self) -> int:
        """Longest continuation of a prompt, in tokens."""
        if self.labels:
            return max(map(len, self.labels.values()))
        return self.recipe.generation.max_new_tokens

    def reader(self, is_raw: bool) -> PromptReader:
        return PromptReader(self.task, self.columns, self.recipe.data.encoding, is_raw)


def open_session(
    name: str | None,
    overrides: tuple[str, ...],
    decoding: dict[str, Any],
    seed: int,
    console: Console,
) -> GenerationSession:
    """The named model or run, else the newest finished run under runs/, else the embedded model.

    Args:
        overrides: KEY=VALUE for keys of the run's recipe.
        decoding: The decoding options by name; None keeps the recipe's value.
        seed: Seed of the sampling.
    """
    if name is None:
        newest = newest_finished_run()
        name = str(newest) if newest else "embedded"
    model_name, run = resolve_model(name)
    console.print(f"model: {name}", style="dim")
    recipe = _open_recipe(run, name, overrides)
    given = {key: value for key, value in decoding.items() if value is not None}
    try:
        generation = Generation.model_validate(recipe.generation.model_dump() | given)
    except ValidationError as error:
        raise UserError("\n".join(_explain_flag(mistake) for mistake in error.errors())) from None
    recipe = recipe.model_copy(update={"generation": generation})
    task = prompt_task(recipe)
    check_columns(recipe.data, task)
    if task.output == "label" and given:
        flag = next(iter(given)).replace("_", "-")
        raise UserError(f"--{flag}: {task.name} chooses a label and generates no text; remove it")
    label_names = open_labels(run, task) if run and task.output == "label" else []
    accelerator = start_accelerator(recipe.train.device, recipe.train.mixed_precision, recipe.seed)
    model, tokenizer = load_model(model_name)
    if run is None:
        recipe = recipe.model_copy(
            update={
                "data": recipe.data.model_copy(
                    update={"max_length": model.config.max_position_embeddings}
                )
            }
        )
    labels = encode_labels(label_names, tokenizer) if label_names else {}
    model.to(accelerator.device)
    columns = columns_of(recipe.data, "test") | _given_columns(recipe, overrides)
    return GenerationSession(
        model, tokenizer, recipe, task, columns, labels, seed, accelerator, console
    )


def _open_recipe(run: Path | None, name: str, overrides: tuple[str, ...]) -> Recipe:
    if run is not None:
        recipe = load_recipe(str(recipe_path(run)), overrides=overrides)
        if any(override.startswith("data.encoding=") for override in overrides):
            return recipe
        # New rows are often UTF-8 even if the training rows were not, and only UTF-8 is detectable.
        return recipe.model_copy(update={"data": recipe.data.model_copy(update={"encoding": None})})
    for override in overrides:
        if override.partition("=")[0] not in MODEL_KEYS:
            raise UserError(f"{override}: {name} is not a run, so it has no recipe to override")
    given = load_recipe("pretrain", overrides=overrides).data
    data = Data(encoding=given.encoding, skip_invalid=given.skip_invalid)
    return Recipe(task="pretrain", train=Train(max_steps=1), data=data)


def _given_columns(recipe: Recipe, overrides: tuple[str, ...]) -> Columns:
    """The columns that overrides name; they take precedence over those of the run's test rows."""
    keys = [override.partition("=")[0] for override in overrides]
    return {
        name: column
        for name, column in recipe.data.columns.items()
        if f"data.columns.{name}" in keys
    }


def open_labels(run: Path, task: Task) -> list[str]:
    """The labels that a classifier chooses from: those its run recorded or, for a run of an earlier
    version, those of its training rows."""
    try:
        recorded = read_json(facts_path(run)).get("labels")
    except CorruptFolder as error:
        raise UserError(f"{facts_path(run)}: {error}; train again") from None
    if isinstance(recorded, list) and all(isinstance(label, str) for label in recorded):
        return recorded
    try:
        train = open_splits(recipe_of(run).data, task)["train"]
        return sorted(count_answers(train, task))
    except UserError as error:
        raise UserError(
            f"{facts_path(run)}: no `labels` in it, as in runs of earlier versions, and the "
            f"training rows cannot be read to find them: {error}"
        ) from None


def _explain_flag(mistake: dict[str, Any]) -> str:
    flag = "".join(f"--{part}: ".replace("_", "-") for part in mistake["loc"])
    message = mistake["msg"].removeprefix("Value error, ")
    for name in Generation.model_fields:
        message = message.replace(name, f"--{name}".replace("_", "-"))
    return f"{flag}{message}"
