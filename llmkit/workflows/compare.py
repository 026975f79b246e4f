"""The `compare` command: two systems' predictions for the same rows, paired by id."""

from dataclasses import dataclass, replace
from pathlib import Path

from rich.console import Console

from llmkit.errors import UserError, first_few, printable
from llmkit.paths import expand
from llmkit.reports.tables import difference_interval
from llmkit.runs.find import recipe_of
from llmkit.runs.folder import is_run, predictions_path
from llmkit.runtime.console import show_table, warning_console
from llmkit.scoring.predictions import PredictedRow, label_warnings, read_predictions, vote_warnings
from llmkit.scoring.results import read_results
from llmkit.scoring.scores import score_predictions
from llmkit.scoring.significance import (
    CONFIDENCE_LEVEL,
    MIN_ROWS,
    NUM_RESAMPLES,
    NUM_TRIALS,
    Difference,
    compare,
)
from llmkit.tasks import Scores, Task, get_task


@dataclass(frozen=True)
class Comparison:
    """Scores of two systems on the same rows."""

    num_rows: int
    first: Scores
    second: Scores
    differences: dict[str, Difference]
    """Second minus first, by score."""


@dataclass(frozen=True)
class Source:
    """The location of a system's predictions, and what is recorded about them."""

    name: str
    """The path as given by the user."""
    predictions: Path
    task: str | None
    """None for a file, and for a folder that does not record it."""
    metrics: list[str] | None
    """The metrics, with their settings, that scored them."""


def find_source(name: str) -> Source:
    """Find the predictions of a run, of a folder that `evaluate --output` wrote, or a file."""
    path = expand(name)
    if not path.is_dir():
        return Source(name, path, None, None)
    results = read_results(path)
    if not predictions_path(path).is_file():
        problem = "no predictions in it; name a finished run or a file of predictions"
        if results is not None:  # of plain language modelling
            problem = "scored by its loss, not by predictions; `llmkit report` shows several runs"
        raise UserError(f"{path}: {problem}")
    task = recipe_of(path).task if is_run(path) else results and results.task
    return Source(name, predictions_path(path), task, results and results.metrics)


def compare_systems(first: str, second: str, task_name: str | None = None) -> Comparison:
    """Score both systems with the task's metrics, and test the differences for significance.

    Args:
        first: A run, a folder of scores, or a file of predictions.
        second: The same for the other system.
        task_name: Needed for files, which do not record their task.

    Raises:
        UserError: If they do not predict the same rows, or their task is unknown or not the same.
    """
    sources = find_source(first), find_source(second)
    task = _common_task(sources, task_name)
    one, other = (read_predictions(s.predictions, s.name, task) for s in sources)
    missing = [f"id {printable(name)}" for name in one.keys() ^ other.keys()]
    if missing:
        raise UserError(
            f"{first} and {second} do not predict the same rows: {first_few(missing)} in one of "
            "them only; score both on the same rows with `llmkit evaluate RUN data.test=FILE "
            "--output DIR`, and compare those folders"
        )
    references = [_references(name, one[name], other[name]) for name in one]
    task = _with_settings(task, references, sources)
    rows = [system[name] for system in (one, other) for name in one]
    warnings = vote_warnings(rows, task)
    if task.output == "label":
        warnings += label_warnings(rows, (accepted[0] for accepted in references))
    for warning in warnings:
        warning_console().print(f"warning: {warning}")
    # Together, since the labels that occur are those of both.
    both = task.row_statistics([row.prediction for row in rows], references * 2)
    statistics = [
        {name: values[part] for name, values in both.items()}
        for part in (slice(len(one)), slice(len(one), None))
    ]
    scores = [score_predictions(task, of_system, []).scores for of_system in statistics]
    differences = compare(*statistics)
    in_both = [name for name in scores[0] if name in scores[1]]
    return Comparison(len(one), *scores, {name: differences[name] for name in in_both})


def _common_task(sources: tuple[Source, Source], task_name: str | None) -> Task:
    one, other = sources
    names = dict.fromkeys(name for name in (task_name, one.task, other.task) if name)
    if not names:
        raise UserError("these files do not name their task; give --task NAME")
    if task_name is None and len(names) > 1:
        raise UserError(
            f"{one.name} is a run of {one.task}, {other.name} of {other.task}; compare runs of one "
            "task"
        )
    task = get_task(next(iter(names)))
    if task.output == "text":
        raise UserError(f"{task.name} has no predictions to compare")
    return task


def _with_settings(task: Task, references: list[list[str]], sources: tuple[Source, Source]) -> Task:
    """The task with the recorded settings of its metrics, else with settings that fit the
    references."""
    recorded = [
        source.metrics
        for source in sources
        if source.task == task.name and are_metrics_of(source.metrics, task)
    ]
    tasks = [replace(task, metrics=tuple(names)).with_metrics_for(references) for names in recorded]
    if tasks and tasks[0].metrics != tasks[-1].metrics:
        differing = sorted({*tasks[0].metrics} ^ {*tasks[-1].metrics})
        raise UserError(
            f"the two were scored with different settings ({', '.join(differing)}); evaluate one "
            "of them again with those of the other"
        )
    return tasks[0] if tasks else task.with_metrics_for(references)


def are_metrics_of(names: list[str] | None, task: Task) -> bool:
    """Whether the names, apart from their settings, are those of the task's metrics."""
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        return False
    bare = [[name.partition(":")[0] for name in metrics] for metrics in (names, task.metrics)]
    return bare[0] == bare[1]


def _references(name: str, one: PredictedRow, other: PredictedRow) -> list[str]:
    """The accepted answers of a row; one of the two files may have none."""
    if one.references and other.references and one.references != other.references:
        raise UserError(
            f"{one.where} and {other.where}: id {printable(name)} has other references; these "
            "are not the same rows"
        )
    references = one.references or other.references
    if not references:
        raise UserError(f"{one.where}: no references, and none in {other.where}; add them to one")
    return references


def inference_cells(difference: Difference) -> list[str]:
    """Interval, p-value and detectable difference."""
    p = f"{difference.p:.4f}"
    if difference.low is None:
        return ["none", p, "unknown"]
    return [difference_interval(difference), p, f"{difference.detectable:.2f}"]


def show_comparison(console: Console, first: str, second: str, result: Comparison) -> None:
    """Print the scores of both systems and their differences, one line per score."""
    console.print(f"A: {first}\nB: {second}\n{result.num_rows} rows, the same for both")
    has_enough_rows = result.num_rows >= MIN_ROWS
    lines = [
        [
            name,
            f"{result.first[name]:.2f}",
            f"{result.second[name]:.2f}",
            f"{each.difference:+.2f}",
            *(inference_cells(each) if has_enough_rows else []),
        ]
        for name, each in result.differences.items()
    ]
    header = ["", "A", "B", "B - A"]
    header += [f"{CONFIDENCE_LEVEL:.0%} interval", "p", "detectable"] if has_enough_rows else []
    show_table(console, header, [lines])
    if not has_enough_rows:
        console.print(
            f"no interval and no p-value: {result.num_rows} rows are too few to estimate them "
            f"(at least {MIN_ROWS})"
        )
        return
    console.print(
        f"interval: bootstrap, {NUM_RESAMPLES:,} resamples of the rows; none if all rows differ by "
        "the same amount\n"
        f"p: how often equal systems differ this much, {NUM_TRIALS:,} random exchanges\n"
        "detectable: the true difference that this many rows show in 80% of experiments"
    )
