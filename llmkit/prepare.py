"""Data and model of a recipe, made and checked before anything is written."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.utils import gather_object, set_seed
from datasets import Dataset
from rich.console import Console
from torch import nn
from transformers import PreTrainedTokenizerBase

from llmkit import report
from llmkit.cache import encode_cached
from llmkit.console import warning_console
from llmkit.constants import END_OF_TEXT
from llmkit.data import Rows, open_general_text, open_splits
from llmkit.encode import count_tokens, encoding_options, fingerprint
from llmkit.engine import check_config
from llmkit.errors import UserError
from llmkit.evaluation import EvaluationSet, count_answers, prepare_evaluation
from llmkit.findings import (
    find_in_split,
    find_invalid,
    find_kept,
    find_rows_in_quotes,
    find_same_ids,
    find_spellings,
    find_unfinished,
    find_unscorable,
    refuse_errors,
)
from llmkit.memory import fitting_tokens
from llmkit.model import (
    add_lora,
    commit_of,
    freeze_layers,
    load_model,
    scratch_model,
    set_dropout,
    unmap_weights,
    weights_fingerprint,
)
from llmkit.order import BatchSchedule
from llmkit.schema import Recipe
from llmkit.scores import check_metric, choose_metric
from llmkit.tasks import Row, Task, prompt_warnings, recipe_task, texts_of


@dataclass(frozen=True)
class TrainingSetup:
    """All that training needs, made and checked before anything is written."""

    model: nn.Module
    tokenizer: PreTrainedTokenizerBase
    train_rows: Rows
    order: BatchSchedule
    """The encoded training rows, step by step."""
    validation: EvaluationSet
    tests: dict[str, EvaluationSet]
    """What is scored in the end: `test`, further ones by name, and `general text`."""
    metric: tuple[str, bool]
    """Score that chooses the best weights, and whether higher is better."""
    facts: dict
    """What the run's record says of data and model."""


def setup_training(recipe: Recipe, accelerator: Accelerator, console: Console) -> TrainingSetup:
    """Data and model of a recipe. Every mistake of the user's shows here."""
    task = recipe_task(recipe)
    metric = choose_metric(recipe, task)
    settings = recipe.evaluation
    splits = open_splits(recipe.data, task, settings)
    shapes = {split: rows.shape for split, rows in splits.items()}
    warnings = prompt_warnings(recipe, task)
    report.show_prompt(console, shapes, task.shown_prompt, warnings, warning_console())
    model, tokenizer = open_model(recipe, splits["train"], recipe.model)
    check_max_length(recipe, model)
    tokenizer.chat_template = task.chat_template or tokenizer.chat_template
    encoded, account, was_cached = encode_cached(
        splits["train"], tokenizer, encoding_options(recipe), console.print
    )
    answered = _with_labels(splits["train"])
    answers = count_answers(answered, task)
    validation = prepare_evaluation(splits["validation"], task, tokenizer, recipe, answers)
    check_metric(metric[0], validation, settings.votes)
    tests = prepare_tests(splits, task, tokenizer, recipe, answers)
    sets = {"validation": validation, **tests}
    findings = find_in_split("train", account, None)
    findings += find_spellings("train", answered, task)
    findings += find_unfinished("train", splits["train"], task)
    findings += find_kept(splits["train"].kept)
    for split, rows in splits.items():
        findings += find_rows_in_quotes(split, rows)
    for split, prepared in sets.items():
        if prepared.task.name == task.name:
            findings += find_invalid(split, splits[split]) if split in splits else []
            findings += find_in_split(split, prepared.account, account)
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
                "source": splits[split].source if split in splits else settings.general_text,
                "rows": num_rows,
                "tokens_sha256": fingerprint(rows),
            }
            for split, num_rows, rows in [
                ("train", account.num_rows, encoded),
                *((name, len(s.rows), s.encoded) for name, s in sets.items()),
            ]
        },
        "train_rows": dict(account.fates),
        "labels": list(validation.labels),  # `generate` chooses from these
    }
    model = trainable_model(model, recipe).to(accelerator.device)
    order = BatchSchedule(
        encoded, recipe, accelerator, micro_batch_token_budget(model, encoded, accelerator)
    )
    facts["micro_batch_size"] = order.micro_batch_size
    facts["num_steps"] = order.num_steps
    if tokenizer.eos_token != END_OF_TEXT:
        console.print(f"texts   end with the tokenizer's {tokenizer.eos_token}", highlight=False)
    report.show_start(console, recipe, model, order, account, was_cached, accelerator)
    report.show_held_out(console, splits, account.num_rows, sets)
    report.show_findings(warning_console(), [f for f in findings if f.severity == "warning"])
    train_rows = splits["train"]
    return TrainingSetup(model, tokenizer, train_rows, order, validation, tests, metric, facts)


