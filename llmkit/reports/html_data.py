"""The data of the report page: read from the folders of runs, computed, and cut to page size."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from llmkit import __version__
from llmkit.config import recipe_files
from llmkit.config.recipe import flat, load_recipe
from llmkit.errors import UserError, printable
from llmkit.export.record import ExportRecord
from llmkit.metrics import OPTIONAL_SCORES
from llmkit.reports.export import header, lines
from llmkit.reports.html_predictions import (
    NUM_SHOWN,
    certainty,
    samples_by_step,
    select_predictions,
    text_lengths,
)
from llmkit.runs.folder import (
    export_dirs,
    log_path,
    recipe_path,
    record_path,
    samples_path,
    set_dirs,
)
from llmkit.runs.start import is_training
from llmkit.scoring.deciding_metric import DecidingMetric, choose_metric
from llmkit.scoring.results import (
    DAMAGE,
    SavedPrediction,
    SavedResults,
    read_results,
    read_saved_predictions,
)
from llmkit.scoring.verdict import rounded, title_of, verdict
from llmkit.tasks import Task, get_task

MAX_CURVE_POINTS = 1000  # longer curves are drawn with every second, third, ... point
MAX_LABEL_SETTINGS = 3  # runs that differ in more settings are labeled by their names


def page_data(folders: Sequence[Path]) -> dict[str, Any]:
    """Everything that the page shows, as plain data.

    Raises UserError for a run with a damaged file.
    """
    runs, shown = [], []
    for folder in folders:
        try:
            runs.append(read_run(folder))
            shown.append(run_data(runs[-1]))
        except DAMAGE as error:
            reason = printable(f"{type(error).__name__}: {error}", 100)
            raise UserError(
                f"{folder}: a file in it is damaged ({reason}); score it again"
            ) from None
    differing = differing_settings([run["recipe"] for run in shown])
    names = short_names(folders)
    labels = run_labels(names, differing)
    for run, name, label in zip(shown, names, labels, strict=True):
        run["name"], run["label"] = name, label
    set_names = dict.fromkeys(name for run in runs for name in run.results)
    return {
        "runs": shown,
        "differing": differing,
        "same_rows": have_same_rows(runs),
        "tables": [table for name in set_names for table in score_tables(runs, labels, name)],
    }


def have_same_rows(runs: Sequence["RunFiles"]) -> bool:
    """Whether the finished runs were scored on the same test rows, so that one can be the best."""
    rows = {
        (run.results["test"].num_rows, frozenset((p.id, *p.references) for p in run.predictions))
        for run in runs
        if "test" in run.results
    }
    return len(rows) < 2


# ----------------------------------------------------------------------------- one run


@dataclass(frozen=True)
class RunFiles:
    """The files of a run, finished or not."""

    folder: Path
    recipe: dict[str, Any]
    task: Task
    log: list[dict[str, Any]]
    """A line per logged step and per validation."""
    facts: dict[str, Any]
    """Versions, device, data and model, as recorded in run.json."""
    results: dict[str, SavedResults]
    """By test set, `test` first; empty until the run has finished."""
    predictions: list[SavedPrediction]
    samples: list[dict[str, Any]]
    """A line per validation and sample."""

    @property
    def metric(self) -> DecidingMetric:
        test = self.results.get("test")
        if test is not None and test.deciding_metric is not None:
            return test.deciding_metric
        task = replace(self.task, scores={**self.task.scores, **OPTIONAL_SCORES})
        return choose_metric(task, self.recipe["evaluation"].get("metric"))


def read_run(folder: Path) -> RunFiles:
    """Read the files that the run has written so far."""
    recipe = settings_of(folder)
    results = {"test": read_results(folder)}
    results |= {path.name: read_results(path) for path in set_dirs(folder)}
    return RunFiles(
        folder,
        recipe,
        get_task(recipe["task"]),
        list(read_lines(log_path(folder))),
        read_facts(folder),
        {name: of_set for name, of_set in results.items() if of_set is not None},
        read_saved_predictions(folder),
        list(read_lines(samples_path(folder))),
    )


def run_data(run: RunFiles) -> dict[str, Any]:
    """The parts of the page that show one run."""
    test, metric, facts = run.results.get("test"), run.metric, dict(run.facts)
    facts.pop("given", None)  # the page shows what the run decided instead
    validations = [line for line in run.log if line.get("split") == "validation"]
    if test is None:
        result = {"verdict": best_so_far(validations, metric.name)}
        state = "training" if is_training(run.folder) else "stopped"
    else:
        result, state = result_data(test, metric), "finished"
    return {
        "path": str(run.folder),
        "task": run.task.name,
        "model": base_model(run.recipe),
        "metric": metric.name,
        "metric_title": title_of(metric.name),
        "higher_is_better": metric.higher_is_better,
        "state": state,
        "finished": test is not None,
        "progress": progress(run.log, facts),
        "started": facts.pop("started", None),
        "version": other_version(facts),
        "num_rows": len(run.predictions),
        "best_step": best_step(validations),
        "steps": downsample([line for line in run.log if "learning_rate" in line]),
        "validations": validations,
        "notes": [line["note"] for line in run.log if "note" in line][-NUM_SHOWN:],
        **NO_RESULT,
        **result,
        "predictions": select_predictions(run.predictions, metric.higher_is_better),
        "samples": samples_by_step(run.samples),
        "exports": export_tables(run.folder),
        "lengths": [] if run.task.output == "label" else text_lengths(run.predictions),
        "certainty": certainty(run.predictions),
        "findings": facts.pop("findings", []),
        "facts": dict(flat(facts)),
        "recipe": dict(flat(run.recipe)),
    }


def export_tables(run: Path) -> list[dict[str, Any]]:
    """The `header` and `lines` of a table of the run's exports, for each set of test rows that they
    were scored on, which the score of the run's model tells apart."""
    by_rows: dict[tuple[int, float | None], list[ExportRecord]] = {}
    for record in map(ExportRecord.read, export_dirs(run)):
        by_rows.setdefault((record.num_rows, record.original.score), []).append(record)
    return [
        {
            "rows": records[0].num_rows,
            "header": header(records[0].export.metric),
            "lines": lines(records),
        }
        for records in sorted(by_rows.values(), key=lambda records: records[0].num_rows)
    ]


