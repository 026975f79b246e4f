"""Data and model of a recipe, made and checked before anything is written."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import torch
from accelerate import Accelerator
from rich.console import Console
from torch import nn
from transformers import PreTrainedTokenizerBase

from llmkit.config.schema import Recipe
from llmkit.constants import END_OF_TEXT
from llmkit.data.answers import count_answers
from llmkit.data.cache import encode_cached
from llmkit.data.encode import EncodingOptions
from llmkit.data.encoded_rows import fingerprint
from llmkit.data.encoding_report import EncodingReport
from llmkit.data.findings import (
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
from llmkit.runtime.console import warning_console
from llmkit.scoring.deciding_metric import DecidingMetric, check_metric, choose_metric
from llmkit.scoring.testset import TestSet
from llmkit.tasks import Row
from llmkit.training.batch_schedule import BatchSchedule
from llmkit.training.memory import micro_batch_token_budget
from llmkit.training.optim import warm_up_warning


@dataclass(frozen=True)
class TrainingSetup:
    """All that training needs, made and checked before anything is written."""

    model: nn.Module
    tokenizer: PreTrainedTokenizerBase
    train_rows: Rows
    schedule: BatchSchedule
    """The encoded training rows, step by step."""
    validation: EvaluationSet
    tests: dict[str, EvaluationSet]
    """What is scored in the end: `test`, further ones by name, and `general text`."""
    evaluator: Evaluator
    metric: DecidingMetric
    """Score that chooses the best weights."""
    facts: dict
    """What the run's record says of data and model."""


def setup_training(recipe: Recipe, accelerator: Accelerator, console: Console) -> TrainingSetup:
    """Data and model of a recipe. Every mistake of the user's shows here."""
    task = recipe_task(recipe)
    metric = choose_metric(task, recipe.evaluation.metric)
    settings = recipe.evaluation
    splits = open_splits(recipe.data, task, settings)
    shapes = {split: rows.shape for split, rows in splits.items()}
    warnings = prompt_warnings(recipe.data, task)
    terminal.show_prompt(console, shapes, task.shown_prompt, warnings, warning_console())
    model, tokenizer = open_model(
        recipe.model, recipe.train.forward, recipe.seed, splits["train"].texts()
    )
    check_max_length(recipe.data.max_length, model)
    tokenizer.chat_template = task.chat.template if task.chat else tokenizer.chat_template
    encoded, encoding_report, was_cached = encode_cached(
        splits["train"], tokenizer, EncodingOptions.of(recipe.data), console.print
    )
    answered = _with_labels(splits["train"])
    answers = count_answers(answered, task)
    options = EncodingOptions.of(recipe.data, is_scored=True)
    max_new_tokens = recipe.generation.max_new_tokens
    validation = encode_test_set(
        TestSet.of(splits["validation"], task, answers), tokenizer, options, max_new_tokens
    )
    check_metric(metric.name, validation, settings.votes)
    test_sets = read_test_sets(splits, task, answers, recipe.data.tests, settings.general_text)
    tests = {
        name: encode_test_set(test, tokenizer, options, max_new_tokens)
        for name, test in test_sets.items()
    }
    sets = {"validation": validation, **tests}
    findings = find_in_split("train", encoding_report, None)
    findings += find_spellings("train", answered, task)
    findings += find_unfinished("train", splits["train"], task)
    findings += find_kept(splits["train"].kept_in_train)
    for split, rows in splits.items():
        findings += find_rows_in_quotes(split, rows)
    for split, prepared in sets.items():
        if prepared.task.name == task.name:
            findings += find_invalid(split, splits[split]) if split in splits else []
            findings += find_in_split(split, prepared.encoding_report, encoding_report)
            findings += find_unscorable(split, prepared.examples, prepared.task)
    refuse_errors(findings)
    facts = {
        "findings": [str(finding) for finding in findings],
        "seed": recipe.seed,
        "device": str(accelerator.device),
        "mixed_precision": accelerator.mixed_precision,
        "float32_matmul_precision": torch.get_float32_matmul_precision(),
        "num_processes": accelerator.num_processes,
        "model": model_facts(recipe, model),
        "data": {
            split: {
                "source": splits[split].source.name if split in splits else settings.general_text,
                "rows": num_rows,
                "tokens_sha256": fingerprint(rows),
            }
            for split, num_rows, rows in [
                ("train", encoding_report.num_rows, encoded),
                *((name, len(s.rows), s.encoded) for name, s in sets.items()),
            ]
        },
        "train_rows": dict(encoding_report.outcomes),
        "labels": list(validation.labels),  # `generate` chooses from these
    }
    model = trainable_model(model, recipe.train).to(accelerator.device)
    schedule = BatchSchedule(
        encoded, recipe, accelerator, micro_batch_token_budget(model, encoded, accelerator)
    )
    facts["micro_batch_size"] = schedule.micro_batch_size
    facts["num_steps"] = schedule.num_steps
    if tokenizer.eos_token != END_OF_TEXT:
        console.print(f"texts   end with the tokenizer's {tokenizer.eos_token}", highlight=False)
    for line in training_summary(recipe, model, schedule, encoding_report, was_cached, accelerator):
        console.print(line)
    warm_up = warm_up_warning(schedule.num_steps, recipe.train)
    if warm_up is not None:
        warning_console().print(f"warning: {warm_up}")
    terminal.show_held_out(console, splits, encoding_report.num_rows, sets)
    terminal.show_findings(warning_console(), [f for f in findings if f.severity == "warning"])
    train_rows = splits["train"]
    evaluator = Evaluator(
        tokenizer,
        settings,
        recipe.generation,
        recipe.train.forward,
        recipe.seed,
        accelerator,
    )
    return TrainingSetup(
        model, tokenizer, train_rows, schedule, validation, tests, evaluator, metric, facts
    )


