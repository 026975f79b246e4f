"""The `evaluate` command: scores of a model, or of someone's predictions, on a recipe's test rows,
beside the baselines."""

from pathlib import Path
from typing import Any

from rich.console import Console

from llmkit.config.schema import Recipe
from llmkit.data.answers import count_answers
from llmkit.data.findings import find_invalid, find_same_ids, find_unscorable, refuse_errors
from llmkit.data.recipe_task import recipe_task
from llmkit.data.rows import Rows
from llmkit.data.splits import open_splits
from llmkit.errors import UserError, first_few
from llmkit.evaluation.evaluate import prepare_tests, score_model
from llmkit.model.load import check_max_length, open_model
from llmkit.paths import check_writable, expand
from llmkit.reports import terminal
from llmkit.runs.folder import is_run
from llmkit.runtime.console import warning_console
from llmkit.runtime.devices import start_accelerator
from llmkit.scoring.predictions import label_warnings, read_predictions, vote_warnings
from llmkit.scoring.results import results_of, write_tables
from llmkit.scoring.scores import (
    TestSet,
    choose_metric,
    score_baselines,
    score_predictions,
    tables_of,
)
from llmkit.scoring.verdict import UNTUNED


def evaluate_model(
    name: str, recipe: Recipe, console: Console, output: str | None
) -> dict[str, dict[str, Any]]:
    """Score a model on the recipe's test rows, beside the recipe's own untuned model; returns
    `results_of` by test set."""
    folder = check_output_folder(output)
    accelerator = start_accelerator(recipe.train.device, recipe.train.mixed_precision, recipe.seed)
    task = recipe_task(recipe)
    metric, higher_is_better = choose_metric(recipe, task)
    splits = open_splits(recipe.data, task, recipe.evaluation)
    show_invalid(splits)
    answers = count_answers(splits["train"], task)
    names = {"this model": name}
    if Path(name) != Path(recipe.model.name):
        names[UNTUNED] = recipe.model.name
    by_model = {}
    for label, which in names.items():
        model, tokenizer = open_model(
            recipe.model, recipe.train.forward, recipe.seed, splits["train"].texts(), which
        )
        check_max_length(recipe.data.max_length, model)
        tests = prepare_tests(splits, task, tokenizer, recipe, answers)
        by_model[label] = score_model(model, tokenizer, tests, recipe, accelerator)
    tables = tables_of(by_model, tests)
    if accelerator.is_main_process:
        errors = warning_console()
        for split, test in tests.items():
            terminal.show_findings(errors, find_unscorable(split, test.examples, test.task))
        terminal.show_tables(console, tests, tables)
        terminal.show_verdict(console, tables["test"], (metric, higher_is_better))
        if folder is not None:
            write_tables(folder, tests, tables, metric, splits["train"])
    return {name: results_of(test, tables[name], metric) for name, test in tests.items()}


def evaluate_predictions(
    path: str, recipe: Recipe, console: Console, output: str | None
) -> dict[str, dict[str, Any]]:
    """Score a file of predictions, made by any tool, for the recipe's test rows; returns
    `results_of` them."""
    folder = check_output_folder(output)
    task = recipe_task(recipe)
    metric, higher_is_better = choose_metric(recipe, task)
    if task.output == "text":
        raise UserError(f"--predictions: {task.name} is scored by its loss, not by predictions")
    predictions = read_predictions(expand(path), "--predictions", task)
    splits = open_splits(recipe.data, task, recipe.evaluation)
    show_invalid(splits)
    answers = count_answers(splits["train"], task)
    test = TestSet.of(splits["test"], task, answers)
    task = test.task
    refuse_errors(find_same_ids("test", test.rows))
    missing = [example for example in test.examples if example.id not in predictions]
    if missing:
        raise UserError(
            f"{path}: no prediction for {first_few([example.where for example in missing])}: "
            f"expected ids: {first_few([repr(example.id) for example in missing])}; found ids: "
            f"{first_few(list(map(repr, predictions)))}; name the rows that were predicted with "
            "data.test=FILE"
        )
    strange = predictions.keys() - {example.id for example in test.examples + test.unlabeled}
    if strange:
        places = sorted(predictions[name].where for name in strange)
        raise UserError(f"{path}: no test row has the id of {first_few(places)}")
    rows = [predictions[example.id] for example in test.examples]
    warnings = vote_warnings(rows, task)
    if task.output == "label":
        warnings += label_warnings(rows, answers.keys() | {each[0] for each in test.references})
    for warning in warnings:
        warning_console().print(f"warning: {warning}")
    said = [row.prediction for row in rows]
    table = {
        "these predictions": score_predictions(
            task, task.row_statistics(said, test.references), said
        )
    }
    table |= score_baselines(test)
    terminal.show_findings(warning_console(), find_unscorable("test", test.examples, test.task))
    terminal.show_tables(console, {"test": test}, {"test": table})
    terminal.show_verdict(console, table, (metric, higher_is_better))
    if folder is not None:
        write_tables(folder, {"test": test}, {"test": table}, metric, splits["train"])
    return {"test": results_of(test, table, metric)}


def show_invalid(splits: dict[str, Rows]) -> None:
    """Say which rows of the test sets are left out because they cannot be read."""
    tests = [name for name in splits if name not in ("train", "validation")]
    findings = [finding for name in tests for finding in find_invalid(name, splits[name])]
    terminal.show_findings(warning_console(), findings)


def check_output_folder(output: str | None) -> Path | None:
    """The folder for an evaluation's scores; UserError, before any work, when it cannot be one."""
    if output is None:
        return None
    folder = expand(output)
    if is_run(folder) or folder.is_file():
        raise UserError(f"{folder}: is a run or a file; give --output a folder of its own")
    check_writable(folder, "--output")
    return folder