NO_RESULT = {
    "difference": None, "seconds": None, "main": None, "scores": {}, "intervals": {},
    "signature": "", "diagnostics": {}, "confusion": None, "groups": {}, "costs": {},
}  # fmt: skip


def result_data(test: SavedResults, metric: DecidingMetric) -> dict[str, Any]:
    """The parts of `run_data` that a finished run has."""
    difference = test.differences.get(metric.name)
    names = (*NO_RESULT, "num_rows", "best_step")
    known = {name: getattr(test, name) for name in names if name != "difference"}
    return {
        "verdict": verdict(metric, test.main, test.scores, difference),
        "difference": None if difference is None else asdict(difference),
        **{name: value for name, value in known.items() if value is not None},
    }


def settings_of(run: Path) -> dict[str, Any]:
    """The run's recipe, with what it decided; if this version of llmkit does not accept it, the
    content of the file.

    Raises UserError if that does not even name a task.
    """
    try:
        return load_recipe(str(recipe_path(run))).model_dump()
    except UserError:
        settings, _ = recipe_files.read_yaml(recipe_path(run))
        if "task" not in settings:
            raise
        return {**settings, "evaluation": settings.get("evaluation") or {}}


def base_model(recipe: dict[str, Any]) -> str:
    """The model that the run started from; recipes of earlier releases have its name alone."""
    model = recipe.get("model", {})
    return model if isinstance(model, str) else model.get("name", "embedded")


def best_so_far(validations: list[dict[str, Any]], metric: str) -> str:
    """The best validation score of an unfinished run, in one sentence."""
    step = best_step(validations)
    found = [line[metric] for line in validations if line["step"] == step and metric in line]
    if not found:
        return "no scores yet"
    return f"{title_of(metric)} {rounded(found[-1])} on the validation rows so far, at step {step}"


def best_step(validations: list[dict[str, Any]]) -> int | None:
    """The step of the best validation so far."""
    return next((line["step"] for line in reversed(validations) if line.get("is_best")), None)


def progress(log: list[dict[str, Any]], facts: dict[str, Any]) -> str:
    """The step that training has reached."""
    step = max((line["step"] for line in log), default=0)
    return f"step {step:,} of {facts['num_steps']:,}" if "num_steps" in facts else f"step {step:,}"


def other_version(facts: dict[str, Any]) -> str | None:
    """The version of llmkit that created the run; None if it is this version."""
    version = facts.get("libraries", {}).get("llmkit", __version__)
    return None if version == __version__ else version


# ------------------------------------------------------------------------- several runs


