"""Exact match and F1 of SQuAD 1.1 (Rajpurkar et al. 2016), as its official script defines them."""

import re
import string
from collections import Counter

import evaluate

from llmkit.metrics import metric_info


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


class Metric(evaluate.Metric):
    """Means over the rows, in percent; a row counts its best reference."""

    def _info(self) -> evaluate.MetricInfo:
        return metric_info(__doc__, "Rajpurkar et al. 2016, SQuAD")

    def _compute(self, predictions: list[str], references: list[list[str]]) -> dict[str, float]:
        exact = f1 = 0.0
        for prediction, accepted in zip(predictions, references, strict=True):
            exact += max(normalize(prediction) == normalize(text) for text in accepted)
            f1 += max(token_f1(prediction, text) for text in accepted)
        return {"exact_match": 100 * exact / len(predictions), "f1": 100 * f1 / len(predictions)}
