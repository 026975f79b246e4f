"""Prepare and check the data and the model of a recipe, before anything is written."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from accelerate import Accelerator
from rich.console import Console
from torch import nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from llmkit.config.generation import Generation
from llmkit.config.schema import Data, Evaluation, Recipe, Train
from llmkit.constants import END_OF_TEXT
from llmkit.data.answers import count_answers
from llmkit.data.batches import batch_capacity
from llmkit.data.encoded_rows import EncodedRows
from llmkit.data.encoded_train import EncodedTrain, rows_of_mix
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
from llmkit.data.mixed_rows import MixedRows, TrainRows, drawn_sets
from llmkit.data.recipe_task import prompt_warnings, recipe_task
from llmkit.data.rows import Rows
from llmkit.data.splits import open_splits
from llmkit.errors import count_of
from llmkit.evaluation.evaluation_set import EvaluationSet, encode_test_sets, read_test_sets
from llmkit.evaluation.evaluator import Evaluator
from llmkit.generation.constraint import check_constraint
from llmkit.model.load import (
    commit_of,
    count_parameters,
    move_to_device,
    weights_fingerprint,
)
from llmkit.model.recipe_model import open_model
from llmkit.model.trainable import (
    require_trainable,
    set_activation_checkpointing,
    trainable_model,
)
from llmkit.reports import terminal
from llmkit.runs.record import ModelRecord, RunRecord, SplitRecord
from llmkit.runtime.console import warning_console
from llmkit.scoring.deciding_metric import DecidingMetric, check_metric, choose_metric
from llmkit.scoring.testset import TestSet
from llmkit.tasks import Row, Task
from llmkit.training.batch_schedule import BatchSchedule
from llmkit.training.memory import MemoryPlan, plan_memory
from llmkit.training.optim import warm_up_warning
from llmkit.training.resume import ResumePoint, with_memory_of_run
from llmkit.units import show_bytes
from llmkit.workflows.encode_train import encode_train


@dataclass(frozen=True)
class PreparedRows:
    """The rows of a recipe, encoded and checked."""

    splits: dict[str, Rows]
    train: EncodedTrain
    validation: EvaluationSet
    tests: dict[str, EvaluationSet]
    """The test sets to score at the end: `test`, further ones by name, and `general text`."""
    findings: list[Finding]
    """Problems of the rows."""

    @property
    def scored(self) -> dict[str, EvaluationSet]:
        """All evaluation sets by name: validation and the test sets."""
        return {"validation": self.validation, **self.tests}


@dataclass(frozen=True)
class TrainingSetup:
    """Everything that training and the final scores need."""

    recipe: Recipe
    accelerator: Accelerator
    rows: PreparedRows
    model: nn.Module
    tokenizer: PreTrainedTokenizerBase
    schedule: BatchSchedule
    """The training rows of each step."""
    memory: MemoryPlan
    evaluator: Evaluator
    metric: DecidingMetric
    """The score that selects the best weights."""
    record: RunRecord
    """The record of data and model for run.json."""


def setup_training(
    recipe: Recipe,
    accelerator: Accelerator,
    console: Console,
    resume_point: ResumePoint | None = None,
) -> TrainingSetup:
    """Prepare the data and the model of a recipe.

    resume_point: The checkpoint that the run resumes from.

    Raises:
        UserError: The recipe or the rows have a mistake that can be found before training.
    """
    task = recipe_task(recipe)
    metric = choose_metric(task, recipe.evaluation.metric)
    splits = open_splits(recipe.data, task, recipe.evaluation)
    shapes = {split: rows.shape for split, rows in splits.items()}
    warnings = prompt_warnings(recipe.data, task)
    terminal.show_prompt(console, shapes, task.shown_prompt, warnings, warning_console())
    model, tokenizer = open_model_to_train(recipe, task, splits["train"])
    rows = prepare_rows(
        splits, tokenizer, recipe.data, recipe.evaluation, recipe.generation, console
    )
    check_metric(metric.name, rows.validation, recipe.evaluation.votes)
    refuse_errors(rows.findings)
    base = ModelRecord(
        recipe.model.name, weights_fingerprint(model), commit_of(Path(model.name_or_path))
    )
    model = move_to_device(trainable_model(model, recipe.train), accelerator.device)
    settings = recipe.train
    if resume_point is not None:
        settings = with_memory_of_run(resume_point, settings, accelerator.num_processes)
    memory, schedule = plan_training(
        model, rows.train.encoded, settings, recipe.data, recipe.seed, accelerator
    )
    set_activation_checkpointing(model, memory.activation_checkpointing)
    evaluator = Evaluator.of(recipe, tokenizer, accelerator)
    record = run_record(
        rows,
        base,
        schedule,
        accelerator,
        recipe.evaluation.general_text,
        deterministic=recipe.train.deterministic,
    )
    setup = TrainingSetup(
        recipe, accelerator, rows, model, tokenizer, schedule, memory, evaluator, metric, record
    )
    show_setup(setup, console)
    return setup


def open_model_to_train(
    recipe: Recipe, task: Task, train: Rows
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Open the model that training starts from, with its tokenizer.

    train: The training rows, for the tokenizer of a model from scratch.

    Raises:
        UserError: The model cannot be trained, or a setting of the recipe does not fit it.
    """
    model, tokenizer = open_model(recipe, train)
    require_trainable(model, recipe.model.name)
    check_constraint(recipe.generation, tokenizer)
    tokenizer.chat_template = task.chat.template if task.chat else tokenizer.chat_template
    return model, tokenizer


