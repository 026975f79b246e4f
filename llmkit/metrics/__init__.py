"""Metrics, one per file; none needs a network. Scores are percentages.

A metric consists of two functions: `row_statistics` returns sufficient statistics of each row, and
`scores` computes corpus scores from them and from the weight of each row. Scores of resampled rows,
or of some of the rows, therefore need no text a second time.

A metric may have two more: `resolve_settings` chooses settings that fit the references, and
`misjudged_as` recognizes references that the metric misjudges.
"""

from collections.abc import Sequence
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np

from llmkit.metrics.prediction import Prediction

if TYPE_CHECKING:
    import sacrebleu

RowStatistics = dict[str, np.ndarray]  # by metric: sufficient statistics of each row, (N, K)
# Scores that a recipe may add to any task that generates text, and whether higher is better.
OPTIONAL_SCORES = {"bertscore": True}


def row_statistics(
    name: str, predictions: Sequence[Prediction], references: Sequence[list[str]]
) -> np.ndarray:
    """Sufficient statistics (N, K) of each row for the named metric.

    Args:
        name: A file of this package, with settings after a colon: bleu:zh,
            bertscore:FOLDER:LAYER.
        references: The accepted answers of each row.

    Raises:
        ValueError: If the references are not a list of at least one text per prediction.
    """
    if len(predictions) != len(references):
        raise ValueError(f"{len(predictions)} predictions, but {len(references)} references")
    if any(isinstance(accepted, str) or not accepted for accepted in references):
        raise ValueError("references: each row needs a list of at least one text")
    return _module(name).row_statistics(predictions, references, *_settings(name))


def corpus_scores(
    statistics: RowStatistics, weights: np.ndarray | None = None
) -> dict[str, np.ndarray]:
    """Corpus scores of all metrics, (R,) each.

    weights: How often each row counts in each of R scores, (R, N); None: once, in one score.
    """
    if weights is None:
        weights = np.ones((1, len(next(iter(statistics.values())))))
    return {
        score: values
        for name, rows in statistics.items()
        for score, values in _module(name).scores(rows, weights, *_settings(name)).items()
    }


def compute(name: str, texts: Sequence[str], references: Sequence[list[str]]) -> dict[str, float]:
    """Scores of predicted texts by the named metric."""
    statistics = {name: row_statistics(name, list(map(Prediction, texts)), references)}
    return {score: value.item() for score, value in corpus_scores(statistics).items()}


def describe(name: str) -> str:
    """The metric's settings in one line, as papers quote them."""
    return _module(name).signature(*_settings(name))


def resolve_settings(name: str, references: Sequence[list[str]]) -> str:
    """The name with settings that fit the references in place of `auto`: bleu:auto -> bleu:zh."""
    module = _module(name)
    if not hasattr(module, "resolve_settings"):
        return name
    return f"{name.partition(':')[0]}:{module.resolve_settings(references, *_settings(name))}"


def misjudged_as(name: str, reference: str) -> str | None:
    """The kind of finding for a reference that the metric misjudges even in an exact prediction;
    None for other references."""
    module = _module(name)
    return (
        module.misjudged_as(reference, *_settings(name))
        if hasattr(module, "misjudged_as")
        else None
    )


def _module(name: str) -> ModuleType:
    return import_module(f"{__name__}.{name.partition(':')[0]}")


def _settings(name: str) -> list[str]:
    settings = name.partition(":")[2]
    return [settings] if settings else []


def means(names: Sequence[str], rows: np.ndarray, weights: np.ndarray) -> dict[str, np.ndarray]:
    """Weighted means (R,) of the scores of single rows; rows (N, len(names)), weights (R, N)."""
    with np.errstate(invalid="ignore"):  # NaN if all weights are 0
        averages = weights @ rows / weights.sum(1, keepdims=True)
    return dict(zip(names, averages.T, strict=True))


def sacrebleu_statistics(
    scorer: "sacrebleu.metrics.base.Metric",
    predictions: Sequence[Prediction],
    references: Sequence[list[str]],
) -> np.ndarray:
    """sacreBLEU's counts for each row; it takes streams of first, second, ... references."""
    texts = [prediction.text for prediction in predictions]
    num_streams = max(map(len, references))
    streams = [[row[i] if i < len(row) else None for row in references] for i in range(num_streams)]
    return np.array(scorer._extract_corpus_statistics(texts, streams), dtype=np.float64)


def sacrebleu_scores(
    scorer: "sacrebleu.metrics.base.Metric", rows: np.ndarray, weights: np.ndarray
) -> np.ndarray:
    """sacreBLEU's scores (R,) of weighted sums of its counts."""
    sums = (weights @ rows).tolist()
    return np.array([scorer._compute_score_from_stats(each).score for each in sums])
