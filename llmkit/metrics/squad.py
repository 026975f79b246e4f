"""Exact match and F1 of SQuAD 1.1 (Rajpurkar et al. 2016), as its official script defines them."""

import re
import string
from collections import Counter
from collections.abc import Sequence

import evaluate
import numpy as np

from llmkit.metrics import compute, means, metric_info
from llmkit.prediction import Prediction


def signature() -> str:
    return "SQuAD 1.1 EM and F1"


def normalize(text: str) -> str:
    """Lower case, without punctuation, articles and repeated white space."""
    text = "".join(char for char in text.lower() if char not in string.punctuation)
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", text).split())


def token_f1(prediction: str, reference: str) -> float:
    """Harmonic mean of precision and recall over the normalized words."""
    predicted, expected = normalize(prediction).split(), normalize(reference).split()
    common = sum((Counter(predicted) & Counter(expected)).values())
    if not common:
        return 0.0
    precision, recall = common / len(predicted), common / len(expected)
    return 2 * precision * recall / (precision + recall)


def tally(predictions: Sequence[Prediction], references: Sequence[list[str]]) -> np.ndarray:
    """Exact match and F1; a row counts its best reference."""
    rows = []
    for prediction, accepted in zip(predictions, references, strict=True):
        exact = any(normalize(prediction.text) == normalize(text) for text in accepted)
        f1 = max(token_f1(prediction.text, text) for text in accepted)
        rows.append([100 * exact, 100 * f1])
    return np.array(rows)


def scores(rows: np.ndarray, weights: np.ndarray) -> dict[str, np.ndarray]:
    return means(("exact_match", "f1"), rows, weights)


class Metric(evaluate.Metric):
    """Means over the rows, in percent."""

    def _info(self) -> evaluate.MetricInfo:
        return metric_info(__doc__, "Rajpurkar et al. 2016, SQuAD")

    def _compute(self, predictions: list[str], references: list[list[str]]) -> dict[str, float]:
        return compute("squad", predictions, references)