def prepare_rows(
    splits: dict[str, Rows],
    tokenizer: PreTrainedTokenizerBase,
    data: Data,
    evaluation: Evaluation,
    generation: Generation,
    console: Console,
) -> PreparedRows:
    """Encode the training rows, or read them from the cache, and encode all evaluation sets."""
    train_rows, task = splits["train"], splits["train"].task
    train, splits = encode_train(splits, tokenizer, data, console)
    labeled = _with_labels(train_rows)
    answers = count_answers(labeled, task)
    read = {"validation": TestSet.of(splits["validation"], task, answers)}
    read |= read_test_sets(splits, task, answers, data.tests, evaluation.general_text)
    tests = encode_test_sets(read, tokenizer, data, generation)
    rows = PreparedRows(splits, train, tests.pop("validation"), tests, findings=[])
    return replace(rows, findings=find_problems(rows, labeled))


def _with_labels(rows: Rows) -> Iterable[Row]:
    """The rows; for a classifier, a list of their locations and labels, to read the rows only
    once."""
    task = rows.task
    if task.output != "label":
        return rows
    return [{"where": row["where"], task.target: row[task.target]} for row in rows]


def find_problems(rows: PreparedRows, labeled: Iterable[Row]) -> list[Finding]:
    """Inspect all splits; returns their findings, those of the training rows first."""
    train, task = rows.splits["train"], rows.splits["train"].task
    findings = find_in_split("train", rows.train.report, None)
    findings += find_spellings("train", labeled, task)
    findings += find_unfinished("train", train, task)
    findings += find_kept(train.kept_in_train)
    for name, split in {**rows.splits, **rows_of_mix(train)}.items():
        findings += find_rows_in_quotes(name, split)
    for name, scored in rows.scored.items():
        if scored.task.name == task.name:
            findings += find_invalid(name, rows.splits[name]) if name in rows.splits else []
            findings += find_in_split(name, scored.encoding_report, rows.train.report)
            findings += find_unscorable(name, scored.examples, scored.task)
    return findings


def plan_training(
    model: nn.Module,
    rows: TrainRows | MixedRows,
    settings: Train,
    data: Data,
    seed: int,
    accelerator: Accelerator,
) -> tuple[MemoryPlan, BatchSchedule]:
    """Choose micro-batches that fit into memory, and build the batch schedule.

    model: The model with its adapters and frozen layers.
    """
    memory = plan_memory(model, settings, rows, accelerator)
    schedule = BatchSchedule(
        rows,
        settings,
        seed=seed,
        capacity=batch_capacity(data, settings.forward),
        limit=memory.limit,
        rank=accelerator.process_index,
        num_processes=accelerator.num_processes,
    )
    return memory, schedule


def run_record(
    rows: PreparedRows,
    model: ModelRecord,
    schedule: BatchSchedule,
    accelerator: Accelerator,
    general_text: str | None,
    *,
    deterministic: bool,
) -> RunRecord:
    """The content of run.json. deterministic: train.deterministic."""
    return RunRecord(
        findings=[str(finding) for finding in rows.findings],
        seed=schedule.seed,
        device=accelerator.device.type,  # its index differs between processes
        mixed_precision=accelerator.mixed_precision,
        float32_matmul_precision=torch.get_float32_matmul_precision(),
        deterministic=deterministic or accelerator.device.type == "cpu",
        num_processes=accelerator.num_processes,
        model=model,
        data=split_records(rows, general_text),
        train_rows=dict(rows.train.report.outcomes),
        labels=list(rows.validation.labels),
        micro_batch_size=schedule.limit.rows,
        micro_batch_tokens=schedule.limit.tokens,
        num_steps=schedule.num_steps,
    )


