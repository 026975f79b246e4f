"""The `evaluate` command: scores of a model, or of someone's predictions, on a recipe's test rows,
beside the baselines."""

from pathlib import Path
from typing import Any

from rich.console import Console
from transformers import PreTrainedTokenizerBase

from llmkit.config.schema import Recipe
from llmkit.data.answers import count_answers
from llmkit.data.encode import EncodingOptions
from llmkit.data.findings import find_invalid, find_same_ids, find_unscorable, refuse_errors
from llmkit.data.recipe_task import recipe_task
from llmkit.data.rows import Rows
from llmkit.data.splits import open_splits
from llmkit.errors import UserError, first_few
from llmkit.evaluation.evaluation_set import encode_test_set, read_test_sets
from llmkit.evaluation.evaluator import Evaluator
from llmkit.model.load import check_max_length, open_model
from llmkit.paths import check_writable, expand
from llmkit.reports import terminal
from llmkit.runs.folder import is_run
from llmkit.runtime.console import warning_console
from llmkit.runtime.devices import start_accelerator
from llmkit.scoring.comparison import compare_on_test_sets, compare_with_others
from llmkit.scoring.deciding_metric import choose_metric
from llmkit.scoring.predictions import label_warnings, read_predictions, vote_warnings
from llmkit.scoring.results import summarize_results, write_results
from llmkit.scoring.scores import TestResults, score_predictions
from llmkit.scoring.testset import TestSet
from llmkit.scoring.verdict import UNTUNED

THIS_MODEL, THESE_PREDICTIONS = "this model", "these predictions"  # names of systems


def evaluate_model(
    name: str, recipe: Recipe, console: Console, output: str | None
) -> dict[str, dict[str, Any]]:
    """Score a model and the recipe's untuned model on the recipe's test rows.

    Returns the content of metrics.json for each test set.
    """
    folder = check_output_folder(output)
    accelerator = start_accelerator(recipe.train.device, recipe.train.mixed_precision, recipe.seed)
    task = recipe_task(recipe)
    metric = choose_metric(task, recipe.evaluation.metric)
    splits = open_splits(recipe.data, task, recipe.evaluation)
    show_invalid(splits)
    tests = read_test_sets(
        splits,
        task,
        count_answers(splits["train"], task),
        recipe.data.tests,
        recipe.evaluation.general_text,
    )
    names = {THIS_MODEL: name}
    if Path(name) != Path(recipe.model.name):
        names[UNTUNED] = recipe.model.name
    systems, encoded, encoded_by = {}, {}, None
    for label, which in names.items():
        model, tokenizer = open_model(
            recipe.model, recipe.train.forward, recipe.seed, splits["train"].texts(), which
        )
        check_max_length(recipe.data.max_length, model)
        if encoded_by is None or not is_same_tokenizer(tokenizer, encoded_by):
            options = EncodingOptions.of(recipe.data, is_scored=True)
            encoded = {
                name: encode_test_set(test, tokenizer, options, recipe.generation.max_new_tokens)
                for name, test in tests.items()
            }
            encoded_by = tokenizer
        evaluator = Evaluator(
            tokenizer,
            recipe.evaluation,
            recipe.generation,
            recipe.train.forward,
            recipe.seed,
            accelerator,
        )
        systems[label] = evaluator.evaluate_all(model, encoded)
    results = compare_on_test_sets(tests, systems, THIS_MODEL, metric)
    if accelerator.is_main_process:
        errors = warning_console()
        for split, test in tests.items():
            terminal.show_findings(errors, find_unscorable(split, test.examples, test.task))
        show(console, results)
        if folder is not None:
            write_results(folder, results, splits["train"])
    return {name: summarize_results(of_set).as_dict() for name, of_set in results.items()}


def is_same_tokenizer(one: PreTrainedTokenizerBase, other: PreTrainedTokenizerBase) -> bool:
    """Whether both make the same token ids of every text."""
    ids = one.eos_token_id, other.eos_token_id
    return ids[0] == ids[1] and one.backend_tokenizer.to_str() == other.backend_tokenizer.to_str()


def evaluate_predictions(
    path: str, recipe: Recipe, console: Console, output: str | None
) -> dict[str, dict[str, Any]]:
    """Score a file of predictions, made by any tool, for the recipe's test rows.

    Returns the content of metrics.json for each test set.
    """
    folder = check_output_folder(output)
    task = recipe_task(recipe)
    metric = choose_metric(task, recipe.evaluation.metric)
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
    made = [row.prediction for row in rows]
    system = score_predictions(task, task.row_statistics(made, test.references), made)
    results = compare_with_others(test, {THESE_PREDICTIONS: system}, THESE_PREDICTIONS, metric)
    terminal.show_findings(warning_console(), find_unscorable("test", test.examples, test.task))
    show(console, {"test": results})
    if folder is not None:
        write_results(folder, {"test": results}, splits["train"])
    return {"test": summarize_results(results).as_dict()}


def show(console: Console, results: dict[str, TestResults]) -> None:
    """Print the scores on each test set, and the outcome on `test`."""
    terminal.show_results(console, results)
    terminal.show_verdict(console, results["test"])


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
