"""Prepare and check the data and the model of a recipe, before anything is written."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from accelerate import Accelerator
from datasets import Dataset
from rich.console import Console
from torch import nn
from transformers import PreTrainedTokenizerBase

from llmkit.config.schema import Recipe
from llmkit.constants import END_OF_TEXT
from llmkit.data.answers import count_answers
from llmkit.data.batches import batch_capacity
from llmkit.data.cache import encode_cached
from llmkit.data.encode import EncodingOptions
from llmkit.data.encoded_rows import fingerprint
from llmkit.data.encoding_report import EncodingReport
from llmkit.data.findings import (
    Finding,
    find_in_split,
    find_invalid,
    find_kept,
    find_rows_in_quotes,
    find_spellings,
    find_unfinished,
    find_unscorable,
    refuse_errors,
)
from llmkit.data.recipe_task import prompt_warnings, recipe_task
from llmkit.data.rows import Rows
from llmkit.data.splits import open_splits
from llmkit.errors import count_of
from llmkit.evaluation.evaluation_set import EvaluationSet, encode_test_set, read_test_sets
from llmkit.evaluation.evaluator import Evaluator
from llmkit.model.load import (
    check_max_length,
    commit_of,
    count_parameters,
    open_model,
    weights_fingerprint,
)
from llmkit.model.trainable import trainable_model
from llmkit.reports import terminal
from llmkit.runs.record import ModelRecord, RunRecord, SplitRecord
from llmkit.runtime.console import warning_console
from llmkit.scoring.deciding_metric import DecidingMetric, check_metric, choose_metric
from llmkit.scoring.testset import TestSet
from llmkit.tasks import Row, Task
from llmkit.training.batch_schedule import BatchSchedule
from llmkit.training.memory import micro_batch_token_budget
from llmkit.training.optim import warm_up_warning


@dataclass(frozen=True)
class EncodedTrain:
    """The training rows as tokens."""

    rows: Dataset
    report: EncodingReport
    was_cached: bool


@dataclass(frozen=True)
class TrainingSetup:
    """Everything that training and the final scores need."""

    recipe: Recipe
    accelerator: Accelerator
    model: nn.Module
    tokenizer: PreTrainedTokenizerBase
    train_rows: Rows
    schedule: BatchSchedule
    """The encoded training rows, step by step."""
    validation: EvaluationSet
    tests: dict[str, EvaluationSet]
    """What is scored at the end: `test`, further ones by name, and `general text`."""
    evaluator: Evaluator
    metric: DecidingMetric
    """Score that chooses the best weights."""
    record: RunRecord
    """What the run records of data and model."""


def setup_training(recipe: Recipe, accelerator: Accelerator, console: Console) -> TrainingSetup:
    """Prepare the data and the model of a recipe.

    Raises:
        UserError: For every mistake in the recipe or the rows that can be found before training.
    """
    task = recipe_task(recipe)
    metric = choose_metric(task, recipe.evaluation.metric)
    splits = open_splits(recipe.data, task, recipe.evaluation)
    shapes = {split: rows.shape for split, rows in splits.items()}
    warnings = prompt_warnings(recipe.data, task)
    terminal.show_prompt(console, shapes, task.shown_prompt, warnings, warning_console())
    model, tokenizer = open_model(
        recipe.model, recipe.train.forward, recipe.seed, splits["train"].texts()
    )
    check_max_length(recipe.data.max_length, model)
    tokenizer.chat_template = task.chat.template if task.chat else tokenizer.chat_template
    options = EncodingOptions.of(recipe.data)
    train = EncodedTrain(*encode_cached(splits["train"], tokenizer, options, console.print))
    labeled = _with_labels(splits["train"])
    answers = count_answers(labeled, task)
    encode = partial(
        encode_test_set,
        tokenizer=tokenizer,
        options=EncodingOptions.of(recipe.data, is_scored=True),
        max_new_tokens=recipe.generation.max_new_tokens,
    )
    validation = encode(TestSet.of(splits["validation"], task, answers))
    check_metric(metric.name, validation, recipe.evaluation.votes)
    general_text = recipe.evaluation.general_text
    tests = read_test_sets(splits, task, answers, recipe.data.tests, general_text)
    tests = {name: encode(test) for name, test in tests.items()}
    sets = {"validation": validation, **tests}
    findings = find_problems(task, splits, labeled, train.report, sets)
    refuse_errors(findings)

    base = ModelRecord(
        recipe.model.name, weights_fingerprint(model), commit_of(Path(model.name_or_path))
    )
    model = trainable_model(model, recipe.train).to(accelerator.device)
    schedule = BatchSchedule(
        train.rows,
        recipe.train,
        seed=recipe.seed,
        capacity=batch_capacity(recipe.data, recipe.train.forward),
        max_tokens=micro_batch_token_budget(model, train.rows, accelerator),
        rank=accelerator.process_index,
        num_processes=accelerator.num_processes,
    )
    record = RunRecord(
        findings=[str(finding) for finding in findings],
        seed=recipe.seed,
        device=str(accelerator.device),
        mixed_precision=accelerator.mixed_precision,
        float32_matmul_precision=torch.get_float32_matmul_precision(),
        num_processes=accelerator.num_processes,
        model=base,
        data=record_splits(splits, train, sets, recipe.evaluation.general_text),
        train_rows=dict(train.report.outcomes),
        labels=list(validation.labels),
        micro_batch_size=schedule.micro_batch_size,
        num_steps=schedule.num_steps,
    )
    evaluator = Evaluator(
        tokenizer,
        recipe.evaluation,
        recipe.generation,
        recipe.train.forward,
        recipe.seed,
        accelerator,
    )
    setup = TrainingSetup(
        recipe, accelerator, model, tokenizer, splits["train"], schedule, validation, tests,
        evaluator, metric, record,
    )  # fmt: skip
    show_setup(setup, train, console)
    terminal.show_held_out(console, splits, train.report.num_rows, sets)
    terminal.show_findings(warning_console(), [f for f in findings if f.severity == "warning"])
    return setup


def _with_labels(rows: Rows) -> Iterable[Row]:
    """The rows; of a classifier's, only location and label, which are read once and kept."""
    task = rows.task
    if task.output != "label":
        return rows
    return [{"where": row["where"], task.target: row[task.target]} for row in rows]


