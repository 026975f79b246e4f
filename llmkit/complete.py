"""The `generate` command: predictions for a prompt, or for the rows of a file."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import click
from accelerate import Accelerator
from pydantic import ValidationError
from rich.console import Console
from transformers import GPT2LMHeadModel, PreTrainedTokenizerBase

from llmkit import files
from llmkit.columns import Columns, check_columns, columns_of
from llmkit.console import counting, warning_console
from llmkit.data import open_splits
from llmkit.devices import start_accelerator
from llmkit.encode import encode_prompt, encode_segments
from llmkit.errors import UserError
from llmkit.evaluation import count_answers, encode_labels, predict_prompts
from llmkit.folders import Damaged, read_json
from llmkit.model import load_model
from llmkit.output import TABLES, OutputRow, check_format, json_line, write_rows
from llmkit.prediction import Prediction
from llmkit.prompts import Prompt, PromptReader, Survey, has_text
from llmkit.recipe import load_recipe
from llmkit.run import (
    facts_path,
    newest_finished_run,
    recipe_of,
    recipe_path,
    resolve_model,
)
from llmkit.schema import Generation, Recipe, Train
from llmkit.tasks import Example, Task, prompt_task

WINDOW = 2048  # rows that are read together and batched by length
# Keys of a run's recipe that affect predictions; no other key can be overridden.
READ_KEYS = (
    "data.columns.", "data.encoding", "template", "max_length", "generation.",
    "evaluation.batch_size", "train.device", "train.mixed_precision",
)  # fmt: skip
MOST_LABELS = 10  # printed with their probability for one prompt


@dataclass(frozen=True)
class GenerationSession:
    """A model that is ready to predict, and the prompts that it takes."""

    model: GPT2LMHeadModel
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
    if task.chooses and given:
        flag = next(iter(given)).replace("_", "-")
        raise UserError(f"--{flag}: {task.name} chooses a label and generates no text; remove it")
    label_names = open_labels(run, task) if run and task.chooses else []
    accelerator = start_accelerator(recipe)
    model, tokenizer = load_model(model_name)
    if run is None:
        recipe = recipe.model_copy(update={"max_length": model.config.n_positions})
    labels = encode_labels(label_names, tokenizer) if label_names else {}
    model.to(accelerator.device)
    columns = columns_of(recipe.data, "test") | _given_columns(recipe, overrides)
    return GenerationSession(
        model, tokenizer, recipe, task, columns, labels, seed, accelerator, console
    )


def _open_recipe(run: Path | None, name: str, overrides: tuple[str, ...]) -> Recipe:
    for override in overrides:
        if not override.startswith(READ_KEYS):
            keys = ", ".join(key.removesuffix(".") for key in READ_KEYS)
            raise UserError(f"{override}: generate takes only {keys} from a recipe; remove this")
    if run is not None:
        recipe = load_recipe(str(recipe_path(run)), overrides=overrides)
        if any(override.startswith("data.encoding=") for override in overrides):
            return recipe
        # New rows are often UTF-8 even if the training rows were not, and only UTF-8 is detectable.
        return recipe.model_copy(update={"data": recipe.data.model_copy(update={"encoding": None})})
    if overrides:
        raise UserError(f"{overrides[0]}: {name} is not a run, so it has no recipe to override")
    return Recipe(task="pretrain", train=Train(max_steps=1))


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
    except Damaged as error:
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


def complete_prompt(
    session: GenerationSession,
    text: str,
    is_raw: bool,
    output: Path | None,
    as_json: bool = False,
) -> None:
    """Predict for one prompt; print the prediction, as text or JSON, or write it to a file."""
    reader = session.reader(is_raw)
    prompt = Prompt("0", "--prompt", reader.typed(text), {"prompt": text})
    if not text or not has_text(prompt.segments):
        raise UserError("--prompt: the prompt is empty; give it at least one character")
    survey = Survey()
    encode(session, [prompt], survey)
    _say(session, survey)
    ((_, prediction),) = predict(session, [prompt], 1)
    if output is not None:
        write_rows(
            output, [_output_row(prompt, prediction)], _output_columns(survey, session, output)
        )
    elif as_json:
        _print_json(prompt, prediction)
    elif prediction.probabilities:
        ranked = sorted(prediction.probabilities.items(), key=lambda pair: -pair[1])
        for label, probability in ranked[:MOST_LABELS]:
            click.echo(f"{label}\t{probability:.4f}")
        if len(ranked) > MOST_LABELS:
            num_more = len(ranked) - MOST_LABELS
            session.console.print(f"{num_more} more labels; --output FILE writes all", style="dim")
    else:
        _print(prediction)


def complete_file(
    session: GenerationSession,
    path: Path,
    is_raw: bool,
    output: Path | None,
    as_json: bool = False,
) -> None:
    """Predict for each row of a file; print the predictions, as text or JSON, or write them with
    all columns."""
    reader, survey = session.reader(is_raw), Survey()
    # Every row is read and encoded once before the first prediction, so that none fails later.
    for window in _windows(reader.read(path)):
        encode(session, window, survey)
    if not survey.num_rows:
        raise UserError(f"{path}: no rows in it")
    _say(session, survey)
    predicted = predict(session, reader.read(path), survey.num_rows)
    if output is None:
        for prompt, prediction in predicted:
            if as_json:
                _print_json(prompt, prediction)
            else:
                _print(prediction)
        return
    rows = (_output_row(prompt, made) for prompt, made in predicted)
    write_rows(output, rows, _output_columns(survey, session, output))
    session.console.print(f"{survey.num_rows:,} predictions written to {output}", style="dim")


def encode(session: GenerationSession, prompts: list[Prompt], survey: Survey) -> list[list[int]]:
    """Token ids of the prompts; sources and conversations are truncated as in training.

    Raises UserError for a prompt that does not fit the model together with its continuation.
    """
    examples = [Example(str(p.id), p.segments, "", [], p.where) for p in prompts]
    longest = session.recipe.max_length - session.max_new_tokens
    n_positions = session.model.config.n_positions
    encoded = []
    for prompt, (_, ids) in zip(prompts, encode_segments(examples, session.tokenizer), strict=True):
        whole = sum(map(len, ids))
        # A prompt without a source to truncate is passed whole if it fits the model.
        kept = encode_prompt(prompt.segments, ids[:-1], longest) or ids[:-1]
        tokens = [token for segment in kept for token in segment]
        if not tokens:
            raise UserError(f"{prompt.where}: the prompt is empty; give it at least one character")
        if len(tokens) + session.max_new_tokens > n_positions:
            raise UserError(
                f"{prompt.where}: {len(tokens)} tokens and up to {session.max_new_tokens} new ones "
                f"exceed the model's {n_positions} positions; shorten the prompt or lower "
                "--max-new-tokens"
            )
        survey.add(prompt, is_shortened=len(tokens) < whole)
        encoded.append(tokens)
    return encoded


def predict(
    session: GenerationSession, prompts: Iterable[Prompt], total: int
) -> Iterator[tuple[Prompt, Prediction]]:
    """Each prompt with its prediction, in order; prompts of similar length share a batch."""
    batch_size, first = session.recipe.evaluation.batch_size, 0
    with counting(session.console, "rows", total) as advance:
        for window in _windows(prompts):
            ids = encode(session, window, Survey())
            order = sorted(range(len(ids)), key=lambda index: len(ids[index]), reverse=True)
            made: dict[int, Prediction] = {}
            for start in range(0, len(order), batch_size):
                batch = order[start : start + batch_size]
                with session.accelerator.autocast():
                    answers = predict_prompts(
                        session.model,
                        session.tokenizer,
                        [ids[index] for index in batch],
                        session.labels,
                        session.recipe.generation,
                        batch_size,
                        session.seed,
                        [first + index for index in batch],
                    )
                made |= {index: answer for index, (answer, _) in zip(batch, answers, strict=True)}
                advance(len(batch))
            yield from ((prompt, made[index]) for index, prompt in enumerate(window))
            first += len(window)


def _windows(prompts: Iterable[Prompt]) -> Iterator[list[Prompt]]:
    prompts = iter(prompts)
    while window := list(islice(prompts, WINDOW)):
        yield window


def _say(session: GenerationSession, survey: Survey) -> None:
    """Print to stderr the template, how many sources were truncated, and warnings."""
    console, task = session.console, session.task
    if survey.uses_template and task.template:
        shown = json.dumps(task.template, ensure_ascii=False)
        console.print(f"prompt template: {shown}; --raw passes prompts as they are", style="dim")
    if survey.num_shortened:
        console.print(
            f"{survey.num_shortened:,} of {survey.num_rows:,} sources truncated to fit "
            f"{session.recipe.max_length} tokens",
            style="dim",
        )
    for warning in survey.warnings():
        warning_console().print(f"warning: {warning}", style="yellow")


def _output_row(prompt: Prompt, made: Prediction) -> OutputRow:
    row = {"id": prompt.id, "prompt": prompt.text, **prompt.columns}
    row |= {"id": prompt.id, "prediction": made.text}
    if made.probabilities is not None:
        row["probabilities"] = made.probabilities
    if made.votes is not None:
        row["predictions"] = made.votes
    if prompt.references and "references" not in row:
        row["references"] = prompt.references
    return row


def _output_columns(survey: Survey, session: GenerationSession, output: Path) -> list[str]:
    """The input's columns, with `id` first if they lack one, then the results.

    Tables, which people read in spreadsheets, omit `prompt` and `references`, which repeat the
    input.
    """
    is_table = output.suffix.lower() in TABLES
    columns = list(survey.columns if "id" in survey.columns else ["id", *survey.columns])
    columns += [] if is_table else ["prompt"]
    columns.append("prediction")
    if session.labels:
        columns.append("probabilities")
    elif session.recipe.generation.num_return_sequences > 1:
        columns.append("predictions")
    if survey.has_references and not is_table:
        columns.append("references")
    return list(dict.fromkeys(columns))


def _print_json(prompt: Prompt, made: Prediction) -> None:
    """Print the line that --output FILE.jsonl would hold."""
    click.echo(json_line(_output_row(prompt, made)))


def _print(made: Prediction) -> None:
    """Print the text; several samples are numbered, a label comes with its probability."""
    if made.probabilities:
        click.echo(f"{made.text}\t{made.probabilities[made.text]:.4f}")
    elif made.votes:
        for number, text in enumerate(made.votes, 1):
            click.echo(f"[{number}] {text}")
    else:
        click.echo(made.text)


def check_input(name: str) -> Path:
    """The file of prompts; UserError, before any work, when it cannot be read."""
    path = files.expand(name)
    files.check(path, "--input")
    return path


def check_output(name: str | None, rows: Path | None) -> Path | None:
    """The file to write. Raises UserError, before any work, if it cannot be written."""
    path = files.check_output(name)
    if path is not None:
        check_format(path)
        if rows is not None and path.exists() and path.samefile(rows):
            raise UserError(f"--output: {path} is the input; name another file")
    return path


def _explain_flag(mistake: dict[str, Any]) -> str:
    flag = "".join(f"--{part}: ".replace("_", "-") for part in mistake["loc"])
    return f"{flag}{mistake['msg'].removeprefix('Value error, ')}"
