"""The `generate` command: prompts typed or in a file -> completions."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import torch
from pydantic import ValidationError
from rich.console import Console
from transformers import GPT2LMHeadModel, PreTrainedTokenizerBase

from llmkit import files
from llmkit.columns import columns_of, select_prompt
from llmkit.devices import choose_kernels
from llmkit.encode import encode_prompt, encode_text
from llmkit.errors import UserError
from llmkit.generate import generate
from llmkit.model import load_model
from llmkit.run import newest_finished_run, recipe_of, resolve_model, write_jsonl
from llmkit.schema import Evaluation, Generation, Recipe
from llmkit.tasks import Segment, Task, prompt_task
from llmkit.tasks.base import prompt_segments


@dataclass(frozen=True)
class Completer:
    """A model, how to decode with it, and, where it belongs to a run, what it was trained on."""

    model: GPT2LMHeadModel
    tokenizer: PreTrainedTokenizerBase
    generation: Generation
    seed: int
    recipe: Recipe | None
    console: Console

    @property
    def task(self) -> Task | None:
        task = prompt_task(self.recipe) if self.recipe else None
        return None if task is None or task.is_language_modelling else task


def open_completer(
    name: str | None, decoding: dict[str, Any], seed: int, console: Console
) -> Completer:
    """The named model, else the newest finished run under runs/, else the embedded model.

    decoding: the flags that were given; the rest comes from the run's recipe.
    """
    if name is None:
        newest = newest_finished_run()
        name = str(newest) if newest else "embedded"
    model_name, run = resolve_model(name)
    console.print(f"model: {name}", style="dim")
    recipe = recipe_of(run) if run else None
    base = recipe.generation if recipe else Generation()
    given = {key: value for key, value in decoding.items() if value is not None}
    try:
        generation = Generation.model_validate(base.model_dump() | given)
    except ValidationError as error:
        raise UserError("\n".join(_explain_flag(mistake) for mistake in error.errors())) from None
    model, tokenizer = load_model(model_name)
    choose_kernels()
    if torch.accelerator.is_available():
        model.to(torch.accelerator.current_accelerator())
    return Completer(model, tokenizer, generation, seed, recipe, console)


def complete_prompt(completer: Completer, prompt: str, raw: bool, output: Path | None) -> None:
    """Print the completions of one prompt, or write them to a file."""
    segments = [Segment(prompt)] if raw else as_trained(completer, prompt)
    write(complete(completer, [("0", segments)]), output)


def complete_file(completer: Completer, path: Path, output: Path | None) -> None:
    """Complete each row of a file: its `prompt` as it is, or the task's columns in its template."""
    prompts = []
    for index, (where, raw) in enumerate(files.read(path)):
        prompts.append((str(raw.get("id", index)), _row_segments(completer, raw, where)))
    if not prompts:
        raise UserError(f"{path}: no rows in it")
    write(complete(completer, prompts), output)


def _row_segments(completer: Completer, raw: dict[str, Any], where: str) -> list[Segment]:
    task, recipe = completer.task, completer.recipe
    is_column = task is not None and "prompt" in columns_of(recipe.data, "test").values()
    if isinstance(raw.get("prompt"), str) and not is_column:
        return [Segment(raw["prompt"])]
    if task is None:
        raise UserError(
            f"{where}: no text column 'prompt'; there are: {files.shown(', '.join(map(str, raw)))}"
        )
    return select_prompt(raw, task, columns_of(recipe.data, "test"), where)


def as_trained(completer: Completer, prompt: str) -> list[Segment]:
    """The prompt in the template the run was trained with, unless it already ends in its cue.

    Only for tasks with one input; for others a prompt is taken as it is.
    """
    task = completer.task
    if task is not None and task.ask is not None:
        return task.ask(prompt)
    if task is None or set(task.inputs) - {task.long_input} - set(task.optional):
        return [Segment(prompt)]
    template = task.template
    cue = template.rpartition("}")[2].strip()
    if cue and prompt.rstrip().endswith(cue):
        return [Segment(prompt.rstrip())]
    shown = json.dumps(template, ensure_ascii=False)
    completer.console.print(f"prompt put into {shown}; --raw passes it as it is", style="dim")
    return prompt_segments(dict.fromkeys(task.inputs, "") | {task.long_input: prompt}, task)


def complete(
    completer: Completer, prompts: list[tuple[str, list[Segment]]]
) -> list[dict[str, Any]]:
    """(id, segments) -> rows of id, prompt and prediction (a list where several were asked for)."""
    generation, tokenizer, recipe = completer.generation, completer.tokenizer, completer.recipe
    longest = recipe.max_length if recipe else completer.model.config.n_positions
    room = longest - generation.max_new_tokens
    prompt_ids, num_shortened = [], 0
    for _, segments in prompts:
        ids = encode_text([segment.text for segment in segments], tokenizer)
        whole = [token for tokens in ids for token in tokens]
        # A source in the template may be shortened as in training; a prompt as it is never.
        kept = encode_prompt(segments, ids, room)
        prompt_ids.append(whole if kept is None else [t for tokens in kept for t in tokens])
        num_shortened += len(prompt_ids[-1]) < len(whole)
    if num_shortened:
        message = f"{num_shortened} of {len(prompts)} sources shortened to fit {longest} tokens"
        completer.console.print(message, style="dim")
    batch_size = (recipe.evaluation if recipe else Evaluation()).batch_size
    completions = generate(
        completer.model, tokenizer, prompt_ids, generation, batch_size, completer.seed
    )
    return [
        {
            "id": name,
            "prompt": "".join(segment.text for segment in segments),
            "prediction": [each.text for each in made] if len(made) > 1 else made[0].text,
        }
        for (name, segments), made in zip(prompts, completions, strict=True)
    ]


def check_input(name: str) -> Path:
    """The file of prompts; UserError, before any work, when it cannot be read."""
    path = files.expand(name)
    files.check(path, "--input")
    return path


def write(rows: list[dict[str, Any]], output: Path | None) -> None:
    """Into a jsonl file, or as plain text: a completion a paragraph."""
    if output is not None:
        write_jsonl(output, rows)
        return
    for row in rows:
        texts = row["prediction"] if isinstance(row["prediction"], list) else [row["prediction"]]
        for text in texts:
            click.echo(text.strip())


def _explain_flag(mistake: dict[str, Any]) -> str:
    flag = "".join(f"--{part}: ".replace("_", "-") for part in mistake["loc"])
    return f"{flag}{mistake['msg'].removeprefix('Value error, ')}"