def find_problems(
    task: Task,
    splits: dict[str, Rows],
    labeled: Iterable[Row],
    train_report: EncodingReport,
    sets: dict[str, EvaluationSet],
) -> list[Finding]:
    """The findings of all splits, those of the training rows first."""
    findings = find_in_split("train", train_report, None)
    findings += find_spellings("train", labeled, task)
    findings += find_unfinished("train", splits["train"], task)
    findings += find_kept(splits["train"].kept_in_train)
    for split, rows in splits.items():
        findings += find_rows_in_quotes(split, rows)
    for split, prepared in sets.items():
        if prepared.task.name == task.name:
            findings += find_invalid(split, splits[split]) if split in splits else []
            findings += find_in_split(split, prepared.encoding_report, train_report)
            findings += find_unscorable(split, prepared.examples, prepared.task)
    return findings


def record_splits(
    splits: dict[str, Rows],
    train: EncodedTrain,
    sets: dict[str, EvaluationSet],
    general_text: str | None,
) -> dict[str, SplitRecord]:
    """Source and fingerprint of each split and test set."""
    return {
        name: SplitRecord(
            splits[name].source.name if name in splits else general_text,
            num_rows,
            fingerprint(encoded),
        )
        for name, num_rows, encoded in [
            ("train", train.report.num_rows, train.rows),
            *((name, len(each.rows), each.encoded) for name, each in sets.items()),
        ]
    }


def show_setup(setup: TrainingSetup, train: EncodedTrain, console: Console) -> None:
    """Print sizes of model, data and batches, and a warning if the warm-up is too long."""
    settings, num_steps = setup.recipe.train, setup.schedule.num_steps
    if setup.tokenizer.eos_token != END_OF_TEXT:
        text = f"texts   end with the tokenizer's {setup.tokenizer.eos_token}"
        console.print(text, highlight=False)
    console.print(model_line(setup.model, setup.recipe.model.name, settings.method))
    arithmetic = {"no": "float32"}.get(setup.record.mixed_precision, setup.record.mixed_precision)
    console.print(f"engine  {settings.forward}, {arithmetic} on {setup.accelerator.device}")
    counts = ", ".join(
        f"{count:,} {outcome}" for outcome, count in train.report.outcomes.most_common()
    )
    cached = "  (encoded before: from the cache)" if train.was_cached else ""
    console.print(f"rows    {train.report.num_rows:,} read: {counts}{cached}")
    for line in schedule_lines(setup.schedule):
        console.print(line)
    warm_up = warm_up_warning(num_steps, settings)
    if warm_up is not None:
        warning_console().print(f"warning: {warm_up}")


def model_line(model: nn.Module, name: str, method: str) -> str:
    """Number of the model's weights."""
    num_all, num_trainable = count_parameters(model)
    return f"model   {name}: {num_all:,} parameters, {num_trainable:,} trained ({method})"


def schedule_lines(schedule: BatchSchedule) -> list[str]:
    """Number of tokens, and how a step is split into micro-batches."""
    num_tokens, num_supervised = sum(schedule.lengths), sum(schedule.supervised)
    size = min(schedule.micro_batch_size, schedule.rows_per_process)
    return [
        f"tokens  {num_tokens:,} in {len(schedule.lengths):,} encoded rows, "
        f"{num_supervised:,} ({num_supervised / num_tokens:.0%}) supervised",
        f"steps   {schedule.num_steps:,} of {count_of(schedule.global_batch_size, 'row')} = "
        f"{size} a micro-batch x {-(-schedule.rows_per_process // size)} accumulated "
        f"x {schedule.num_processes} process{'es' if schedule.num_processes > 1 else ''}",
    ]
