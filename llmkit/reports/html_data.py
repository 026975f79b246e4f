"""The data of the report page: read from the folders of runs, computed, and cut to page size."""

import json
import random
from collections.abc import Iterator, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np

from llmkit import __version__
from llmkit.config import recipe_files
from llmkit.config.recipe import flat
from llmkit.errors import UserError, printable
from llmkit.runs.folder import (
    facts_path,
    is_training,
    log_path,
    predictions_path,
    recipe_of,
    recipe_path,
    results_path,
)
from llmkit.scoring.significance import Difference
from llmkit.scoring.verdict import UNTUNED, rounded, title_of, verdict
from llmkit.tasks import get_task

POINTS = 1000  # of a curve; of longer ones every second, third, ... is drawn
SHOWN = 10  # predictions of each kind
LONGEST = 4000  # characters of a text on the page
TOKENS = 400  # of the expected text on the page
LABEL_SETTINGS = 3  # runs are labelled by their settings if at most this many differ


def page_data(runs: Sequence[Path]) -> dict[str, Any]:
    """Everything that the page shows, as plain data."""
    each = [checked_data(run) for run in runs]
    differing = differing_settings([run["recipe"] for run in each])
    names = short_names(runs)
    labels = labels_of(names, differing)
    for index, run in enumerate(each):
        run["name"], run["label"] = names[index], labels[index]
    return {
        "runs": each,
        "differing": differing,
        "tables": [table for name in set_names(each) for table in score_tables(each, name)],
    }


def checked_data(run: Path) -> dict[str, Any]:
    """`run_data`; raises UserError for any error that a damaged file causes."""
    try:
        return run_data(run)
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
        reason = printable(f"{type(error).__name__}: {error}", 100)
        raise UserError(f"{run}: a file in it is damaged ({reason}); score it again") from None


def run_data(run: Path) -> dict[str, Any]:
    """What the page shows of one run."""
    recipe = settings_of(run)
    task = get_task(recipe["task"])
    log = list(read_lines(log_path(run)))
    results = read_json(results_path(run))
    facts = read_json(facts_path(run))
    scores, intervals = (dict(results.get(name, {})) for name in ("scores", "intervals"))
    metric = recipe["evaluation"].get("metric") or next(iter(task.scores))
    higher_is_better = task.scores.get(metric, metric == "bertscore")
    rows = list(read_lines(predictions_path(run)))
    sets = {path.parent.name: set_data(path) for path in sorted(run.glob("sets/*/metrics.json"))}
    validations = [line for line in log if line.get("split") == "validation"]
    difference = difference_of(results, metric)
    return {
        "path": str(run),
        "task": task.name,
        "model": recipe.get("model", "embedded"),
        "metric": metric,
        "metric_title": title_of(metric),
        "higher_is_better": higher_is_better,
        "verdict": verdict(metric, higher_is_better, scores, difference)
        if scores
        else best_so_far(validations, metric),
        "difference": None if difference is None else vars(difference),
        "state": "finished" if results else "training" if is_training(run) else "stopped",
        "finished": bool(results),
        "progress": progress(log, facts),
        "started": facts.pop("started", None),
        "seconds": results.get("seconds"),
        "version": other_version(facts),
        "num_rows": results.get("num_rows", len(rows)),
        "best_step": results.get("best_step", best_step(validations)),
        "steps": thin([line for line in log if "learning_rate" in line]),
        "validations": validations,
        "notes": [line["note"] for line in log if "note" in line][-SHOWN:],
        "main": next(iter(scores), None),
        "scores": scores,
        "intervals": intervals,
        "signature": results.get("signature", ""),
        "diagnostics": results.get("diagnostics", {}),
        "confusion": results.get("confusion"),
        "groups": results.get("groups", {}),
        "sets": sets,
        "predictions": picked(rows, higher_is_better),
        "lengths": [] if task.output == "label" else lengths(rows),
        "certainty": certainty(rows),
        "findings": facts.pop("findings", []),
        "facts": dict(flat(facts)),
        "recipe": dict(flat(recipe)),
    }


def set_data(path: Path) -> dict[str, Any]:
    """The scores on one further test set."""
    results = read_json(path)
    return {
        "num_rows": results["num_rows"],
        "scores": dict(results["scores"]),
        "intervals": dict(results.get("intervals", {})),
        "signature": results.get("signature", ""),
    }


