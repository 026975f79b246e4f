"""metrics.json and predictions.jsonl: the results of a test set on disk, written and read.

Both are in the folder of a run, in a folder that `evaluate --output` wrote, and, for each further
test set, in a subfolder.
"""

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from llmkit.errors import UserError, printable
from llmkit.io.safe_json import write_json, write_jsonl
from llmkit.metrics.prediction import Prediction
from llmkit.runs.folder import predictions_path, results_path, set_dir
from llmkit.scoring.deciding_metric import DecidingMetric
from llmkit.scoring.diagnostics import diagnose
from llmkit.scoring.scores import (
    TestResults,
    breakdown,
    by_length,
    confusion_of,
    row_scores,
)
from llmkit.scoring.significance import Difference
from llmkit.scoring.testset import TestSet
from llmkit.scoring.verdict import UNTUNED
from llmkit.tasks import Row, Scores, to_example

VERSION = 1  # of metrics.json; files of earlier releases have none


@dataclass(frozen=True)
class SavedResults:
    """The content of metrics.json. Fields that files of earlier releases may lack are optional."""

    task: str | None
    num_rows: int | None
    scores: dict[str, Scores]
    """Results by system: the main system, the untuned model, baselines."""
    main: str
    """The system that predictions.jsonl, `differences` and what follows are about."""
    intervals: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    """[low, high] of each score, by system."""
    metric: str | None = None
    """The deciding score."""
    higher_is_better: bool | None = None
    """Direction of the deciding score."""
    signature: str = ""
    """Settings needed to reproduce the scores, in one line."""
    metrics: list[str] | None = None
    """The metrics with their settings, apart from BERTScore, whose settings name a local folder."""
    differences: dict[str, Difference] = field(default_factory=dict)
    """Difference of each score from the untuned model's."""
    groups: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    """Scores of parts of the rows: `label`, `rows`, `scores`, by what the rows are grouped by."""
    confusion: dict[str, Any] | None = None
    """Classification: `labels`, and `counts` of true labels (rows) by predicted ones (columns)."""
    diagnostics: dict[str, float] = field(default_factory=dict)
    """Properties of generated texts."""
    seconds: float | None = None
    """Duration of the run."""
    best_step: int | None = None
    """Step of the best weights."""
    train_seconds: float | None = None
    """Duration of the training."""
    costs: dict[str, dict[str, float]] = field(default_factory=dict)
    """Costs of the run, each `predicted` and `actual`: `step_seconds` of the optimizer steps, and
    `peak_bytes` of memory."""

    @property
    def deciding_metric(self) -> DecidingMetric | None:
        """None in files of earlier releases, which do not record its direction."""
        if self.metric is None or self.higher_is_better is None:
            return None
        return DecidingMetric(self.metric, self.higher_is_better)

    def as_dict(self) -> dict[str, Any]:
        """The JSON object, without what is unknown or does not apply."""
        content = {"version": VERSION, **asdict(self)}
        if self.differences:
            content["differences"] = {UNTUNED: content["differences"]}
        required = ("task", "num_rows", "scores", "main", "intervals", "signature", "metrics")
        return {
            key: value
            for key, value in content.items()
            if key in required or value not in (None, {}, [])
        }


@dataclass(frozen=True)
class SavedPrediction:
    """A line of predictions.jsonl."""

    id: str
    prompt: str
    prediction: Prediction
    references: list[str]
    score: float | None
    """Deciding score of the row alone; None if a single row has none."""

    def as_dict(self) -> dict[str, Any]:
        """The JSON object; the parts of the prediction are columns, without unknown ones."""
        parts = vars(self.prediction).copy()
        row = {"id": self.id, "prompt": self.prompt, "prediction": parts.pop("text")}
        row |= {name: value for name, value in parts.items() if value is not None}
        return {**row, "references": self.references, "score": self.score}


def summarize_results(results: TestResults) -> SavedResults:
    """Scores, intervals and differences as plain data; the rest of metrics.json stays empty."""
    task = results.test.task
    return SavedResults(
        task=task.name,
        num_rows=len(results.test.rows),
        scores=results.scores,
        main=results.main,
        intervals={name: system.intervals for name, system in results.systems.items()},
        metric=results.metric.name,
        higher_is_better=results.metric.higher_is_better,
        signature=task.signature(),
        metrics=[name for name in task.metrics if not name.startswith("bertscore")],
        differences=results.differences,
    )


def write_results(
    folder: Path,
    results: dict[str, TestResults],
    training_rows: Iterable[Row],
    **training: Any,
) -> None:
    """Write the results on `test` into the folder, those on other test sets into folders below it.

    The metrics.json of `test` is written last: where it is, everything else is complete.

    Args:
        training_rows: Rows that are searched for long n-grams of generated texts.
        training: `seconds`, `best_step`, `train_seconds` and `costs` of a run.
    """
    for name, of_set in results.items():
        if name != "test":
            _write_one(set_dir(folder, name), of_set, training_rows)
    _write_one(folder, results["test"], training_rows, **training)


