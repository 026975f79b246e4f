"""The `evaluate` command: score a model or a file of predictions, next to baselines."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from rich.console import Console
from transformers import PreTrainedTokenizerBase

from llmkit.config.schema import Recipe
from llmkit.data.answers import count_answers
from llmkit.data.findings import find_invalid, find_same_ids, find_unscorable, refuse_errors
from llmkit.data.recipe_task import recipe_task
from llmkit.data.rows import Rows
from llmkit.data.splits import open_splits
from llmkit.errors import UserError, first_few
from llmkit.evaluation.evaluation_set import EvaluationSet, encode_test_sets, read_test_sets
from llmkit.evaluation.evaluator import Evaluator
from llmkit.generation.constraint import check_constraint
from llmkit.model.recipe_model import open_model
from llmkit.paths import check_writable, expand
from llmkit.reports import terminal
from llmkit.runs.folder import is_run
from llmkit.runtime.console import warning_console
from llmkit.runtime.devices import start_accelerator
from llmkit.scoring.comparison import compare_on_test_sets, compare_with_others
from llmkit.scoring.deciding_metric import choose_metric
from llmkit.scoring.predictions import (
    PredictedRow,
    label_warnings,
    read_predictions,
    vote_warnings,
)
from llmkit.scoring.results import summarize_results, write_results
from llmkit.scoring.scores import SystemResult, TestResults, score_predictions
from llmkit.scoring.testset import TestSet
from llmkit.scoring.verdict import UNTUNED, unconstrained
from llmkit.tasks import Row

THIS_MODEL, THESE_PREDICTIONS = "this model", "these predictions"  # names of systems


def evaluate_model(
    name: str, recipe: Recipe, console: Console, output: str | None
) -> dict[str, dict[str, Any]]:
    """Score a model and the recipe's untuned model on the recipe's test rows.

    Args:
        name: Folder or hub id of the model, or `embedded`.
        console: Where the scores are printed.
        output: Folder in which metrics.json and predictions.jsonl are written.

    Returns:
        The content of metrics.json for each test set, `test` first.
    """
    folder = check_output_folder(output)
    accelerator = start_accelerator(recipe.train.device, recipe.train.mixed_precision, recipe.seed)
    task = recipe_task(recipe)
    metric = choose_metric(task, recipe.evaluation.metric)
    splits = open_splits(recipe.data, task, recipe.evaluation)
    show_invalid(splits)
    answers = count_answers(splits["train"], task)
    tests = read_test_sets(splits, task, answers, recipe.data.tests, recipe.evaluation.general_text)
    names = {THIS_MODEL: name}
    if Path(name) != Path(recipe.model.name):
        names[UNTUNED] = recipe.model.name
    systems: dict[str, dict[str, SystemResult]] = {}
    encoded: dict[str, EvaluationSet] = {}
    encoded_with: PreTrainedTokenizerBase | None = None
    for label, model_name in names.items():
        model, tokenizer = open_model(recipe, splits["train"], model_name)
        check_constraint(recipe.generation, tokenizer)
        if encoded_with is None or not is_same_tokenizer(tokenizer, encoded_with):
            encoded = encode_test_sets(tests, tokenizer, recipe.data, recipe.generation)
            encoded_with = tokenizer
        evaluator = Evaluator.of(recipe, tokenizer, accelerator)
        systems[label] = evaluator.evaluate_all(model, encoded)
        if label == THIS_MODEL:
            systems[unconstrained(label)] = evaluator.evaluate_unconstrained(model, encoded)
    results = compare_on_test_sets(tests, systems, THIS_MODEL, metric)
    if accelerator.is_main_process:
        publish(results, console, folder, splits["train"])
    return {name: summarize_results(of_set).as_dict() for name, of_set in results.items()}


def read_encoded_test(recipe: Recipe, tokenizer: PreTrainedTokenizerBase) -> EvaluationSet:
    """Read the rows of the test set `test` as token ids; rows that cannot be read are printed."""
    task = recipe_task(recipe)
    splits = open_splits(recipe.data, task, recipe.evaluation)
    show_invalid(splits)
    answers = count_answers(splits["train"], task)
    tests = read_test_sets(splits, task, answers, (), None)
    return encode_test_sets(tests, tokenizer, recipe.data, recipe.generation)["test"]


def is_same_tokenizer(one: PreTrainedTokenizerBase, other: PreTrainedTokenizerBase) -> bool:
    """Whether two tokenizers encode every text as the same token ids."""
    return (
        one.eos_token_id == other.eos_token_id
        and one.backend_tokenizer.to_str() == other.backend_tokenizer.to_str()
    )


def evaluate_predictions(
    path: str, recipe: Recipe, console: Console, output: str | None
) -> dict[str, dict[str, Any]]:
    """Score a file of predictions, made by any tool, for the recipe's test rows.

    Args:
        path: The file; rows are matched by id.
        console: Where the scores are printed.
        output: Folder in which metrics.json and predictions.jsonl are written.

    Returns:
        The content of metrics.json, as `{"test": ...}`.
    """
    folder = check_output_folder(output)
    task = recipe_task(recipe)
    metric = choose_metric(task, recipe.evaluation.metric)
    if task.output == "text":
        raise UserError(f"--predictions: {task.name} is scored by its loss, not by predictions")
    predicted_rows = read_predictions(expand(path), "--predictions", task)
    splits = open_splits(recipe.data, task, recipe.evaluation)
    show_invalid(splits)
    answers = count_answers(splits["train"], task)
    test = TestSet.of(splits["test"], task, answers)
    refuse_errors(find_same_ids("test", test.rows))
    rows = match_rows(path, predicted_rows, test)
    warnings = vote_warnings(rows, test.task)
    if task.output == "label":
        known = answers.keys() | {accepted[0] for accepted in test.references}
        warnings += label_warnings(rows, known)
    for warning in warnings:
        warning_console().print(f"warning: {warning}")
    predictions = [row.prediction for row in rows]
    statistics = test.task.row_statistics(predictions, test.references)
    system = score_predictions(test.task, statistics, predictions)
    results = compare_with_others(test, {THESE_PREDICTIONS: system}, THESE_PREDICTIONS, metric)
    publish({"test": results}, console, folder, splits["train"])
    return {"test": summarize_results(results).as_dict()}


def match_rows(
    path: str, predicted_rows: dict[str, PredictedRow], test: TestSet
) -> list[PredictedRow]:
    """The predicted row of each test row, by id.

    Raises UserError for a test row without a prediction, and for a prediction without a test row.
    """
    missing = [example for example in test.examples if example.id not in predicted_rows]
    if missing:
        raise UserError(
            f"{path}: no prediction for {first_few([example.where for example in missing])}: "
            f"expected ids: {first_few([repr(example.id) for example in missing])}; found ids: "
            f"{first_few(list(map(repr, predicted_rows)))}; name the rows that were predicted with "
            "data.test=FILE"
        )
    unknown = predicted_rows.keys() - {example.id for example in test.examples + test.unlabeled}
    if unknown:
        places = sorted(predicted_rows[name].where for name in unknown)
        raise UserError(f"{path}: no test row has the id of {first_few(places)}")
    return [predicted_rows[example.id] for example in test.examples]


def publish(
    results: dict[str, TestResults],
    console: Console,
    folder: Path | None,
    training_rows: Iterable[Row],
) -> None:
    """Print warnings, scores and the outcome on `test`; write the results to a folder, if any."""
    for name, of_set in results.items():
        findings = find_unscorable(name, of_set.test.examples, of_set.test.task)
        terminal.show_findings(warning_console(), findings)
    terminal.show_results(console, results)
    terminal.show_verdict(console, results["test"])
    if folder is not None:
        write_results(folder, results, training_rows)


def show_invalid(splits: dict[str, Rows]) -> None:
    """Print which rows of the test sets are left out because they cannot be read."""
    tests = [name for name in splits if name not in ("train", "validation")]
    findings = [finding for name in tests for finding in find_invalid(name, splits[name])]
    terminal.show_findings(warning_console(), findings)


def check_output_folder(output: str | None) -> Path | None:
    """The folder for the results. Raises UserError, before any work, if it cannot be used."""
    if output is None:
        return None
    folder = expand(output)
    if is_run(folder) or folder.is_file():
        raise UserError(f"{folder}: is a run or a file; choose a different folder for --output")
    check_writable(folder, "--output")
    return folder