def settings_of(run: Path) -> dict[str, Any]:
    """The run's recipe; if this version of llmkit does not accept it, the file's content.

    Raises UserError if that does not even name a task.
    """
    try:
        return recipe_of(run).model_dump()
    except UserError:
        settings, _ = recipe_files.read_yaml(recipe_path(run))
        if "task" not in settings:
            raise
        return {**settings, "evaluation": settings.get("evaluation") or {}}


def difference_of(results: dict[str, Any], metric: str) -> Difference | None:
    """How the deciding score differs from the untuned model's; None where that is not known."""
    found = results.get("differences", {}).get(UNTUNED, {}).get(metric)
    if found is not None:
        return Difference(**{field.name: found[field.name] for field in fields(Difference)})
    return None


def best_so_far(validations: list[dict[str, Any]], metric: str) -> str:
    """The best validation of a run without test scores."""
    step = best_step(validations)
    found = [line[metric] for line in validations if line["step"] == step and metric in line]
    if not found:
        return "no scores yet"
    return f"{title_of(metric)} {rounded(found[-1])} on the validation rows so far, at step {step}"


def best_step(validations: list[dict[str, Any]]) -> int | None:
    """The step of the best validation so far."""
    return next((line["step"] for line in reversed(validations) if line.get("is_best")), None)


def progress(log: list[dict[str, Any]], facts: dict[str, Any]) -> str:
    """How far the training has come."""
    step = max((line["step"] for line in log), default=0)
    return f"step {step:,} of {facts['num_steps']:,}" if "num_steps" in facts else f"step {step:,}"


def other_version(facts: dict[str, Any]) -> str | None:
    """The version of llmkit that made the run, where it is not this one."""
    version = facts.get("libraries", {}).get("llmkit", __version__)
    return None if version == __version__ else version


# ------------------------------------------------------------------------- several runs


def short_names(runs: Sequence[Path]) -> list[str]:
    """The name of each run's folder, or its path where the names are not all different."""
    names = [run.resolve().name for run in runs]
    return names if len(set(names)) == len(names) else [str(run) for run in runs]


def differing_settings(recipes: Sequence[dict[str, Any]]) -> dict[str, list[Any]]:
    """The settings that are not the same in all runs, each with its value in every run."""
    keys = dict.fromkeys(key for recipe in recipes for key in recipe)
    values = {key: [recipe.get(key) for recipe in recipes] for key in keys}
    return {key: each for key, each in values.items() if any(v != each[0] for v in each)}


def labels_of(names: Sequence[str], differing: dict[str, list[Any]]) -> list[str]:
    """What each run is called in legends and tables: the settings that tell it from the others,
    or its name if there are many such settings, or they are not enough."""
    last = [key.rpartition(".")[2] for key in differing]
    titles = [
        end if last.count(end) == 1 else key for key, end in zip(differing, last, strict=True)
    ]
    labels = [
        ", ".join(
            f"{title}={written(values[index])}"
            for title, values in zip(titles, differing.values(), strict=True)
        )
        for index in range(len(names))
    ]
    tell_apart = 0 < len(differing) <= LABEL_SETTINGS and len(set(labels)) == len(labels)
    return labels if tell_apart else list(names)


def written(value: Any) -> str:
    """A setting in a label."""
    if isinstance(value, list):
        return ",".join(map(str, value))
    return "null" if value is None else f"{value:g}" if isinstance(value, float) else str(value)


def set_names(runs: list[dict[str, Any]]) -> list[str]:
    """`test`, and the further test sets of any run."""
    return ["test", *dict.fromkeys(name for run in runs for name in run["sets"])]


def score_tables(runs: list[dict[str, Any]], set_name: str) -> list[dict[str, Any]]:
    """The scores on a test set: a table for each task, with the runs first and everything that
    several runs share, such as the baselines, once."""
    of_set = [run if set_name == "test" else run["sets"].get(set_name, {}) for run in runs]
    tables: dict[tuple[str, int], list[int]] = {}
    for index, (run, results) in enumerate(zip(runs, of_set, strict=True)):
        if results.get("scores"):
            tables.setdefault((run["task"], results["num_rows"]), []).append(index)
    return [
        {
            "set": set_name,
            "task": task,
            "num_rows": num_rows,
            "entries": score_entries(runs, of_set, indices),
            "signature": of_set[indices[0]].get("signature", ""),
        }
        for (task, num_rows), indices in tables.items()
    ]