def _write_one(
    folder: Path, results: TestResults, training_rows: Iterable[Row], **training: Any
) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    test, main = results.test, results.main_system
    more: dict[str, Any] = dict(training)
    if main.predictions:
        more["groups"] = {
            name: breakdown(test.task, main.statistics, groups)
            for name, groups in groups_of(test).items()
        }
        rows = (prediction.as_dict() for prediction in predictions_of(results))
        write_jsonl(predictions_path(folder), rows)
    if test.task.output == "label":
        more["confusion"] = confusion_of(test, main)
    elif main.predictions:
        more["diagnostics"] = _diagnose(test, main.predictions, training_rows)
    write_json(results_path(folder), replace(summarize_results(results), **more).as_dict())


def predictions_of(results: TestResults) -> Iterator[SavedPrediction]:
    """The main system's predictions, in the order of the rows."""
    main = results.main_system
    scores = row_scores(main.statistics, results.metric.name)
    for example, prediction, score in zip(
        results.test.examples, main.predictions, scores, strict=True
    ):
        yield SavedPrediction(
            example.id, example.prompt_text, prediction, example.references, score
        )


def groups_of(test: TestSet) -> dict[str, list[str]]:
    """The group of each row, by what rows are grouped by."""
    groups = {"words of the prompt": by_length([e.prompt_text for e in test.examples])}
    columns = test.rows[0].get("by", {})
    return groups | {name: [row["by"][name] for row in test.rows] for name in columns}


def _diagnose(
    test: TestSet, predictions: list[Prediction], training_rows: Iterable[Row]
) -> dict[str, float]:
    prompts = [example.prompt_text for example in test.examples]
    training = (to_example(row, test.task) for row in training_rows)
    texts = (text for e in training for text in (e.prompt_text, e.completion))
    return diagnose(predictions, test.references, prompts, texts)


# ------------------------------------------------------------------------------ reading


def read_results(folder: Path) -> SavedResults | None:
    """The content of a folder's metrics.json; None if there is no such file.

    Raises UserError for a damaged file and for one of a newer version.
    """
    path = results_path(folder)
    if not path.is_file():
        return None
    try:
        content = json.loads(path.read_text("utf-8"))
        version = content.get("version", 0)
        if int(version) > VERSION:
            raise UserError(
                f"{path}: written by a newer llmkit (format {version}; this one reads up to "
                f"{VERSION}); upgrade llmkit"
            )
        return _parse_results(content)
    except DAMAGE as error:
        raise _damaged(path, error) from None


def _parse_results(content: dict[str, Any]) -> SavedResults:
    known = {each.name for each in fields(SavedResults)}
    content = {key: value for key, value in content.items() if key in known}
    content["scores"] = {name: dict(scores) for name, scores in content["scores"].items()}
    main = content.setdefault("main", next(iter(content["scores"]), None))  # earlier releases
    if main not in content["scores"]:
        raise ValueError(f"no scores of {main!r}")
    content["differences"] = {
        score: Difference(**{each.name: found[each.name] for each in fields(Difference)})
        for score, found in content.get("differences", {}).get(UNTUNED, {}).items()
    }
    for name in ("intervals", "groups", "diagnostics", "costs"):
        content[name] = dict(content.get(name, {}))
    return SavedResults(**{"task": None, "num_rows": None, **content})


def read_saved_predictions(folder: Path) -> list[SavedPrediction]:
    """The lines of a folder's predictions.jsonl; none if there is no such file.

    Raises UserError for a damaged file.
    """
    path = predictions_path(folder)
    if not path.is_file():
        return []
    try:
        lines = path.read_text("utf-8").split("\n")  # splitlines() also splits at U+2028
        return [_parse_prediction(json.loads(line)) for line in lines if line]
    except DAMAGE as error:
        raise _damaged(path, error) from None


def _parse_prediction(row: dict[str, Any]) -> SavedPrediction:
    parts = {each.name: row.get(each.name) for each in fields(Prediction) if each.name != "text"}
    prediction, score = Prediction(row["prediction"], **parts), row.get("score")
    if score is not None and not isinstance(score, int | float):
        raise ValueError(f"score {score!r} is not a number")
    return SavedPrediction(row["id"], row["prompt"], prediction, list(row["references"]), score)


# What a damaged file raises: JSON that is cut short, of other kinds, or nested too deeply.
DAMAGE = (ValueError, TypeError, LookupError, AttributeError, RecursionError)


def _damaged(path: Path, error: Exception) -> UserError:
    reason = printable(f"{type(error).__name__}: {error}", 100)
    return UserError(f"{path}: damaged ({reason}); score it again")
