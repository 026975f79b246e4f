"""The `evaluate` command: scores of a model, or of someone's predictions, on a recipe's test rows,
beside the baselines."""

from collections.abc import Iterable, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import click
from accelerate import Accelerator
from rich.console import Console
from torch import nn
from transformers import PreTrainedTokenizerBase

from llmkit import report
from llmkit.console import warning_console
from llmkit.data import Rows, open_splits
from llmkit.devices import start_accelerator
from llmkit.diagnostics import diagnose
from llmkit.errors import UserError, name_some
from llmkit.evaluation import EvaluationSet, count_answers, evaluate
from llmkit.findings import find_invalid, find_same_ids, find_unscorable, refuse_errors
from llmkit.paths import check_writable, expand
from llmkit.predictions import label_warnings, read_predictions, vote_warnings
from llmkit.prepare import check_max_length, open_model, prepare_tests
from llmkit.run import is_run, predictions_path, results_path, set_dir, write_json, write_jsonl
from llmkit.schema import Recipe
from llmkit.scores import (
    Scored,
    ScoredRows,
    breakdown,
    by_length,
    choose_metric,
    confusion_of,
    row_scores,
    score_baselines,
    scored,
)
from llmkit.significance import QUICK_TRIALS, compare, count_rows
from llmkit.tasks import Example, Row, recipe_task, to_example
from llmkit.verdict import UNTUNED


def evaluate_model(
    name: str, recipe: Recipe, console: Console, output: str | None
) -> dict[str, dict[str, Any]]:
    """Score a model on the recipe's test rows, beside the recipe's own untuned model; returns
    `results_of` by test set."""
    folder = check_output_folder(output)
    accelerator = start_accelerator(recipe)
    task = recipe_task(recipe)
    metric, higher_is_better = choose_metric(recipe, task)
    splits = open_splits(recipe.data, task, recipe.evaluation)
    show_invalid(splits)
    answers = count_answers(splits["train"], task)
    names = {"this model": name}
    if Path(name) != Path(recipe.model):
        names[UNTUNED] = recipe.model
    by_model = {}
    for label, which in names.items():
        model, tokenizer = open_model(recipe, splits["train"], which)
        check_max_length(recipe, model)
        tests = prepare_tests(splits, task, tokenizer, recipe, answers)
        by_model[label] = score_model(model, tokenizer, tests, recipe, accelerator)
    tables = tables_of(by_model, tests)
    if accelerator.is_main_process:
        errors = warning_console()
        for split, test in tests.items():
            report.show_findings(errors, find_unscorable(split, test.examples, test.task))
        report.show_tables(console, tests, tables)
        report.show_verdict(console, tables["test"], (metric, higher_is_better))
        if folder is not None:
            write_tables(folder, tests, tables, metric, splits["train"])
    return {name: results_of(test, tables[name], metric) for name, test in tests.items()}


def score_model(
    model: nn.Module,
    tokenizer: PreTrainedTokenizerBase,
    tests: dict[str, EvaluationSet],
    recipe: Recipe,
    accelerator: Accelerator,
) -> dict[str, Scored]:
    """What a model scores on each test set."""
    model.to(accelerator.device)
    return {
        name: evaluate(model, tokenizer, test, recipe, accelerator) for name, test in tests.items()
    }


def tables_of(
    by_model: dict[str, dict[str, Scored]], tests: dict[str, EvaluationSet]
) -> dict[str, dict[str, Scored]]:
    """For each test set, the scores of each model, the first also compared with the untuned one,
    and of the baselines."""
    main = next(iter(by_model))
    tables = {}
    for name, test in tests.items():
        models = {label: made[name] for label, made in by_model.items()}
        if main != UNTUNED and UNTUNED in models:
            models[main] = compared_with(models[UNTUNED], models[main])
        tables[name] = models | score_baselines(test)
    return tables


def compared_with(other: Scored, main: Scored) -> Scored:
    """`main` with its differences from `other`; without them if their tokenizers make different
    rows of the same texts."""
    if count_rows(main.tallies) != count_rows(other.tallies):
        return main
    found = compare(other.tallies, main.tallies, num_trials=QUICK_TRIALS)
    both_have = [name for name in main.scores if name in other.scores]
    return replace(main, differences={name: found[name] for name in both_have})


def evaluate_predictions(
    path: str, recipe: Recipe, console: Console, output: str | None
) -> dict[str, dict[str, Any]]:
    """Score a file of predictions, made by any tool, for the recipe's test rows; returns
    `results_of` them."""
    folder = check_output_folder(output)
    task = recipe_task(recipe)
    metric, higher_is_better = choose_metric(recipe, task)
    if task.is_language_modelling:
        raise UserError(f"--predictions: {task.name} is scored by its loss, not by predictions")
    predictions = read_predictions(expand(path), "--predictions", task)
    splits = open_splits(recipe.data, task, recipe.evaluation)
    show_invalid(splits)
    answers = count_answers(splits["train"], task)
    test = ScoredRows.of(splits["test"], task, answers)
    task = test.task
    refuse_errors(find_same_ids("test", test.rows))
    missing = [example for example in test.examples if example.id not in predictions]
    if missing:
        raise UserError(
            f"{path}: no prediction for {name_some([example.where for example in missing])}: "
            f"expected ids: {name_some([repr(example.id) for example in missing])}; found ids: "
            f"{name_some(list(map(repr, predictions)))}; name the rows that were predicted with "
            "data.test=FILE"
        )
    strange = predictions.keys() - {example.id for example in test.examples + test.unlabeled}
    if strange:
        places = sorted(predictions[name].where for name in strange)
        raise UserError(f"{path}: no test row has the id of {name_some(places)}")
    rows = [predictions[example.id] for example in test.examples]
    warnings = vote_warnings(rows, task)
    if task.chooses:
        warnings += label_warnings(rows, answers.keys() | {each[0] for each in test.references})
    for warning in warnings:
        click.echo(f"warning: {warning}", err=True)
    said = [row.prediction for row in rows]
    table = {"these predictions": scored(task, task.tally(said, test.references), said)}
    table |= score_baselines(test)
    report.show_findings(warning_console(), find_unscorable("test", test.examples, test.task))
    report.show_tables(console, {"test": test}, {"test": table})
    report.show_verdict(console, table, (metric, higher_is_better))
    if folder is not None:
        write_tables(folder, {"test": test}, {"test": table}, metric, splits["train"])
    return {"test": results_of(test, table, metric)}