def score_entries(
    runs: list[dict[str, Any]], of_set: list[dict[str, Any]], indices: list[int]
) -> list[dict[str, Any]]:
    """Rows of a table of scores: `label`, `run` (its index, or None for what runs share), `scores`
    and `intervals`."""
    mains: list[dict[str, Any]] = []
    shared: list[dict[str, Any]] = []
    users: list[list[str]] = []  # of each shared entry: the labels of its runs
    for index in indices:
        results = of_set[index]
        entries = [
            {"label": label, "run": None, "scores": scores, "intervals": ends.get(label, {})}
            for ends in [results.get("intervals", {})]
            for label, scores in results["scores"].items()
        ]
        main, *others = entries
        mains.append(main | {"run": index} | ({"label": runs[index]["label"]} if runs[1:] else {}))
        for entry in others:
            if entry not in shared:
                shared.append(entry)
                users.append([])
            users[shared.index(entry)].append(runs[index]["label"])
    labels = [entry["label"] for entry in shared]
    return mains + [
        entry if labels.count(label) == 1 else entry | {"label": f"{label} ({'; '.join(of)})"}
        for entry, label, of in zip(shared, labels, users, strict=True)
    ]


# ------------------------------------------------------------------------- predictions


def picked(rows: list[dict[str, Any]], higher_is_better: bool) -> dict[str, list[dict[str, Any]]]:
    """The best, the worst and some random predictions, cut to what a page can hold."""
    ranked = sorted(
        (row for row in rows if isinstance(row.get("score"), int | float)),
        key=lambda row: row["score"],
        reverse=higher_is_better,
    )
    drawn = random.Random(0).sample(rows, min(SHOWN, len(rows)))
    kinds = {"random": drawn, "best": ranked[:SHOWN], "worst": ranked[-SHOWN:][::-1]}
    return {kind: [shortened(row) for row in each] for kind, each in kinds.items()}


def lengths(rows: list[dict[str, Any]]) -> list[tuple[int, int]]:
    """Words of the first reference and of the prediction, of as many rows as a figure can show."""
    rows = [row for row in rows if row["references"]]
    drawn = random.Random(0).sample(rows, min(POINTS, len(rows)))
    return [
        tuple(len(text.split()) for text in (r["references"][0], r["prediction"])) for r in drawn
    ]


def certainty(rows: list[dict[str, Any]]) -> list[tuple[int, float]]:
    """(probability, share of the expected tokens that have about this one), both in percent."""
    tokens = [token for row in rows for token in row.get("expected_tokens", [])]
    probabilities = [p for _, p in tokens if p is not None]
    if not probabilities:
        return []
    counts, ends = np.histogram(probabilities, bins=10, range=(0, 1))
    shares = 100 * counts / counts.sum()
    return [
        (round(100 * end) + 5, share) for end, share in zip(ends[:-1], shares.tolist(), strict=True)
    ]


def shortened(row: dict[str, Any]) -> dict[str, Any]:
    """The row with long texts cut, and marked as such."""
    return {key: cut(value) if isinstance(value, str) else value for key, value in row.items()} | {
        "references": [cut(text) for text in row["references"][:5]],
        "expected_tokens": row.get("expected_tokens", [])[:TOKENS],
    }


def cut(text: str) -> str:
    return text if len(text) <= LONGEST else f"{text[:LONGEST]} [...]"


def thin(points: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Every second, third, ... point, so that at most POINTS are left, and the last."""
    every = -(-len(points) // POINTS) or 1
    kept = points[::every]
    return kept if not points or kept[-1] is points[-1] else [*kept, points[-1]]


def read_lines(path: Path) -> Iterator[dict[str, Any]]:
    """The complete lines of a jsonl file, which may still be written to; none if it is missing."""
    if not path.is_file():
        return
    for line in path.read_text("utf-8").split("\n")[:-1]:
        yield json.loads(line)


def read_json(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text("utf-8")) if path.is_file() else {}
