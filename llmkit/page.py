"""The `report` command: runs, finished or not, as one page that needs nothing else."""

import json
import random
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from llmkit.errors import UserError
from llmkit.files import expand, shown
from llmkit.run import (
    facts_path,
    is_run,
    log_path,
    predictions_path,
    recipe_of,
    results_path,
    to_json,
    write_text,
)
from llmkit.significance import LEVEL
from llmkit.tasks import get_task

ASSETS = Path(__file__).parent / "page"
POINTS = 1000  # of a curve; of longer ones every second, third, ... is drawn
SHOWN = 10  # predictions of each kind
LONGEST = 4000  # characters of a text on the page
TOKENS = 400  # of what was expected, on the page
EVERY = 2.0  # seconds between two looks at a run that is followed


def open_runs(names: tuple[str, ...]) -> list[Path]:
    """The folders of these runs; UserError for what is none."""
    runs = [expand(name) for name in names]
    for run in runs:
        if not is_run(run):
            raise UserError(f"{run}: no run; name the folder that `llmkit finetune` made")
    return runs


def write_report(runs: list[Path], output: Path) -> None:
    """One page of all these runs."""
    write_text(output, report_page(runs))


def follow(runs: list[Path], output: Path) -> Iterator[None]:
    """Write the page again whenever a run has something new, until all have finished."""
    seen = None
    while True:
        have_finished = all(results_path(run).is_file() for run in runs)
        state = [(path, path.stat().st_mtime_ns) for run in runs for path in sources(run)]
        if state != seen:
            seen = state
            write_report(runs, output)
            yield
        if have_finished:
            return
        time.sleep(EVERY)


def sources(run: Path) -> list[Path]:
    """What the page is made of, as far as it is there."""
    paths = (log_path(run), results_path(run), predictions_path(run), facts_path(run))
    return [path for path in paths if path.is_file()]


def report_page(runs: list[Path]) -> str:
    """The page as HTML, style, program and data in it."""
    content = {"level": f"{LEVEL:.0%}", "runs": [checked_data(run) for run in runs]}
    data = to_json(content)  # ASCII: a text may hold half a character
    parts = {name: (ASSETS / f"report.{name}").read_text("utf-8") for name in ("html", "css", "js")}
    page = parts["html"].replace("{{css}}", parts["css"]).replace("{{js}}", parts["js"])
    # Nothing in a text may end the element that the data stands in.
    return page.replace("{{data}}", data.replace("<", "\\u003c"))


def checked_data(run: Path) -> dict[str, Any]:
    """`run_data`; UserError where a file is not what llmkit writes, whatever that provokes."""
    try:
        return run_data(run)
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
        reason = shown(f"{type(error).__name__}: {error}", 100)
        raise UserError(f"{run}: a file in it is damaged ({reason}); score it again") from None


def run_data(run: Path) -> dict[str, Any]:
    """What the page says of a run."""
    recipe = recipe_of(run)
    task = get_task(recipe.task)
    log = list(read_lines(log_path(run)))
    results = read_json(results_path(run))
    facts = read_json(facts_path(run))
    scores = results.get("scores", {})
    metric = recipe.evaluation.metric or next(iter(task.scores))
    higher_is_better = task.scores.get(metric, metric == "bertscore")
    rows = list(read_lines(predictions_path(run)))
    sets = {path.parent.name: read_json(path) for path in sorted(run.glob("sets/*/metrics.json"))}
    return {
        "name": str(run),
        "task": recipe.task,
        "model": recipe.model,
        "metric": metric,
        "finished": bool(results),
        "num_rows": results.get("num_rows", len(rows)),
        "steps": thin([line for line in log if "learning_rate" in line]),
        "validations": [line for line in log if line.get("split") == "validation"],
        "main": next(iter(scores), None),
        "scores": scores,
        "intervals": results.get("intervals", {}),
        "signature": results.get("signature", ""),
        "diagnostics": results.get("diagnostics", {}),
        "confusion": results.get("confusion"),
        "groups": results.get("groups", {}),
        "sets": sets,
        "predictions": picked(rows, higher_is_better),
        "lengths": [] if task.chooses else lengths(rows),
        "certainty": certainty(rows),
        "findings": facts.pop("findings", []),
        "facts": facts,
        "recipe": recipe.model_dump(),
    }


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
    """The row with its long texts cut, and said so."""
    return {key: cut(value) if isinstance(value, str) else value for key, value in row.items()} | {
        "references": [cut(text) for text in row["references"][:5]],
        "expected_tokens": row.get("expected_tokens", [])[:TOKENS],
    }


def cut(text: str) -> str:
    return text if len(text) <= LONGEST else f"{text[:LONGEST]} [...]"


def thin(points: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Every so many points, and the last."""
    every = -(-len(points) // POINTS) or 1
    kept = points[::every]
    return kept if not points or kept[-1] is points[-1] else [*kept, points[-1]]


def read_lines(path: Path) -> Iterator[dict[str, Any]]:
    """A jsonl file's lines; none where there is no file, and of one that is being written all
    that are whole."""
    if not path.is_file():
        return
    for line in path.read_text("utf-8").split("\n")[:-1]:
        yield json.loads(line)


def read_json(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text("utf-8")) if path.is_file() else {}