def _with_labels(rows: Rows) -> Iterable[Row]:
    """The rows; of a classifier's, place and label alone, which are read once and fit in memory."""
    task = rows.task
    if not task.chooses:
        return rows
    return [{"where": row["where"], task.target: row[task.target]} for row in rows]


def prepare_tests(
    splits: dict[str, Rows],
    task: Task,
    tokenizer: PreTrainedTokenizerBase,
    recipe: Recipe,
    answers: Counter[str],
) -> dict[str, EvaluationSet]:
    """All that a model is scored on in the end: `test` first, then what else the recipe names."""
    tests = {
        name: prepare_evaluation(splits[name], task, tokenizer, recipe, answers)
        for name in ("test", *recipe.data.tests)
    }
    refuse_errors(
        [finding for name, test in tests.items() for finding in find_same_ids(name, test.rows)]
    )
    if recipe.evaluation.general_text is not None:
        rows = open_general_text(recipe.evaluation.general_text)
        tests["general text"] = prepare_evaluation(rows, rows.task, tokenizer, recipe, Counter())
    return tests


def micro_batch_token_budget(model: nn.Module, encoded: Dataset, accelerator: Accelerator) -> int:
    """Tokens of a micro-batch that fit into memory in every process, since all deal alike."""
    longest = int(count_tokens(encoded)[0].max())
    precision, num_processes = accelerator.mixed_precision, accelerator.num_processes
    mine = fitting_tokens(model, accelerator.device, precision, longest, num_processes)
    return min(gather_object([mine]))


def model_facts(recipe: Recipe, model: nn.Module) -> dict:
    """What the run's record says of the model it starts from."""
    facts = {"name": recipe.model, "sha256": weights_fingerprint(model)}
    return facts | {"commit": commit_of(Path(model.name_or_path))}


def check_max_length(recipe: Recipe, model: nn.Module) -> None:
    n_positions = model.config.n_positions
    if recipe.max_length > n_positions:
        raise UserError(
            f"max_length: {recipe.max_length} is beyond the model's {n_positions} positions; "
            f"set max_length={n_positions} or less"
        )


def open_model(
    recipe: Recipe, train_rows: Rows, name: str
) -> tuple[nn.Module, PreTrainedTokenizerBase]:
    """The recipe's model, or another one by name; `scratch` is the same one each time."""
    if name != "scratch":
        model, tokenizer = load_model(name, recipe.model_revision if name == recipe.model else None)
        if recipe.train.engine == "fast":
            check_config(model.config)
        return model, tokenizer
    set_seed(recipe.seed)
    texts = (text for row in train_rows for text in texts_of(row, train_rows.task))
    return scratch_model(recipe.scratch, texts)


def trainable_model(model: nn.Module, recipe: Recipe) -> nn.Module:
    """The model with the recipe's dropout, adapters and frozen layers."""
    settings = recipe.train
    if settings.freeze_layers > model.config.n_layer - (settings.method == "lora"):
        raise UserError(
            f"train.freeze_layers: {settings.freeze_layers} leaves nothing to train; "
            f"the model has {model.config.n_layer} blocks"
        )
    if settings.dropout is not None:
        set_dropout(model, settings.dropout)
    if settings.method == "lora":
        model = add_lora(model, settings.lora, settings.freeze_layers)
    elif settings.freeze_layers:
        freeze_layers(model, settings.freeze_layers)
    unmap_weights(model)
    return model
