"""Results of an evaluation, written as metrics.json and predictions.jsonl."""

from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from llmkit.io.safe_json import write_json, write_jsonl
from llmkit.runs.folder import predictions_path, results_path, set_dir
from llmkit.scoring.diagnostics import diagnose
from llmkit.scoring.predictions import prediction_rows
from llmkit.scoring.scores import (
    SystemResult,
    TestSet,
    breakdown,
    by_length,
    confusion_of,
)
from llmkit.scoring.verdict import UNTUNED
from llmkit.tasks import Row, to_example


def write_tables(
    folder: Path,
    tests: dict[str, TestSet],
    tables: dict[str, dict[str, SystemResult]],
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
    test: TestSet,
    table: dict[str, SystemResult],
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
            name: breakdown(task, main.statistics, groups)
            for name, groups in groups_of(test).items()
        }
        write_jsonl(predictions_path(folder), prediction_rows(test.examples, main, metric))
    if task.output == "label":
        results["confusion"] = confusion_of(test, main)
    elif main.predictions:
        results["diagnostics"] = diagnose_main(test, main, training_rows)
    write_json(results_path(folder), {**results, **facts})


def results_of(test: TestSet, table: dict[str, SystemResult], metric: str) -> dict[str, Any]:
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


def groups_of(test: TestSet) -> dict[str, list[str]]:
    """By what rows are grouped, and the group of each."""
    groups = {"words of the prompt": by_length([e.prompt_text for e in test.examples])}
    columns = test.rows[0].get("by", {})
    return groups | {name: [row["by"][name] for row in test.rows] for name in columns}


def diagnose_main(
    test: TestSet, main: SystemResult, training_rows: Iterable[Row]
) -> dict[str, float]:
    """What is odd about the texts; of several to a row the first."""
    prompts = [example.prompt_text for example in test.examples]
    training = (to_example(row, test.task) for row in training_rows)
    known = (part for e in training for part in (e.prompt_text, e.completion))
    return diagnose(main.predictions, test.references, prompts, known)