def show_invalid(splits: dict[str, Rows]) -> None:
    """Say which rows of the test sets are left out because they cannot be read."""
    tests = [name for name in splits if name not in ("train", "validation")]
    findings = [finding for name in tests for finding in find_invalid(name, splits[name])]
    report.show_findings(warning_console(), findings)


def check_output_folder(output: str | None) -> Path | None:
    """The folder for an evaluation's scores; UserError, before any work, when it cannot be one."""
    if output is None:
        return None
    folder = expand(output)
    if is_run(folder) or folder.is_file():
        raise UserError(f"{folder}: is a run or a file; give --output a folder of its own")
    check_writable(folder, "--output")
    return folder


def write_tables(
    folder: Path,
    tests: dict[str, ScoredRows],
    tables: dict[str, dict[str, Scored]],
    metric: str,
    training_rows: Iterable[Row],
    **facts: Any,
) -> None:
    """Scores and predictions of `test` into the folder, of the others into folders of their own."""
    for name, test in tests.items():
        if name != "test":
            write_scores(set_dir(folder, name), test, tables[name], metric, training_rows)
    write_scores(folder, tests["test"], tables["test"], metric, training_rows, **facts)


def write_scores(
    folder: Path,
    test: ScoredRows,
    table: dict[str, Scored],
    metric: str,
    training_rows: Iterable[Row],
    **facts: Any,
) -> None:
    """metrics.json, and predictions.jsonl of the table's first entry.

    metric: the score that is also written for each row. training_rows: in which long runs of words
    of generated texts are looked for.
    """
    folder.mkdir(parents=True, exist_ok=True)
    task = test.task
    results = results_of(test, table, metric)
    main = next(iter(table.values()))
    if main.predictions:
        results["groups"] = {
            name: breakdown(task, main.tallies, groups) for name, groups in groups_of(test).items()
        }
        write_jsonl(predictions_path(folder), prediction_rows(test.examples, main, metric))
    if task.chooses:
        results["confusion"] = confusion_of(test, main)
    elif main.predictions:
        results["diagnostics"] = diagnose_main(test, main, training_rows)
    write_json(results_path(folder), {**results, **facts})


def results_of(test: ScoredRows, table: dict[str, Scored], metric: str) -> dict[str, Any]:
    """Scores, intervals and differences of each model and baseline, as plain data."""
    results = {
        "task": test.task.name,
        "num_rows": len(test.rows),
        "scores": {label: each.scores for label, each in table.items()},
        "intervals": {label: each.intervals for label, each in table.items()},
        "metric": metric,
        "signature": test.task.signature(),
        # BERTScore's settings are a folder on this machine.
        "metrics": [name for name in test.task.metrics if not name.startswith("bertscore")],
    }
    main = next(iter(table.values()))
    if main.differences:
        results["differences"] = {
            UNTUNED: {name: asdict(each) for name, each in main.differences.items()}
        }
    return results


def groups_of(test: ScoredRows) -> dict[str, list[str]]:
    """By what rows are grouped, and the group of each."""
    groups = {"words of the prompt": by_length([e.prompt_text for e in test.examples])}
    columns = test.rows[0].get("by", {})
    return groups | {name: [row["by"][name] for row in test.rows] for name in columns}


def prediction_rows(examples: list[Example], main: Scored, metric: str) -> Iterator[dict[str, Any]]:
    """id, prompt, prediction, references and score of each row, and the probabilities of labels or
    the votes."""
    scores = row_scores(main.tallies, metric)
    for index, (example, prediction) in enumerate(zip(examples, main.predictions, strict=True)):
        row = {"id": example.id, "prompt": example.prompt_text, "prediction": prediction.text}
        if prediction.votes is not None:
            row["votes"] = prediction.votes
        if prediction.probabilities is not None:
            row["probabilities"] = prediction.probabilities
        if main.ended is not None:
            row["ended"] = main.ended[index]
        if main.expected is not None:
            row["expected_tokens"] = main.expected[index]
        yield {**row, "references": example.references, "score": scores[index]}


def diagnose_main(test: ScoredRows, main: Scored, training_rows: Iterable[Row]) -> dict[str, float]:
    """What is odd about the texts; of several to a row the first."""
    texts = [prediction.text for prediction in main.predictions]
    prompts = [example.prompt_text for example in test.examples]
    training = (to_example(row, test.task) for row in training_rows)
    known = (part for e in training for part in (e.prompt_text, e.completion))
    return diagnose(texts, main.ended, test.references, prompts, known)