def split_records(rows: PreparedRows, general_text: str | None) -> dict[str, SplitRecord]:
    """The source, the number of rows and the fingerprint of each set of rows."""
    encoded = {
        name: (of_set.report.num_rows, of_set.encoded) for name, of_set in rows.train.sets.items()
    }
    encoded |= {
        name: (len(each.rows), EncodedRows(each.encoded)) for name, each in rows.scored.items()
    }
    read = rows.splits | rows_of_mix(rows.splits["train"])
    return {
        name: SplitRecord(
            read[name].source.name if name in read else general_text,
            num_rows,
            tokens.fingerprint(),
        )
        for name, (num_rows, tokens) in encoded.items()
    }


def show_setup(setup: TrainingSetup, console: Console) -> None:
    """Print the sizes of model, data and batches, and warnings."""
    settings, rows, tokenizer = setup.recipe.train, setup.rows, setup.tokenizer
    if tokenizer.eos_token != END_OF_TEXT:
        console.print(f"texts   end with the tokenizer's {tokenizer.eos_token}", highlight=False)
    console.print(model_line(setup.model, setup.recipe.model.name, settings.method))
    arithmetic = {"no": "float32"}.get(setup.record.mixed_precision, setup.record.mixed_precision)
    kind = ", deterministic" if settings.deterministic else ""
    console.print(f"forward {settings.forward}, {arithmetic} on {setup.record.device}{kind}")
    report = rows.train.report
    counts = ", ".join(f"{count:,} {outcome}" for outcome, count in report.outcomes.most_common())
    cached = "  (encoded rows from the cache)" if rows.train.was_cached else ""
    console.print(f"rows    {report.num_rows:,} read: {counts}{cached}")
    mix = drawn_sets(rows.train.encoded)
    for drawn in mix:
        console.print(f"mix     {drawn}")
    console.print(tokens_line(setup.schedule))
    console.print(steps_line(setup.schedule))
    console.print(memory_line(setup.memory, setup.schedule))
    warm_up = warm_up_warning(setup.schedule.num_steps, settings)
    if warm_up is not None:
        warning_console().print(f"warning: {warm_up}")
    for warning in filter(None, (drawn.warning for drawn in mix)):
        warning_console().print(f"warning: {warning}")
    terminal.show_held_out(console, rows.splits, report.num_rows, rows.scored)
    warnings = [finding for finding in rows.findings if finding.severity == "warning"]
    terminal.show_findings(warning_console(), warnings)


def model_line(model: nn.Module, name: str, method: str) -> str:
    """Number of parameters, in one line."""
    num_all, num_trainable = count_parameters(model)
    return f"model   {name}: {num_all:,} parameters, {num_trainable:,} trainable ({method})"


def tokens_line(schedule: BatchSchedule) -> str:
    """Number of training tokens, in one line."""
    rows = schedule.rows
    num_tokens, num_supervised = int(rows.lengths.sum()), int(rows.supervised.sum())
    return (
        f"tokens  {num_tokens:,} in {len(rows):,} encoded rows, "
        f"{num_supervised:,} ({num_supervised / num_tokens:.0%}) supervised"
    )


def steps_line(schedule: BatchSchedule) -> str:
    """Number of steps and micro-batches, in one line."""
    num_micro_batches = len(schedule.micro_batch_indices(0)[schedule.rank])
    return (
        f"steps   {schedule.num_steps:,} of {count_of(schedule.global_batch_size, 'row')}: "
        f"{count_of(num_micro_batches, 'micro-batch')} of up to {schedule.limit} "
        f"x {count_of(schedule.num_processes, 'process')}"
    )


def memory_line(memory: MemoryPlan, schedule: BatchSchedule) -> str:
    """Estimated memory of the training by part, in one line."""
    parts = memory.usage.parts(schedule.largest_size(0))
    shown = ", ".join(f"{show_bytes(num_bytes)} {name}" for name, num_bytes in parts.items())
    switch = "on" if memory.activation_checkpointing else "off"
    return (
        f"memory  about {show_bytes(sum(parts.values()))}: {shown}; "
        f"activation checkpointing {switch}"
    )
