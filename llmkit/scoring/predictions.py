"""Files of predictions, made by llmkit or any other tool."""

import json
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llmkit.data.columns import row_id
from llmkit.errors import UserError, did_you_mean, first_few, printable
from llmkit.io import row_files
from llmkit.io.row_lines import check_writable, restore_nested
from llmkit.metrics.labels import (
    SUM_TOLERANCE,
    every_probability,
    label_of,
    number_of,
    probabilities_of,
    ratings_of,
    spelled_out,
)
from llmkit.metrics.prediction import Prediction
from llmkit.tasks import Task


@dataclass(frozen=True)
class PredictedRow:
    """A row of a file of predictions."""

    prediction: Prediction
    references: list[str] | None
    """The accepted answers, if the file has them."""
    where: str
    """file:line"""


def read_predictions(path: Path, given_by: str, task: Task) -> dict[str, PredictedRow]:
    """Read the rows of a file of predictions; returns them by id, in the file's order.

    The column `prediction` is required; `id`, `references`, `probabilities` (in tables, one column
    `probability_LABEL` per label) and `votes` (or `predictions`) are optional. A row without an id
    is identified by its index, from 0.

    Args:
        path: JSON, JSONL, CSV, parquet or another format of data files.
        given_by: The option that names the file, for messages.
        task: Decides whether predictions are labels or texts.

    Raises:
        UserError: For a row that cannot be read, and for a repeated id.
    """
    row_files.check(path, given_by)
    predictions: dict[str, PredictedRow] = {}
    for index, (where, columns) in enumerate(_read_rows(path)):
        check_writable(columns, where)
        raw = restore_nested(columns)
        name = row_id(raw, index)
        if name in predictions:
            first = predictions[name].where
            raise UserError(f"{where}: id {printable(name)} was used before, in {first}")
        try:
            row = PredictedRow(_prediction(raw, task), _references(raw, task), where)
        except ValueError as error:
            raise UserError(f"{where}: {error}") from None
        predictions[name] = row
    if not predictions:
        raise UserError(f"{path}: no rows in it")
    return predictions


def _read_rows(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Locations and columns of the rows of a file; a JSON mapping of ids to predictions, the format
    of SQuAD's script, has one row per id."""
    predictions = _predictions_by_id(path)
    if predictions is None:
        yield from row_files.read(path)
        return
    for name, prediction in predictions:
        yield f"{path}, id {printable(name)}", {"id": name, "prediction": prediction}


def _predictions_by_id(path: Path) -> tuple[tuple[str, str | int | float], ...] | None:
    """The pairs of a JSON mapping of ids to predictions; None for other files.

    Also None for a damaged file: `row_files.read` then reports where the damage is.
    """
    if path.suffix.lower() != ".json":
        return None
    try:
        pairs = json.loads(path.read_bytes(), object_pairs_hook=tuple)
    except (OSError, ValueError, RecursionError):
        return None
    is_mapping = isinstance(pairs, tuple) and all(
        isinstance(prediction, str | int | float) for _, prediction in pairs
    )
    return pairs if is_mapping and "prediction" not in dict(pairs) else None


def _prediction(raw: dict[str, Any], task: Task) -> Prediction:
    value, probabilities = raw.get("prediction"), raw.get("probabilities")
    votes = raw.get("votes", raw.get("predictions"))
    if task.output != "label" and _are_texts(value):  # of several answers, the first counts
        value, votes = value[0], votes or value
    if "prediction" not in raw:
        columns = printable(", ".join(map(str, raw))) or "none"
        raise ValueError(f"no column 'prediction'; the columns are: {columns}")
    if value is None or not (task.output == "label" or isinstance(value, str)):
        kind = "a missing value" if value is None or value != value else type(value).__name__
        raise ValueError(f"prediction must be a text, not {kind}")
    if task.output != "label":
        if votes is not None and not _are_texts(votes):
            raise ValueError("votes must be a list of texts")
        return Prediction(value, votes=votes)
    try:
        label = label_of(value)
    except ValueError as error:
        raise ValueError(f"prediction {error}") from None
    if probabilities is None:
        return Prediction(label)
    try:
        return Prediction(label, probabilities_of(probabilities))
    except ValueError as error:
        raise ValueError(f"probabilities {error}") from None


def _references(raw: dict[str, Any], task: Task) -> list[str] | None:
    references = raw.get("references")
    if references is None:
        return None
    if task.output == "label":
        try:
            label = label_of(references)
        except ValueError as error:
            raise ValueError(f"references {error}") from None
        if not label:
            raise ValueError("references must hold a label; add it, or delete the row")
        return [label]
    if isinstance(references, str):
        references = [references]
    if task.allows_no_answer:
        references = references or [""]
    if not _are_texts(references):
        raise ValueError("references must be a text or a list of texts")
    return references


def _are_texts(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(text, str) for text in value)


def vote_warnings(rows: Iterable[PredictedRow], task: Task) -> list[str]:
    """Return a warning if only some rows have votes, so that there is no majority vote."""
    rows = list(rows)
    lacking = [row.where for row in rows if not row.prediction.votes]
    if "majority_vote" not in task.scores or len(lacking) in (0, len(rows)):
        return []
    return [
        f"{first_few(lacking)}: no votes in {len(lacking):,} of {len(rows):,} rows, so "
        "majority_vote is left out; give each row its votes"
    ]


def label_warnings(rows: Iterable[PredictedRow], known: Iterable[str]) -> list[str]:
    """Return warnings about predicted labels and probabilities.

    known: The labels of the data.

    Raises UserError for probabilities of all labels that do not add up to 1.
    """
    rows, known = list(rows), sorted(set(known))
    unknown: dict[str, list[str]] = {}
    for row in rows:
        if row.prediction.text not in known:
            unknown.setdefault(row.prediction.text, []).append(row.where)
    are_ratings = ratings_of(known) is not None
    no_number = "; since it is not a number, mean absolute error and quadratic kappa are left out"
    warnings = [
        f"{first_few(places)}: no row has the predicted label {spelled_out(label)}; it counts as "
        f"wrong{no_number if are_ratings and number_of(label) is None else ''}"
        f"{did_you_mean(label, known)}"
        for label, places in unknown.items()
    ]
    if any(row.prediction.probabilities for row in rows):
        warnings += _missing_probabilities(rows, known)
    return warnings


def _missing_probabilities(rows: list[PredictedRow], known: list[str]) -> list[str]:
    given = {label for row in rows for label in row.prediction.probabilities or ()}
    labels = sorted(given.union(known))
    incomplete = []
    for row in rows:
        probabilities = row.prediction.probabilities or {}
        total = sum(probabilities.values())
        if probabilities.keys() >= set(labels) and total < 1 - SUM_TOLERANCE:
            raise UserError(f"{row.where}: probabilities must add up to 1, not {total:.4g}")
        if any(map(math.isnan, every_probability(probabilities, labels))):
            incomplete.append(row.where)
    if not incomplete:
        return []
    return [
        f"{first_few(incomplete)}: probabilities do not name every label, so AUC and calibration "
        "error are left out"
    ]
