"""The `compare` command: two systems' predictions for the same rows, paired by id."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from llmkit.errors import UserError, first_few, printable
from llmkit.paths import expand
from llmkit.runs.folder import metrics_of, predictions_path, task_of
from llmkit.runtime.console import show_table
from llmkit.scoring.predictions import PredictedRow, label_warnings, read_predictions, vote_warnings
from llmkit.scoring.scores import score_predictions
from llmkit.scoring.significance import LEVEL, MIN_ROWS, RESAMPLES, TRIALS, Difference, compare
from llmkit.tasks import Scores, Task, get_task


@dataclass(frozen=True)
class Comparison:
    """Two systems on the same rows."""

    num_rows: int
    first: Scores
    second: Scores
    differences: dict[str, Difference]


def find_predictions(name: str) -> tuple[Path, str | None]:
    """Find the predictions of a run, of a folder that `evaluate --output` wrote, or a file itself.

    Returns the file, and the name of the task, or None if it is unknown.
    """
    path = expand(name)
    if not path.is_dir():
        return path, None
    if not predictions_path(path).is_file():
        raise UserError(
            f"{path}: no predictions in it; name a finished run or a file of predictions"
        )
    return predictions_path(path), task_of(path)


def compare_systems(first: str, second: str, task_name: str | None) -> Comparison:
    """Score both by the task's metrics, and what lies between them.

    Raises UserError if they do not predict the same rows, or nothing names their task.
    """
    (one_path, one_task), (other_path, other_task) = map(find_predictions, (first, second))
    names = dict.fromkeys(name for name in (task_name, one_task, other_task) if name)
    if not names:
        raise UserError("these files do not name their task; give --task NAME")
    if task_name is None and len(names) > 1:
        raise UserError(
            f"{first} is a run of {one_task}, {second} of {other_task}; compare runs of one task"
        )
    task = get_task(next(iter(names)))
    if task.output == "text":
        raise UserError(f"{task.name} has no predictions to compare")
    one = read_predictions(one_path, first, task)
    other = read_predictions(other_path, second, task)
    missing = [f"id {printable(name)}" for name in one.keys() ^ other.keys()]
    if missing:
        raise UserError(
            f"{first} and {second} do not predict the same rows: {first_few(missing)} in one of "
            "them only; score both on the same rows with `llmkit evaluate RUN data.test=FILE "
            "--output DIR`, and compare those folders"
        )
    references = [_references(name, one[name], other[name]) for name in one]
    recorded = [
        metrics_of(expand(name))
        for name, its_task in ((first, one_task), (second, other_task))
        if its_task == task.name
    ]
    task = _settle(task, references, [names for names in recorded if are_of(names, task)])
    said = [system[name] for system in (one, other) for name in one]
    warnings = vote_warnings(said, task)
    if task.output == "label":
        warnings += label_warnings(said, (accepted[0] for accepted in references))
    for warning in warnings:
        click.echo(f"warning: {warning}", err=True)
    both = task.row_statistics([row.prediction for row in said], references * 2)
    statistics = [
        {name: rows[part] for name, rows in both.items()}
        for part in (slice(len(one)), slice(len(one), None))
    ]
    totals = [score_predictions(task, each, []).scores for each in statistics]
    found = compare(*statistics)
    both_have = [name for name in totals[0] if name in totals[1]]
    return Comparison(len(one), *totals, {name: found[name] for name in both_have})


def are_of(names: Any, task: Task) -> bool:
    """Whether these recorded names are the task's metrics, whatever their settings."""
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        return False
    bare = [[name.partition(":")[0] for name in each] for each in (names, task.metrics)]
    return bare[0] == bare[1]


def _settle(task: Task, references: list[list[str]], recorded: list[list[str]]) -> Task:
    """The task with its metrics' recorded settings, or else with ones that fit the references."""
    tasks = [replace(task, metrics=tuple(names)).settled(references) for names in recorded]
    if tasks and tasks[0].metrics != tasks[-1].metrics:
        differing = sorted({*tasks[0].metrics} ^ {*tasks[-1].metrics})
        raise UserError(
            f"the two were scored with different settings ({', '.join(differing)}); evaluate one "
            "of them again with those of the other"
        )
    return tasks[0] if tasks else task.settled(references)


def _references(name: str, one: PredictedRow, other: PredictedRow) -> list[str]:
    """What both files, or the one that says so, would have accepted."""
    if one.references and other.references and one.references != other.references:
        raise UserError(
            f"{one.where} and {other.where}: id {printable(name)} has other references; these "
            "are not the same rows"
        )
    references = one.references or other.references
    if not references:
        raise UserError(f"{one.where}: no references, and none in {other.where}; add them to one")
    return references


def inference(each: Difference) -> list[str]:
    """Interval, p-value and detectable difference."""
    if each.low is None:
        return ["none", f"{each.p:.4f}", "unknown"]
    return [f"{each.low:+.2f} to {each.high:+.2f}", f"{each.p:.4f}", f"{each.detectable:.2f}"]


def show_comparison(console: Console, first: str, second: str, result: Comparison) -> None:
    """Print a line per score."""
    console.print(f"A: {first}\nB: {second}\n{result.num_rows} rows, the same for both")
    has_enough_rows = result.num_rows >= MIN_ROWS
    lines = [
        [
            name,
            f"{result.first[name]:.2f}",
            f"{result.second[name]:.2f}",
            f"{each.difference:+.2f}",
            *(inference(each) if has_enough_rows else []),
        ]
        for name, each in result.differences.items()
    ]
    header = ["", "A", "B", "B - A"]
    header += [f"{LEVEL:.0%} interval", "p", "detectable"] if has_enough_rows else []
    show_table(console, header, [lines])
    if not has_enough_rows:
        console.print(
            f"no interval and no p-value: {result.num_rows} rows are too few to estimate them "
            f"(at least {MIN_ROWS})"
        )
        return
    console.print(
        f"interval: {RESAMPLES:,} redraws of the rows, none where all of them differ alike; p: how "
        f"often systems that are the same differ as much, {TRIALS:,} random exchanges; "
        "detectable: the true difference that so "
        "many rows show in 4 of 5 experiments"
    )