def _with_labels(rows: Rows) -> Iterable[Row]:
    """The rows; of a classifier's, place and label alone, which are read once and fit in memory."""
    task = rows.task
    if task.output != "label":
        return rows
    return [{"where": row["where"], task.target: row[task.target]} for row in rows]


def model_facts(recipe: Recipe, model: nn.Module) -> dict:
    """What the run's record says of the model it starts from."""
    facts = {"name": recipe.model.name, "sha256": weights_fingerprint(model)}
    return facts | {"commit": commit_of(Path(model.name_or_path))}


def training_summary(
    recipe: Recipe,
    model: nn.Module,
    schedule: BatchSchedule,
    encoding_report: EncodingReport,
    was_cached: bool,
    accelerator: Accelerator,
) -> list[str]:
    """Model, data and batch sizes, a line each, to print before the first step."""
    lines = []
    num_all, num_trainable = count_parameters(model)
    counts = ", ".join(
        f"{count:,} {outcome}" for outcome, count in encoding_report.outcomes.most_common()
    )
    num_tokens, num_supervised = sum(schedule.lengths), sum(schedule.supervised)
    lines.append(
        f"model   {recipe.model.name}: {num_all:,} parameters, {num_trainable:,} trained "
        f"({recipe.train.method})"
    )
    arithmetic = {"no": "float32"}.get(accelerator.mixed_precision, accelerator.mixed_precision)
    lines.append(f"engine  {recipe.train.forward}, {arithmetic} on {accelerator.device}")
    origin = "  (encoded before: from the cache)" if was_cached else ""
    lines.append(f"rows    {encoding_report.num_rows:,} read: {counts}{origin}")
    lines.append(
        f"tokens  {num_tokens:,} in {len(schedule.lengths):,} encoded rows, "
        f"{num_supervised:,} ({num_supervised / num_tokens:.0%}) supervised"
    )
    size = min(schedule.micro_batch_size, schedule.rows_per_process)
    lines.append(
        f"steps   {schedule.num_steps:,} of {count_of(schedule.global_batch_size, 'row')} = "
        f"{size} a micro-batch x {-(-schedule.rows_per_process // size)} accumulated "
        f"x {schedule.num_processes} process{'es' if schedule.num_processes > 1 else ''}"
    )
    return lines