def short_names(runs: Sequence[Path]) -> list[str]:
    """The name of each run's folder, or its path if two names are the same."""
    names = [run.resolve().name for run in runs]
    return names if len(set(names)) == len(names) else [str(run) for run in runs]


def differing_settings(recipes: Sequence[dict[str, Any]]) -> dict[str, list[Any]]:
    """Settings that differ between runs, with their value in each run."""
    keys = dict.fromkeys(key for recipe in recipes for key in recipe)
    values = {key: [recipe.get(key) for recipe in recipes] for key in keys}
    return {
        key: of_runs for key, of_runs in values.items() if any(v != of_runs[0] for v in of_runs)
    }


def run_labels(names: Sequence[str], differing: dict[str, list[Any]]) -> list[str]:
    """The label of each run in legends and tables: the settings in which runs differ, or its name
    if these settings are many or do not tell all runs apart."""
    last_parts = [key.rpartition(".")[2] for key in differing]
    titles = [
        end if last_parts.count(end) == 1 else key
        for key, end in zip(differing, last_parts, strict=True)
    ]
    labels = [
        ", ".join(
            f"{title}={format_setting(values[index])}"
            for title, values in zip(titles, differing.values(), strict=True)
        )
        for index in range(len(names))
    ]
    are_distinct = 0 < len(differing) <= MAX_LABEL_SETTINGS and len(set(labels)) == len(labels)
    return labels if are_distinct else list(names)


def format_setting(value: Any) -> str:
    """The value of a setting, formatted for a label."""
    if isinstance(value, list):
        return ",".join(map(str, value))
    return "null" if value is None else f"{value:g}" if isinstance(value, float) else str(value)


def score_tables(runs: list[RunFiles], labels: list[str], set_name: str) -> list[dict[str, Any]]:
    """The scores on a test set: a table per task, with the runs first and systems that several
    runs share, such as the baselines, once."""
    tables: dict[tuple[str, int | None], list[int]] = {}
    for index, run in enumerate(runs):
        if set_name in run.results:
            tables.setdefault((run.task.name, run.results[set_name].num_rows), []).append(index)
    return [
        {
            "set": set_name,
            "task": task,
            "num_rows": num_rows,
            "entries": score_entries({i: runs[i].results[set_name] for i in indices}, labels),
            "signature": runs[indices[0]].results[set_name].signature,
        }
        for (task, num_rows), indices in tables.items()
    ]


def score_entries(results: dict[int, SavedResults], labels: list[str]) -> list[dict[str, Any]]:
    """Rows of a table of scores: `label`, `run` (its index, or None for shared systems), `scores`
    and `intervals`.

    Args:
        results: Of each run, by its index.
        labels: Of all runs.
    """
    mains: list[dict[str, Any]] = []
    shared: list[dict[str, Any]] = []
    runs_of_shared: list[list[str]] = []
    for index, of_run in results.items():
        for name, scores in of_run.scores.items():
            entry = {"scores": scores, "intervals": of_run.intervals.get(name, {})}
            if name == of_run.main:
                label = labels[index] if len(labels) > 1 else name
                mains.append({"label": label, "run": index, **entry})
                continue
            entry = {"label": name, "run": None, **entry}
            if entry not in shared:
                shared.append(entry)
                runs_of_shared.append([])
            runs_of_shared[shared.index(entry)].append(labels[index])
    names = [entry["label"] for entry in shared]
    return mains + [
        entry if names.count(name) == 1 else entry | {"label": f"{name} ({'; '.join(of)})"}
        for entry, name, of in zip(shared, names, runs_of_shared, strict=True)
    ]


def downsample(points: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """At most MAX_CURVE_POINTS points at equal distances, and the last one."""
    step = -(-len(points) // MAX_CURVE_POINTS) or 1
    kept = points[::step]
    return kept if not points or kept[-1] is points[-1] else [*kept, points[-1]]


# ------------------------------------------------------------------------------- files


def read_lines(path: Path) -> Iterator[dict[str, Any]]:
    """The complete lines of a jsonl file that may still be written to; none if it is missing."""
    if not path.is_file():
        return
    for line in path.read_text("utf-8").split("\n")[:-1]:
        yield json.loads(line)


def read_facts(folder: Path) -> dict[str, Any]:
    """The record of a run; empty before it is written."""
    path = record_path(folder)
    return json.loads(path.read_text("utf-8")) if path.is_file() else {}
