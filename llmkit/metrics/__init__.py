"""The project's metrics, one a file; none needs a network. Scores are percentages.

A metric is two functions: `row_statistics` returns sufficient statistics of each row, and `scores`
computes corpus scores from them and from the weight of each row. Scores of resampled rows, or of a
part of the rows, therefore need no text a second time.

A metric may have two more: `settle` chooses settings that fit the references, and `unfit` tells
the references that the metric misjudges.
"""

from collections.abc import Sequence
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np

from llmkit.metrics.prediction import Prediction

if TYPE_CHECKING:
    import sacrebleu

RowStatistics = dict[str, np.ndarray]  # by metric: what each row adds, (N, K)
# Scores that a recipe may add to any task that generates text, and whether higher is better.
OPTIONAL_SCORES = {"bertscore": True}


def row_statistics(
    name: str, predictions: Sequence[Prediction], references: Sequence[list[str]]
) -> np.ndarray:
    """(N, K): what each row adds to the scores of the metric of that name (bleu, rouge, ...).

    A name may have settings after a colon: bertscore:FOLDER:LAYER, bleu:zh.
    Raises ValueError where references are not a list of texts for each prediction.
    """
    if len(predictions) != len(references):
        raise ValueError(f"{len(predictions)} predictions, but {len(references)} references")
    if any(isinstance(accepted, str) or not accepted for accepted in references):
        raise ValueError("references: each row needs a list of at least one text")
    return _module(name).row_statistics(predictions, references, *_settings(name))


def corpus_scores(
    statistics: RowStatistics, weights: np.ndarray | None = None
) -> dict[str, np.ndarray]:
    """Corpus scores (R,) of each metric's rows; weights (R, N): how often each row counts."""
    if weights is None:
        weights = np.ones((1, len(next(iter(statistics.values())))))
    return {
        score: values
        for name, rows in statistics.items()
        for score, values in _module(name).scores(rows, weights, *_settings(name)).items()
    }


def compute(name: str, texts: Sequence[str], references: Sequence[list[str]]) -> dict[str, float]:
    """Scores of predicted texts by the metric of that name."""
    statistics = {name: row_statistics(name, list(map(Prediction, texts)), references)}
    return {score: value.item() for score, value in corpus_scores(statistics).items()}


def describe(name: str) -> str:
    """The metric's settings in one line, as a paper would quote them."""
    return _module(name).signature(*_settings(name))


def settle(name: str, references: Sequence[list[str]]) -> str:
    """The name with settings that fit these references: bleu:auto -> bleu:zh."""
    module = _module(name)
    if not hasattr(module, "settle"):
        return name
    return f"{name.partition(':')[0]}:{module.settle(references, *_settings(name))}"


def unfit(name: str, reference: str) -> str | None:
    """The kind of finding for a reference that the metric misjudges, even if predicted exactly."""
    module = _module(name)
    return module.unfit(reference, *_settings(name)) if hasattr(module, "unfit") else None


def _module(name: str) -> ModuleType:
    return import_module(f"{__name__}.{name.partition(':')[0]}")


def _settings(name: str) -> list[str]:
    settings = name.partition(":")[2]
    return [settings] if settings else []


def means(names: Sequence[str], rows: np.ndarray, weights: np.ndarray) -> dict[str, np.ndarray]:
    """Scores that are means of the rows' own; rows (N, len(names)), weights (R, N)."""
    with np.errstate(invalid="ignore"):  # no row counts: NaN
        averages = weights @ rows / weights.sum(1, keepdims=True)
    return dict(zip(names, averages.T, strict=True))


def sacrebleu_statistics(
    scorer: "sacrebleu.metrics.base.Metric",
    predictions: Sequence[Prediction],
    references: Sequence[list[str]],
) -> np.ndarray:
    """What sacreBLEU counts in each row; it takes streams of first, second, ... references."""
    texts = [prediction.text for prediction in predictions]
    most = max(map(len, references))
    streams = [[row[i] if i < len(row) else None for row in references] for i in range(most)]
    return np.array(scorer._extract_corpus_statistics(texts, streams), dtype=np.float64)


def sacrebleu_scores(
    scorer: "sacrebleu.metrics.base.Metric", rows: np.ndarray, weights: np.ndarray
) -> np.ndarray:
    """sacreBLEU's scores of the weighted sums of such rows."""
    sums = (weights @ rows).tolist()
    return np.array([scorer._compute_score_from_stats(each).score for each in sums])
