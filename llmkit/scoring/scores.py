"""Scores of systems on a test set: of a model, a baseline or predictions from elsewhere."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from llmkit.metrics import RowStatistics, classification, corpus_scores
from llmkit.metrics.prediction import Prediction
from llmkit.scoring.deciding_metric import DecidingMetric
from llmkit.scoring.significance import Difference, count_rows, intervals
from llmkit.scoring.testset import TestSet
from llmkit.scoring.verdict import verdict
from llmkit.tasks import Scores, Task


@dataclass(frozen=True)
class SystemResult:
    """The scores of one system on a test set."""

    scores: Scores
    statistics: RowStatistics = field(default_factory=dict)
    """Contribution of each row; empty for scores that exist only for all rows together."""
    predictions: list[Prediction] = field(default_factory=list)

    @cached_property
    def intervals(self) -> dict[str, tuple[float, float]]:
        """(low, high) of each score that can be resampled."""
        found = intervals(self.statistics) if self.statistics else {}
        return {name: found[name] for name in self.scores if name in found}


@dataclass(frozen=True)
class TestResults:
    """The scores of all systems on one test set."""

    test: TestSet
    metric: DecidingMetric
    systems: dict[str, SystemResult]
    """Models and baselines by name, in the order in which they are shown."""
    main: str
    """The system that the others are compared with."""
    differences: dict[str, Difference] = field(default_factory=dict)
    """Difference of each of its scores from the untuned model's, if that was scored too."""

    @property
    def main_system(self) -> SystemResult:
        return self.systems[self.main]

    @property
    def num_resampled(self) -> int:
        """Number of rows from which intervals are computed; of plain texts, number of blocks."""
        statistics = self.main_system.statistics
        return count_rows(statistics) if statistics else len(self.test.rows)

    @property
    def scores(self) -> dict[str, Scores]:
        """The scores of each system."""
        return {name: system.scores for name, system in self.systems.items()}

    @property
    def verdict(self) -> str:
        """The outcome in one sentence."""
        difference = self.differences.get(self.metric.name)
        return verdict(self.metric, self.main, self.scores, difference)


def score_predictions(
    task: Task, statistics: RowStatistics, predictions: list[Prediction]
) -> SystemResult:
    """The task's scores, and the loss, as far as the statistics define them."""
    values = {name: value.item() for name, value in corpus_scores(statistics).items()}
    scores = {n: values[n] for n in task.score_names if math.isfinite(values.get(n, math.nan))}
    return SystemResult(scores, statistics, predictions)


def breakdown(task: Task, statistics: RowStatistics, groups: Sequence[str]) -> list[dict[str, Any]]:
    """Scores of each group of rows, in the order of their names. groups: The group of each row."""
    names = sorted(set(groups))
    weights = np.array([[group == name for group in groups] for name in names], dtype=float)
    values = corpus_scores(statistics, weights)
    defined = [n for n in task.score_names if n in values and np.isfinite(values[n]).any()]
    return [
        {
            "label": name,
            "rows": int(weights[index].sum()),
            "scores": {score: none_if_nan(values[score][index]) for score in defined},
        }
        for index, name in enumerate(names)
    ]


def row_scores(statistics: RowStatistics, metric: str) -> list[float | None]:
    """The score of each single row; None if the score is undefined for single rows."""
    num_rows, one = len(next(iter(statistics.values()))), np.ones((1, 1))
    for name, rows in statistics.items():
        if metric in corpus_scores({name: rows[:1]}, one):
            alone = (corpus_scores({name: rows[i : i + 1]}, one)[metric] for i in range(num_rows))
            return [none_if_nan(value) for (value,) in alone]
    return [None] * num_rows


def none_if_nan(value: float) -> float | None:
    """The value, or None for NaN and infinities, which JSON does not have."""
    return float(value) if math.isfinite(value) else None


def by_length(texts: Sequence[str], num_groups: int = 4) -> list[str]:
    """The group of each text by its number of words; the groups are about equally large."""
    lengths = np.array([len(text.split()) for text in texts])
    ends = np.unique(np.quantile(lengths, np.arange(1, num_groups + 1) / num_groups).astype(int))
    width = len(str(ends[-1]))  # leading spaces, so that names sort as numbers
    starts = [int(lengths.min()), *(int(end) + 1 for end in ends[:-1])]
    names = [f"{start:>{width}} to {end:>{width}}" for start, end in zip(starts, ends, strict=True)]
    return [names[index] for index in np.searchsorted(ends, lengths)]


def confusion_of(test: TestSet, main: SystemResult) -> dict[str, Any]:
    """`labels`, and `counts` of true labels (rows) by predicted labels (columns)."""
    labels = classification.labels_of(main.predictions, test.references)
    (statistics,) = (
        rows for name, rows in main.statistics.items() if name.startswith("classification")
    )
    true, predicted = statistics[:, :2].astype(int).T
    counts = classification.confusion(true, predicted, len(labels))
    return {"labels": labels, "counts": counts.tolist()}
